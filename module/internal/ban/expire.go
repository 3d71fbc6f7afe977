package ban

import "time"

// resetTimer makes the goroutine compute the next end again.
func (s *Store) resetTimer() {
	select {
	case s.wake <- struct{}{}:
	default: // already requested
	}
}

// run removes ended entries, until Close.
func (s *Store) run() {
	defer close(s.done)
	retry := false
	for {
		timer := time.NewTimer(s.expire(retry))
		select {
		case <-timer.C:
			retry = true
		case <-s.wake: // after a change, which has tried to write the file itself
			retry = false
			timer.Stop()
		case <-s.stop:
			timer.Stop()
			return
		}
	}
}

// expire removes ended entries, and returns the pause until its next call. If retry is true and the
// last write failed, it writes the file again. An ended entry alone causes no write: the next
// change does, and Open omits the entry.
func (s *Store) expire(retry bool) (pause time.Duration) {
	pause = maxPause
	defer func() {
		if r := recover(); r != nil {
			s.log.Error("ending bans and exemptions panicked", "panic", r)
		}
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	all := s.state()
	rest := all.at(now)
	s.tombstones = rest.tombstones
	if !samePrefixes(all.live, rest.live) {
		s.publish(rest)
	}
	switch over := all.live.len() - rest.live.len(); {
	case over > 0:
		s.log.Info("bans and exemptions are over", "count", over)
	case over < 0:
		s.log.Info("bans and exemptions are in force again: the clock was ahead", "count", -over)
	}
	s.skipped.Log(s.log, now)
	rest = s.correct(rest, now)
	if s.unsaved && retry && !s.detached {
		if err := s.save(); err == nil {
			s.log.Info("bans and exemptions are on disk again", "file", s.path)
		}
	}
	if !s.saveAt.IsZero() {
		if wait := s.saveAt.Sub(now); wait > 0 {
			pause = min(pause, wait)
		} else {
			_ = s.save() // it logs its error, and is tried again
		}
	}
	if next := rest.live.nextEnd(); !next.IsZero() {
		pause = min(pause, next.Sub(now))
	}
	return pause
}
