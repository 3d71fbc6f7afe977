package recorder

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
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/regularfile"
)

// memoryRows is how many rows may wait in memory while the disk cannot be used. While it can, half as
// many wait there for a store that is slow.
const memoryRows = 50_000

// files are the disk operations that tests replace.
type files struct {
	create  func(path string) (appendable, bool, error)
	replace func(path string, write func(io.Writer) error) error
	lock    func(*os.File) (locked bool, err error)
}

// spool holds the batches that wait to be sent, oldest first: in memory while the store answers or
// the disk cannot be used, else as files in a folder. Where the disk can be used, the journal of a
// batch in memory stays until the batch is sent. The spool is safe for concurrent use. The lock is
// never held during disk operations.
type spool struct {
	dir       string
	orphanAge time.Duration
	files     files
	tally     *tally

	limit        atomic.Int64  // bytes on disk
	journalBytes atomic.Int64  // size of the current journal
	answering    atomic.Bool   // the store has taken the last batch that was sent
	added        chan struct{} // signals a new batch

	persisting sync.Mutex // held while batches are written

	mu          sync.Mutex
	list        []*pending
	bytes       int64               // of the files in the list
	rows        int                 // in memory
	ownJournals map[history.ID]bool // the journals of this process
	unremoved   map[string]bool     // names of files of sent batches that could not be removed
}

// pending is a batch that waits to be sent.
type pending struct {
	id      history.ID
	at      int64 // Unix nanoseconds
	entries int64
	size    int64 // on disk; 0: in memory

	batch    *history.Batch // while in memory
	journal  *journal       // has the batch, or a part of it; removed when the batch is on disk or sent
	complete bool           // the journal has the whole batch
	sending  bool
	panics   int  // of the store on this batch; only the sender uses it
	failures int  // of the available store on this batch; likewise
	removed  bool // no longer in the list
}

func (w *pending) name() string { return fmt.Sprintf("%019d-%s%s", w.at, w.id, batchSuffix) }

// saved reports whether the batch survives the end of the process.
func (w *pending) saved() bool { return w.size > 0 || w.complete }

func (w *pending) rows() int { return rowsOf(w.batch) }

func newSpool(o Options, t *tally) *spool {
	s := &spool{
		dir: o.Dir, orphanAge: o.timing.orphanAge, files: o.files, tally: t,
		added: make(chan struct{}, 1), ownJournals: make(map[history.ID]bool), unremoved: make(map[string]bool),
	}
	if s.files.create == nil {
		s.files.create = createFile
	}
	if s.files.lock == nil {
		s.files.lock = lock
	}
	if s.files.replace == nil {
		s.files.replace = atomicfile.WriteNew
	}
	return s
}

func (s *spool) path(name string) string { return filepath.Join(s.dir, name) }

// makeFolder makes the folder, or says that it cannot.
func (s *spool) makeFolder() {
	if s.dir == "" {
		return
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		s.tally.setDiskError(err)
	}
}

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

// add adds a batch. It tries to write it to disk, unless the journal has all of it and it will be
// sent in a moment.
func (s *spool) add(b *history.Batch, entries int64, j *journal, complete bool) {
	w := &pending{id: b.ID, at: time.Now().UnixNano(), entries: entries, batch: b, journal: j, complete: complete}
	s.mu.Lock()
	s.insert(w)
	s.rows += w.rows()
	s.mu.Unlock()
	s.persist()
	s.trim()
	signal(s.added)
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

// next returns the oldest batch, or the oldest that is not saved. The batch cannot be trimmed until
// it is removed or marked as failed.
func (s *spool) next(unsaved bool) *pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.list {
		if !unsaved || !w.saved() {
			w.sending = true
			return w
		}
	}
	return nil
}

// hasUnsaved reports whether a batch waits that is not on disk.
func (s *spool) hasUnsaved() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.list, func(w *pending) bool { return !w.saved() })
}

// markFailed records that a batch was not sent. All that wait are written to disk.
func (s *spool) markFailed(w *pending) {
	s.answering.Store(false)
	s.mu.Lock()
	w.sending = false
	s.mu.Unlock()
	s.persist()
	s.trim()
}

// load returns the batch, and how many of its entries are unreadable.
func (s *spool) load(w *pending) (b *history.Batch, lost int64, err error) {
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

// close drops the batches that are not saved, and returns how many entries they had. It leaves the
// files to the next spool.
func (s *spool) close() (lost int64) {
	for {
		w := s.next(true)
		if w == nil {
			break
		}
		lost += w.entries
		if _, j := s.unlist(w); j != nil {
			j.close() // the file has a part of the batch
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.list {
		if w.journal != nil {
			w.journal.close()
		}
	}
	return lost
}

// status returns the state of the files, the number of all entries, and the time of the oldest
// batch.
func (s *spool) status() (disk SpoolStatus, entries int64, oldest time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	disk = SpoolStatus{Bytes: s.bytes + s.journalBytes.Load(), Limit: s.limit.Load()}
	for _, w := range s.list {
		entries += w.entries
		if w.saved() {
			disk.Batches++
			disk.Entries += w.entries
		}
		if w.journal != nil {
			disk.Bytes += w.journal.size
		}
	}
	if len(s.list) > 0 {
		oldest = time.Unix(0, s.list[0].at)
	}
	return disk, entries, oldest
}
