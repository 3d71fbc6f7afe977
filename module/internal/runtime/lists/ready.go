package lists

import (
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
)

// firstLists is how long a process that has just started is not ready, should lists have no contents yet: other
// instances serve meanwhile. Longer would take the sites down with a publisher.
const firstLists = 10 * time.Second

// Expect sets until when the lists of a configuration that is about to serve may delay readiness. A reload delays nothing,
// unless the configuration that it replaces was still waiting: serving are the lists of that one, nil at a start.
func (l *Lists) Expect(serving *Lists, now time.Time) {
	switch {
	case serving == nil:
		l.readyBy = now.Add(firstLists)
	case serving.Awaited(now):
		l.readyBy = serving.readyBy
	}
}

// Awaited reports whether the process has just started, and there are lists of which there was neither a copy on
// disk nor a first fetch.
func (l *Lists) Awaited(now time.Time) bool {
	if !now.Before(l.readyBy) {
		return false
	}
	for _, s := range l.Status() {
		if !s.Loaded && (s.Kind == feed.KindURL || s.Kind == feed.KindPushed) {
			return true
		}
	}
	return false
}
