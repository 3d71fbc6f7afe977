package replica

import (
	"log/slog"
	"time"
)

// skipInterval is the minimum time between two logs.
const skipInterval = time.Minute

// Skipped counts entries of other instances that were ignored. It is not safe for concurrent use.
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

// Log logs the count, at most once a minute.
func (s *Skipped) Log(logger *slog.Logger, now time.Time) {
	if s.count == 0 || !s.logged.IsZero() && now.Sub(s.logged) < skipInterval {
		return
	}
	logger.Warn("changes by other instances were skipped", "count", s.count, "error", s.err)
	*s = Skipped{logged: now}
}
