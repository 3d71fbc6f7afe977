package feed

import (
	"slices"
	"sync"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/iplist"
)

// coalesce is how long a rebuild waits for further changes: at a first start all lists arrive within seconds.
const coalesce = 200 * time.Millisecond

var reserved = iplist.NewRanges(append(reservedPrefixes[:0:0], reservedPrefixes...))

// builder collects the requests for a rebuild.
type builder struct {
	wake    chan struct{}
	mu      sync.Mutex
	waiting []chan struct{}
}

// request asks for a rebuild. The channel is closed after a rebuild that began later than the request.
func (b *builder) request() <-chan struct{} {
	done := make(chan struct{})
	b.mu.Lock()
	b.waiting = append(b.waiting, done)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default: // a rebuild is due already
	}
	return done
}

func (b *builder) take() []chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	waiting := b.waiting
	b.waiting = nil
	return waiting
}

// rebuildOnRequest makes the snapshots, one at a time.
func (s *Set) rebuildOnRequest() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.builder.wake:
		}
		timer.Reset(coalesce)
		select {
		case <-s.ctx.Done():
			return
		case <-timer.C:
		}
		waiting := s.builder.take()
		s.guard("rebuilding the lists", s.rebuild)
		for _, done := range waiting {
			close(done)
		}
	}
}

// rebuild publishes a snapshot of all lists. Unchanged lists come from the snapshot in force, so nothing can fail.
func (s *Set) rebuild() {
	current := s.Current()
	ranges, states := current.Index.Lists(), slices.Clone(current.Lists)
	taken := make([]*iplist.Ranges, len(s.lists))
	for i, l := range s.lists {
		l.mu.Lock()
		if taken[i] = l.st.pending; taken[i] != nil {
			ranges[i] = *taken[i]
			states[i] = ListState{Name: l.spec.Name, Loaded: true, Entries: l.st.header.entries, Fetched: l.st.header.fetched}
		}
		l.mu.Unlock()
	}
	s.current.Store(&Snapshot{Index: iplist.Build(ranges), Lists: states})
	for i, l := range s.lists {
		l.mu.Lock()
		if l.st.pending == taken[i] { // else there is a newer one
			l.st.pending = nil
		}
		l.mu.Unlock()
	}
}
