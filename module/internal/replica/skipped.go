package replica

import (
	"log/slog"
	"time"
)

// skipInterval is how often skipped entries are logged at most.
const skipInterval = time.Minute

// Skipped counts the entries of other instances that were not taken over. It is not safe for concurrent use.
type Skipped struct {
	count  int
	err    error // why the last one was skipped
	logged time.Time
}

// Add counts entries that were skipped for the same reason.
func (s *Skipped) Add(count int, err error) {
	if count > 0 {
		s.count += count
		s.err = err
	}
}

// Log logs what was skipped, at most once a minute.
func (s *Skipped) Log(logger *slog.Logger, now time.Time) {
	if s.count == 0 || !s.logged.IsZero() && now.Sub(s.logged) < skipInterval {
		return
	}
	logger.Warn("changes by other instances were skipped", "count", s.count, "error", s.err)
	*s = Skipped{logged: now}
}
