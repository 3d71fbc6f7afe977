package history

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/atomicfile"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/regularfile"
)

// memoryRows is how many rows may wait in memory while the disk cannot be used.
const memoryRows = 50_000

// files are the disk operations that tests replace.
type files struct {
	create  func(path string) (appendable, bool, error)
	replace func(path string, write func(io.Writer) error) error
}

// spool holds the batches that wait to be sent, oldest first: as files in a folder or, while the
// disk cannot be used, in memory. It is safe for concurrent use. The lock is never held during disk
// operations.
type spool struct {
	dir       string
	orphanAge time.Duration
	files     files
	tally     *tally

	limit        atomic.Int64  // bytes on disk
	journalBytes atomic.Int64  // size of the current journal
	added        chan struct{} // signals a new batch

	mu          sync.Mutex
	list        []*pending
	bytes       int64           // of the files in the list
	rows        int             // in memory
	ownJournals map[ID]bool     // the journals of this process
	unremoved   map[string]bool // names of files of sent batches that could not be removed
}

// pending is a batch that waits to be sent.
type pending struct {
	id      ID
	at      int64 // Unix nanoseconds
	entries int64
	size    int64 // on disk; 0: in memory

	batch    *Batch   // while in memory
	journal  *journal // has a part of the batch; removed when the batch is on disk or sent
	sending  bool
	panics   int  // of the store on this batch; only the sender uses it
	failures int  // of the available store on this batch; likewise
	removed  bool // no longer in the list
}

func (w *pending) name() string { return fmt.Sprintf("%019d-%s%s", w.at, w.id, batchSuffix) }

func (w *pending) rows() int { return len(w.batch.Decisions) + len(w.batch.Changes) }

func newSpool(o Options, t *tally) *spool {
	s := &spool{
		dir: o.Dir, orphanAge: o.timing.orphanAge, files: o.files, tally: t,
		added: make(chan struct{}, 1), ownJournals: make(map[ID]bool), unremoved: make(map[string]bool),
	}
	if s.files.create == nil {
		s.files.create = createFile
	}
	if s.files.replace == nil {
		s.files.replace = atomicfile.Write
	}
	return s
}

func (s *spool) path(name string) string { return filepath.Join(s.dir, name) }

// newJournal returns the journal of a new batch.
func (s *spool) newJournal() *journal {
	j := &journal{create: s.files.create}
	_, _ = rand.Read(j.id[:]) // never fails
	j.path = s.path(j.id.String() + journalSuffix)
	s.journalBytes.Store(0)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ownJournals[j.id] = true
	return j
}

// release removes a journal that is no longer needed.
func (s *spool) release(j *journal) {
	if j == nil {
		return
	}
	j.remove()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ownJournals, j.id)
}

// add adds a batch, and tries to write it to disk.
func (s *spool) add(b *Batch, entries int64, j *journal) {
	w := &pending{id: b.ID, at: time.Now().UnixNano(), entries: entries, batch: b, journal: j}
	s.mu.Lock()
	s.insert(w)
	s.rows += w.rows()
	s.mu.Unlock()
	s.persist()
	s.trim()
	select {
	case s.added <- struct{}{}:
	default:
	}
}

// insert inserts a batch in order. The caller holds the lock.
func (s *spool) insert(w *pending) {
	i, _ := slices.BinarySearchFunc(s.list, w, (*pending).compare)
	s.list = slices.Insert(s.list, i, w)
}

func (w *pending) compare(other *pending) int {
	return cmp.Or(cmp.Compare(w.at, other.at), slices.Compare(w.id[:], other.id[:]))
}

// insertFile inserts a batch that is on disk, unless the list has it.
func (s *spool) insertFile(w *pending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.find(w) == nil {
		s.bytes += w.size
		s.insert(w)
	}
}

// find returns the batch with the same name, or nil. The caller holds the lock.
func (s *spool) find(w *pending) *pending {
	if i, ok := slices.BinarySearchFunc(s.list, w, (*pending).compare); ok {
		return s.list[i]
	}
	return nil
}

// blockSize is the allocation unit of file systems. It matters because quiet sites make many small
// files.
const blockSize = 4096

// diskUsage returns how many bytes a file occupies.
func diskUsage(size int64) int64 { return max((size+blockSize-1)/blockSize, 1) * blockSize }

// persist writes the batches in memory to disk, until a write fails.
func (s *spool) persist() {
	if s.dir == "" {
		return
	}
	for {
		w, batch := s.oldestInMemory()
		if w == nil {
			return
		}
		size, err := s.save(w, batch)
		s.tally.setDiskError(err)
		if err != nil {
			return
		}
		s.markPersisted(w, size)
	}
}

