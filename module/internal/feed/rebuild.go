package feed

import (
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

// request asks for a rebuild. The channel is closed after one that began later.
func (b *builder) request() <-chan struct{} {
	done := make(chan struct{})
	b.mu.Lock()
	b.waiting = append(b.waiting, done)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default: // one is coming
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

// rebuildOnRequest makes one snapshot after the other, never two at once.
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

// rebuild publishes what all lists say now.
func (s *Set) rebuild() {
	ranges := make([]iplist.Ranges, len(s.lists))
	states := make([]ListState, len(s.lists))
	for i, l := range s.lists {
		ranges[i], states[i] = l.load()
	}
	s.current.Store(&Snapshot{Index: iplist.Build(ranges), Lists: states})
}

// load returns the list in force: from memory, when it could not be written to disk, or from its copy.
func (l *list) load() (iplist.Ranges, ListState) {
	l.mu.Lock()
	state, kept := l.listState(), l.st.kept
	l.mu.Unlock()
	switch {
	case !state.Loaded:
		return iplist.Ranges{}, state
	case kept != nil:
		return *kept, state
	}
	h, ranges, _, err := loadCopy(l.copyPath, l.fingerprint)
	if err != nil {
		l.lost(err)
		return iplist.Ranges{}, ListState{Name: l.spec.Name}
	}
	state.Entries, state.Fetched = h.entries, h.fetched // a newer one may have been written meanwhile
	return ranges, state
}

// listState needs the lock.
func (l *list) listState() ListState {
	return ListState{Name: l.spec.Name, Loaded: l.st.loaded, Entries: l.st.entries, Fetched: l.st.fetched}
}
