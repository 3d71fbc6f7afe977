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
)

// memoryRows is how many rows may wait in memory while the disk is of no use.
const memoryRows = 50_000

// files is what is done to the disk. Tests have another.
type files struct {
	create  func(path string) (appendable, bool, error)
	replace func(path string, write func(io.Writer) error) error
}

// spool is what waits to be sent, oldest first: files in a folder and, while the disk is of no use, batches in memory. It is
// safe for concurrent use; nobody waits for the disk with the lock held.
type spool struct {
	dir    string
	orphan time.Duration
	files  files
	tally  *tally

	limit        atomic.Int64  // of bytes on disk
	journalBytes atomic.Int64  // of the journal that is being written
	added        chan struct{} // there is something to send

	mu    sync.Mutex
	list  []*waiting
	bytes int64           // of the files in the list
	rows  int             // in memory
	own   map[ID]bool     // journals of this process
	sent  map[string]bool // files that are not needed any more, and could not be removed
}

// waiting is a batch that waits.
type waiting struct {
	id      ID
	at      int64 // in nanoseconds of Unix
	entries int64
	size    int64 // on disk; 0: it is in memory

	batch    *Batch   // while it is in memory
	journal  *journal // kept until the batch is on disk or sent, since it has a part of it
	sending  bool
	panics   int // of the store, over this batch; the sender's
	failures int // of the store, by itself; likewise
	gone     bool
}

func (w *waiting) name() string { return fmt.Sprintf("%019d-%s%s", w.at, w.id, batchEnd) }

func (w *waiting) rows() int { return len(w.batch.Decisions) + len(w.batch.Changes) }