// save writes the file of a batch, and returns how many bytes it occupies.
func (s *spool) save(w *pending, b *Batch) (size int64, err error) {
	err = s.files.replace(s.path(w.name()), func(f io.Writer) error {
		c := countingWriter{w: f}
		err := writeBatch(&c, b)
		size = diskUsage(c.n)
		return err
	})
	return size, err
}

// oldestInMemory returns the oldest batch that is only in memory, or nil.
func (s *spool) oldestInMemory() (*pending, *Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.list {
		if w.size == 0 {
			return w, w.batch
		}
	}
	return nil, nil
}

// markPersisted records that a batch is now on disk.
func (s *spool) markPersisted(w *pending, size int64) {
	s.mu.Lock()
	gone := w.removed
	j := w.journal
	if !gone {
		s.rows -= w.rows()
		s.bytes += size
		w.size, w.batch, w.journal = size, nil, nil
	}
	s.mu.Unlock()
	if gone { // sent meanwhile
		s.removeFile(w.name())
		return
	}
	s.release(j)
}

// next returns the oldest batch, or the oldest that is only in memory. The batch cannot be trimmed
// until it is removed or marked as failed.
func (s *spool) next(memoryOnly bool) *pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.list {
		if !memoryOnly || w.size == 0 {
			w.sending = true
			return w
		}
	}
	return nil
}

// markFailed records that a batch was not sent.
func (s *spool) markFailed(w *pending) {
	s.mu.Lock()
	w.sending = false
	s.mu.Unlock()
	s.trim()
}

// load returns the batch, and how many of its entries are unreadable.
func (s *spool) load(w *pending) (b *Batch, lost int64, err error) {
	s.mu.Lock()
	b = w.batch
	s.mu.Unlock()
	if b != nil {
		return b, 0, nil
	}
	f, _, err := regularfile.Open(s.path(w.name()), maxFile)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	c, err := readContent(f)
	if err != nil {
		return nil, 0, err
	}
	s.tally.damaged(w.name(), c.broken)
	return c.window.batch(w.id), c.lost(), nil
}

// remove removes a batch and its file.
func (s *spool) remove(w *pending) {
	onDisk, j := s.unlist(w)
	if onDisk {
		s.removeFile(w.name())
	}
	s.release(j)
}

// unlist removes a batch from the list.
func (s *spool) unlist(w *pending) (onDisk bool, j *journal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.list, w); i >= 0 {
		s.removeAt(i)
	}
	j, w.journal = w.journal, nil
	return w.size > 0, j
}

// removeAt removes the i-th batch from the list. The caller holds the lock.
func (s *spool) removeAt(i int) {
	w := s.list[i]
	w.removed = true
	if s.bytes -= w.size; w.size == 0 {
		s.rows -= w.rows()
	}
	s.list = slices.Delete(s.list, i, i+1)
}

// removeFile removes the file of a batch. If that fails, a later scan tries again.
func (s *spool) removeFile(name string) {
	err := os.Remove(s.path(name))
	failed := err != nil && !errors.Is(err, fs.ErrNotExist)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.unremoved, name)
	if failed {
		s.unremoved[name] = true
	}
}

// trim drops the oldest batches until the rest is within the limits.
func (s *spool) trim() {
	for {
		w, cure := s.removeExcess()
		if w == nil {
			return
		}
		s.remove(w)
		s.tally.spoolFull(w.entries, cure)
	}
}

// removeExcess removes the oldest batch from the list and returns it, if a limit is exceeded.
func (s *spool) removeExcess() (w *pending, cure string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	disk, memory := s.bytes+s.journalBytes.Load() > s.limit.Load(), s.rows > memoryRows
	for i, w := range s.list {
		if !w.sending && (disk && w.size > 0 || memory && w.size == 0) {
			s.removeAt(i)
			if w.size == 0 {
				return w, diskCure
			}
			return w, "see why the database does not take them, or let more wait"
		}
	}
	return nil, ""
}

// dropMemory drops the batches in memory, and returns how many entries they had.
func (s *spool) dropMemory() (lost int64) {
	for {
		w := s.next(true)
		if w == nil {
			return lost
		}
		lost += w.entries
		_, j := s.unlist(w)
		if j != nil {
			j.close() // the file has a part of the batch
		}
	}
}

// status returns the state of the files, the number of all entries, and the time of the oldest
// batch.
func (s *spool) status() (disk SpoolStatus, entries int64, oldest time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	disk = SpoolStatus{Bytes: s.bytes + s.journalBytes.Load(), Limit: s.limit.Load()}
	for _, w := range s.list {
		entries += w.entries
		if w.size > 0 {
			disk.Batches++
			disk.Entries += w.entries
		}
	}
	if len(s.list) > 0 {
		oldest = time.Unix(0, s.list[0].at)
	}
	return disk, entries, oldest
}

// countingWriter counts the bytes that are written.
type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
