package recorder

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/regularfile"
)

// scan brings the list in line with the folder. It adds files of other processes and of earlier
// runs, and removes batches whose files are gone.
func (s *spool) scan() {
	if s.dir == "" {
		return
	}
	filed := s.diskBatches()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.logUnreadable(s.dir, err)
		}
		return
	}
	batches := make(map[history.ID]bool)
	var journals []string
	for _, e := range entries {
		if w, ok := parseName(e.Name()); ok {
			batches[w.id] = true
			s.addFile(w)
		} else if id, ok := journalID(e.Name()); ok && !s.isOwnJournal(id) {
			journals = append(journals, e.Name())
		} else {
			s.removeTemp(e)
		}
	}
	s.removeMissing(filed, batches)
	for _, name := range journals {
		if err := s.adopt(name, batches); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errLocked) {
			s.logUnreadable(name, err)
		}
	}
	s.trim()
}

// tempMaxAge is how old a temporary file is when its process must have ended.
const tempMaxAge = time.Minute

// removeTemp removes a temporary file of a process that was killed while it wrote a batch. The
// batch is still in the journal.
func (s *spool) removeTemp(e os.DirEntry) {
	if !strings.HasSuffix(e.Name(), ".tmp") {
		return
	}
	if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > tempMaxAge {
		_ = os.Remove(s.path(e.Name())) // the next scan tries again
	}
}

func (s *spool) logUnreadable(name string, err error) {
	if s.tally.logged.Allow("unreadable", time.Now()) {
		s.tally.log.Error("a part of the spool of the history cannot be read, and is not sent",
			"file", name, "error", err)
	}
}

// parseName parses the file name of a batch.
func parseName(name string) (*pending, bool) {
	at, id, ok := strings.Cut(strings.TrimSuffix(name, batchSuffix), "-")
	n, err := strconv.ParseInt(at, 10, 64)
	if !ok || err != nil || n < 0 {
		return nil, false
	}
	w := &pending{at: n}
	w.id, ok = parseID(id)
	return w, ok && w.name() == name
}

// journalID returns the ID in the file name of a journal.
func journalID(name string) (history.ID, bool) {
	text, ok := strings.CutSuffix(name, journalSuffix)
	if !ok {
		text, ok = strings.CutSuffix(name, adoptingSuffix)
	}
	id, valid := parseID(text)
	return id, ok && valid
}

func (s *spool) isOwnJournal(id history.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ownJournals[id]
}

// addFile adds a batch that is on disk, unless the list has it.
func (s *spool) addFile(w *pending) {
	s.mu.Lock()
	known, sent := s.find(w) != nil, s.unremoved[w.name()]
	s.mu.Unlock()
	if sent {
		s.removeFile(w.name())
	}
	if known || sent {
		return
	}
	f, info, err := regularfile.Open(s.path(w.name()), maxFile)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) { // removed: another process has sent it
			s.logUnreadable(w.name(), err)
		}
		return
	}
	defer f.Close()
	h, err := readHeader(f)
	if err != nil {
		s.logUnreadable(w.name(), err)
		return
	}
	w.entries = h.Entries
	w.size = diskUsage(info.Size())
	s.insertFile(w)
}

// diskBatches returns the batches that are on disk.
func (s *spool) diskBatches() []*pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*pending, 0, len(s.list))
	for _, w := range s.list {
		if w.size > 0 {
			list = append(list, w)
		}
	}
	return list
}

// removeMissing removes batches whose files no longer exist: another process sent them, or an
// operator deleted them.
func (s *spool) removeMissing(filed []*pending, there map[history.ID]bool) {
	for _, w := range filed {
		if there[w.id] {
			continue
		}
		if _, err := os.Lstat(s.path(w.name())); errors.Is(err, fs.ErrNotExist) {
			s.unlist(w)
		}
	}
}

// adopt makes a batch of the journal of a process that has ended. The batch has the journal's ID.
// If the process made the same batch itself, or still runs, the store therefore stores it once.
func (s *spool) adopt(name string, batches map[history.ID]bool) error {
	f, at, err := s.claim(name)
	if f == nil {
		return err
	}
	defer f.Close()
	id, _ := journalID(name)
	path := s.path(id.String() + adoptingSuffix)
	if !batches[id] {
		c, err := readContent(f)
		if err != nil {
			return err
		}
		s.tally.damaged(name, c.broken)
		if c.window.rows() > 0 {
			w := &pending{id: id, at: at.UnixNano(), entries: c.window.entries}
			if w.size, err = s.save(w, c.window.batch(id)); err != nil {
				s.tally.setDiskError(err)
				return nil // the next scan tries again
			}
			s.insertFile(w)
		}
		s.tally.drop(DropUnreadable, int64(c.broken))
	}
	_ = f.Close() // some systems cannot remove open files
	return os.Remove(path)
}

// adopted reports whether another process has taken over a journal that is not there any more.
func (s *spool) adopted(j *journal) bool {
	info, err := os.Lstat(s.path(j.id.String() + adoptingSuffix))
	if err == nil && os.SameFile(info, j.info) {
		return true
	}
	entries, _ := os.ReadDir(s.dir)
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		w, ok := parseName(e.Name())
		return ok && w.id == j.id
	})
}

// foreign reports whether a journal is from another machine, or an earlier start of this one.
func (s *spool) foreign(f *os.File) bool {
	h, err := readHeader(f)
	_, seekErr := f.Seek(0, io.SeekStart)
	return err == nil && seekErr == nil && h.Machine != "" && h.Machine != machine()
}

// lockGrace is how long a new process may take to lock its journal.
const lockGrace = 2 * time.Second

// claim opens the journal of a process that has ended: the file is no longer locked. Where files
// cannot be locked, or the journal is from another machine, whose locks a network file system may
// not show, it was also not written to for long. It returns no file when the process may still run.
func (s *spool) claim(name string) (f *os.File, at time.Time, err error) {
	path := s.path(name)
	info, err := os.Lstat(path)
	if err != nil {
		return nil, at, err
	}
	age := time.Since(info.ModTime())
	if age < min(lockGrace, s.orphanAge) || !info.Mode().IsRegular() {
		return nil, at, nil
	}
	open := func() (locked bool) {
		if f, _, err = regularfile.OpenToChange(path, maxFile); err != nil {
			return false
		}
		if locked, err = s.files.lock(f); err != nil {
			_ = f.Close()
			f = nil
		}
		return locked
	}
	locked := open()
	if err != nil {
		return nil, at, err
	}
	if age < s.orphanAge && (!locked || s.foreign(f)) {
		_ = f.Close()
		return nil, at, nil
	}
	id, _ := journalID(name)
	adopting := s.path(id.String() + adoptingSuffix)
	if !locked {
		_ = f.Close() // where files cannot be locked, an open file may not be renamed either
	}
	if path != adopting {
		// if its process still runs, it notices the new name and stops writing
		if err := os.Rename(path, adopting); err != nil {
			if locked {
				_ = f.Close()
			}
			return nil, at, err
		}
		path = adopting
	}
	if !locked {
		open()
	}
	return f, info.ModTime(), err
}
