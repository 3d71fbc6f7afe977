package runtime

import (
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
)

// firstLists is how long a process that has just started is not ready, should lists have no contents yet: other
// instances serve meanwhile. Longer would take the sites down with a publisher.
const firstLists = 10 * time.Second

// expectLists sets until when the lists of a configuration that is about to serve may delay readiness. A reload
// delays nothing, unless the configuration that it replaces was still waiting.
func (rt *Runtime) expectLists(now time.Time) {
	switch serving := Serving(); {
	case serving == nil:
		rt.readyBy = now.Add(firstLists)
	case serving.AwaitsLists(now):
		rt.readyBy = serving.readyBy
	}
}

// AwaitsLists reports whether the process has just started, and there are lists of which there was neither a copy on
// disk nor a first fetch.
func (rt *Runtime) AwaitsLists(now time.Time) bool {
	if !now.Before(rt.readyBy) {
		return false
	}
	for _, l := range rt.Lists.Status() {
		if !l.Loaded && (l.Kind == feed.KindURL || l.Kind == feed.KindPushed) {
			return true
		}
	}
	return false
}