func newSpool(o Options, t *tally) *spool {
	s := &spool{
		dir: o.Dir, orphan: o.pace.orphan, files: o.files, tally: t,
		added: make(chan struct{}, 1), own: make(map[ID]bool), sent: make(map[string]bool),
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

// begin returns the journal of a new batch.
func (s *spool) begin() *journal {
	j := &journal{create: s.files.create}
	_, _ = rand.Read(j.id[:]) // it never fails
	j.path = s.path(j.id.String() + journalEnd)
	s.journalBytes.Store(0)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.own[j.id] = true
	return j
}

// release removes a journal that is not needed any more.
func (s *spool) release(j *journal) {
	if j == nil {
		return
	}
	j.remove()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.own, j.id)
}

// add adds a batch, and writes it to disk if that can be done.
func (s *spool) add(b *Batch, entries int64, j *journal) {
	w := &waiting{id: b.ID, at: time.Now().UnixNano(), entries: entries, batch: b, journal: j}
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

// insert puts a batch into its place. It is called with the lock held.
func (s *spool) insert(w *waiting) {
	i, _ := slices.BinarySearchFunc(s.list, w, (*waiting).compare)
	s.list = slices.Insert(s.list, i, w)
}

func (w *waiting) compare(other *waiting) int {
	return cmp.Or(cmp.Compare(w.at, other.at), slices.Compare(w.id[:], other.id[:]))
}

// discovered puts a batch that is on disk into the list, unless it is there.
func (s *spool) discovered(w *waiting) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.find(w) == nil {
		s.bytes += w.size
		s.insert(w)
	}
}

// find returns the batch with the same name. It is called with the lock held.
func (s *spool) find(w *waiting) *waiting {
	if i, ok := slices.BinarySearchFunc(s.list, w, (*waiting).compare); ok {
		return s.list[i]
	}
	return nil
}

// block is what file systems give room in. Quiet sites make many small files.
const block = 4096

// onDisk returns how much room a file takes.
func onDisk(size int64) int64 { return max((size+block-1)/block, 1) * block }

// persist writes to disk what is in memory, until that fails.
func (s *spool) persist() {
	if s.dir == "" {
		return
	}
	for {
		w, batch := s.inMemory()
		if w == nil {
			return
		}
		size, err := s.save(w, batch)
		s.tally.diskFailed(err)
		if err != nil {
			return
		}
		s.persisted(w, size)
	}
}

// save writes the file of a batch, and returns how much room it takes.
func (s *spool) save(w *waiting, b *Batch) (size int64, err error) {
	err = s.files.replace(s.path(w.name()), func(f io.Writer) error {
		c := counter{w: f}
		err := writeBatch(&c, b)
		size = onDisk(c.n)
		return err
	})
	return size, err
}

// inMemory returns the oldest batch that is in memory only, or nil.
func (s *spool) inMemory() (*waiting, *Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.list {
		if w.size == 0 {
			return w, w.batch
		}
	}
	return nil, nil
}

// persisted takes note that a batch is on disk now.
func (s *spool) persisted(w *waiting, size int64) {
	s.mu.Lock()
	gone := w.gone
	j := w.journal
	if !gone {
		s.rows -= w.rows()
		s.bytes += size
		w.size, w.batch, w.journal = size, nil, nil
	}
	s.mu.Unlock()
	if gone { // it was sent meanwhile
		s.removeFile(w.name())
		return
	}
	s.release(j)
}

// next returns the oldest batch, or the oldest that is in memory only, which is then not dropped before it is done or failed.
func (s *spool) next(memoryOnly bool) *waiting {
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

// failed says that a batch was not sent.
func (s *spool) failed(w *waiting) {
	s.mu.Lock()
	w.sending = false
	s.mu.Unlock()
	s.trim()
}

// load returns the batch, and how many of its entries cannot be read.
func (s *spool) load(w *waiting) (b *Batch, lost int64, err error) {
	s.mu.Lock()
	b = w.batch
	s.mu.Unlock()
	if b != nil {
		return b, 0, nil
	}
	f, err := os.Open(s.path(w.name()))
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

// done removes a batch, with its file.
func (s *spool) done(w *waiting) {
	onDisk, j := s.forget(w)
	if onDisk {
		s.removeFile(w.name())
	}
	s.release(j)
}

// forget takes a batch from the list.
func (s *spool) forget(w *waiting) (onDisk bool, j *journal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.list, w); i >= 0 {
		s.drop(i)
	}
	j, w.journal = w.journal, nil
	return w.size > 0, j
}

// drop takes the i-th batch from the list. It is called with the lock held.
func (s *spool) drop(i int) {
	w := s.list[i]
	w.gone = true
	if s.bytes -= w.size; w.size == 0 {
		s.rows -= w.rows()
	}
	s.list = slices.Delete(s.list, i, i+1)
}

// removeFile removes the file of a batch, sooner or later.
func (s *spool) removeFile(name string) {
	err := os.Remove(s.path(name))
	failed := err != nil && !errors.Is(err, fs.ErrNotExist)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sent, name)
	if failed {
		s.sent[name] = true
	}
}

// trim drops the oldest batches, until the others are no more than may wait.
func (s *spool) trim() {
	for {
		w, cure := s.tooMuch()
		if w == nil {
			return
		}
		s.done(w)
		s.tally.spoolFull(w.entries, cure)
	}
}

// tooMuch takes a batch from the list, if it must make room.
func (s *spool) tooMuch() (w *waiting, cure string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	disk, memory := s.bytes+s.journalBytes.Load() > s.limit.Load(), s.rows > memoryRows
	for i, w := range s.list {
		if !w.sending && (disk && w.size > 0 || memory && w.size == 0) {
			s.drop(i)
			if w.size == 0 {
				return w, diskCure
			}
			return w, "see why the database does not take them, or let more wait"
		}
	}
	return nil, ""
}

// abandon drops what is in memory, and returns how many entries that was.
func (s *spool) abandon() (lost int64) {
	for {
		w := s.next(true)
		if w == nil {
			return lost
		}
		lost += w.entries
		_, j := s.forget(w)
		if j != nil {
			j.close() // it has a part
		}
	}
}

// status returns what is on disk, how many entries there are in all, and since when the oldest waits.
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

// counter counts what is written.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
