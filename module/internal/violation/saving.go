package violation

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/atomicfile"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/regularfile"
)

const (
	// saveEvery is how often the violations are saved. Of a process that is killed, so much is lost.
	saveEvery = 5 * time.Minute

	// maxFile is the largest file that is read: that of a store with a million subjects.
	maxFile = 256 << 20
)

// run saves and tidies the store until it is closed.
func (s *Store) run() {
	defer close(s.done)
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-tick.C:
			s.upkeep(time.Since(last))
			last = time.Now()
		case <-s.save:
			s.Save()
		case <-s.stop:
			return
		}
	}
}

// upkeep forgets what is worth nothing any more, and saves the rest. elapsed is the time since it was
// called last, by a clock that cannot be set. If the other one has jumped since, it may be wrong:
// nothing is forgotten then.
func (s *Store) upkeep(elapsed time.Duration) {
	defer func() {
		if r := recover(); r != nil {
			s.log.Error("tidying violations panicked; this is a bug", slog.Any("panic", r))
		}
	}()
	now := s.now()
	if jumped := now.Round(0).Sub(s.upkept.Round(0)) - elapsed; jumped.Abs() < time.Minute {
		s.table.sweep(now)
	}
	s.upkept = now
	s.Save()
}

// Save writes the file if anything has changed since it was written.
func (s *Store) Save() {
	defer func() {
		if r := recover(); r != nil {
			s.log.Error("saving violations panicked; this is a bug", slog.Any("panic", r))
		}
	}()
	if err := s.write(); err != nil {
		s.log.Error("the violations of clients are not on disk: a restart would forget them",
			slog.Any("error", err))
	}
}

func (s *Store) write() error {
	s.saving.Lock()
	defer s.saving.Unlock()
	if s.path == "" || s.detached || !s.changed.Swap(false) {
		return nil
	}
	if err := atomicfile.Write(s.path, s.encode); err != nil {
		s.changed.Store(true)
		return fmt.Errorf("saving violations: %w", err)
	}
	return nil
}

// Close saves what is remembered. The store can still be used; nothing is saved any more.
func (s *Store) Close() error {
	close(s.stop)
	<-s.done
	err := s.write()
	s.Detach()
	return err
}

// Attach makes the file the store's own: it takes over what another process has saved meanwhile, and
// writes the file from now on.
func (s *Store) Attach() {
	s.saving.Lock()
	defer s.saving.Unlock()
	if !s.detached {
		return
	}
	s.detached = false
	if now, err := os.Stat(s.path); err == nil &&
		(s.read == nil || !os.SameFile(now, s.read) || !now.ModTime().Equal(s.read.ModTime())) {
		s.load(false)
		s.changed.Store(true)
	}
	if s.damage != nil {
		s.setAside(s.damage)
	}
}

// Detach leaves the file to another process.
func (s *Store) Detach() {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.detached = true
}

// load reads the file: first of all, or besides what is known already.
func (s *Store) load(first bool) {
	file, info, err := regularfile.Open(s.path, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		s.read = info
		_, err = s.decode(file, first, s.now())
		_ = file.Close() // only read
	}
	if err == nil {
		return
	}
	if s.damage = err; !s.detached {
		s.setAside(err)
	}
}

// setAside renames a file that cannot be used, for people to look at. It is written anew.
func (s *Store) setAside(damage error) {
	s.damage = nil
	s.changed.Store(true)
	aside := s.path + ".damaged"
	s.log.Warn("the file of violations cannot be used as a whole and is set aside",
		slog.String("file", aside), slog.Int64("kept", s.table.used.Load()), slog.Any("error", damage))
	if err := os.Rename(s.path, aside); err != nil {
		s.log.Warn("the damaged file of violations cannot be set aside, and will be overwritten", slog.Any("error", err))
	}
}
