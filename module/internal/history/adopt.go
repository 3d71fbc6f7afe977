package history

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"
)

// scan looks for what other processes, or this one before it was started again, left in the folder, and for files that were
// removed.
func (s *spool) scan() {
	if s.dir == "" {
		return
	}
	filed := s.filed()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.unreadable(s.dir, err)
		}
		return
	}
	batches := make(map[ID]bool)
	var journals []string
	for _, e := range entries {
		if w, ok := parseName(e.Name()); ok {
			batches[w.id] = true
			s.discover(w)
		} else if id, ok := journalID(e.Name()); ok && !s.isOwn(id) {
			journals = append(journals, e.Name())
		} else {
			s.tidy(e)
		}
	}
	s.missing(filed, batches)
	for _, name := range journals {
		if err := s.adopt(name, batches); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errLocked) {
			s.unreadable(name, err)
		}
	}
	s.trim()
}

// abandoned is how old a file is, that has not got its name yet, when who wrote it has ended.
const abandoned = time.Minute

// tidy removes what a process left that was killed while it wrote a batch, which is still in its journal.
func (s *spool) tidy(e os.DirEntry) {
	if !strings.HasSuffix(e.Name(), ".tmp") {
		return
	}
	if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > abandoned {
		_ = os.Remove(s.path(e.Name())) // it is tried again
	}
}

func (s *spool) unreadable(name string, err error) {
	if s.tally.logged.Allow("unreadable", time.Now()) {
		s.tally.log.Error("a part of the spool of the history cannot be read, and is not sent", "file", name, "error", err)
	}
}

// parseName reads the name of a batch.
func parseName(name string) (*waiting, bool) {
	at, id, ok := strings.Cut(strings.TrimSuffix(name, batchEnd), "-")
	n, err := strconv.ParseInt(at, 10, 64)
	if !ok || err != nil || n < 0 {
		return nil, false
	}
	w := &waiting{at: n}
	w.id, ok = parseID(id)
	return w, ok && w.name() == name
}

// journalID reads the name of a journal.
func journalID(name string) (ID, bool) {
	text, ok := strings.CutSuffix(name, journalEnd)
	if !ok {
		text, ok = strings.CutSuffix(name, adoptingEnd)
	}
	id, valid := parseID(text)
	return id, ok && valid
}

func (s *spool) isOwn(id ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.own[id]
}

// discover adds a batch that is on disk, unless it is known.
func (s *spool) discover(w *waiting) {
	s.mu.Lock()
	known, sent := s.find(w) != nil, s.sent[w.name()]
	s.mu.Unlock()
	if sent {
		s.removeFile(w.name())
	}
	if known || sent {
		return
	}
	f, err := os.Open(s.path(w.name()))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) { // then another has sent it
			s.unreadable(w.name(), err)
		}
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil {
		w.entries, err = readHeader(f)
	}
	if err != nil {
		s.unreadable(w.name(), err)
		return
	}
	w.size = onDisk(info.Size())
	s.discovered(w)
}

// filed returns the batches that are on disk.
func (s *spool) filed() []*waiting {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*waiting, 0, len(s.list))
	for _, w := range s.list {
		if w.size > 0 {
			list = append(list, w)
		}
	}
	return list
}

// missing forgets those of the batches whose files another process has sent, or somebody removed, and are not there any more.
func (s *spool) missing(filed []*waiting, there map[ID]bool) {
	for _, w := range filed {
		if there[w.id] {
			continue
		}
		if _, err := os.Lstat(s.path(w.name())); errors.Is(err, fs.ErrNotExist) {
			s.forget(w)
		}
	}
}

// adopt makes a batch of the journal of a process that has ended. It has the journal's ID: should the process have made a batch
// of it itself, or live and do so yet, then it is stored once.
func (s *spool) adopt(name string, batches map[ID]bool) error {
	f, at, err := s.claim(name)
	if f == nil {
		return err
	}
	defer f.Close()
	id, _ := journalID(name)
	path := s.path(id.String() + adoptingEnd)
	if !batches[id] {
		c, err := readContent(f)
		if err != nil {
			return err
		}
		s.tally.damaged(name, c.broken)
		if c.window.rows() > 0 {
			w := &waiting{id: id, at: at.UnixNano(), entries: c.window.entries}
			if w.size, err = s.save(w, c.window.batch(id)); err != nil {
				s.tally.diskFailed(err)
				return nil // it is there the next time
			}
			s.discovered(w)
		}
		s.tally.drop(DropUnreadable, int64(c.broken))
	}
	_ = f.Close() // where open files cannot be removed
	return os.Remove(path)
}

// newborn is how old a journal is at least when its process has locked it.
const newborn = 2 * time.Second

// claim takes a journal from a process that has ended: one that has it locked no more or, where files cannot be locked, has not
// written to it for long. It returns no file when it is not to be had.
func (s *spool) claim(name string) (f *os.File, at time.Time, err error) {
	path := s.path(name)
	info, err := os.Lstat(path)
	if err != nil {
		return nil, at, err
	}
	age := time.Since(info.ModTime())
	if age < min(newborn, s.orphan) || !info.Mode().IsRegular() {
		return nil, at, nil
	}
	open := func() (locked bool) {
		if f, err = os.Open(path); err != nil {
			return false
		}
		if locked, err = lock(f); err != nil {
			_ = f.Close()
			f = nil
		}
		return locked
	}
	locked := open()
	if err != nil {
		return nil, at, err
	}
	if !locked && age < s.orphan {
		_ = f.Close()
		return nil, at, nil
	}
	id, _ := journalID(name)
	adopting := s.path(id.String() + adoptingEnd)
	if !locked {
		_ = f.Close() // where files cannot be locked, those that are open cannot be renamed, or should not be
	}
	if path != adopting {
		// from now on its process, if it lives after all, does not write to it
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
