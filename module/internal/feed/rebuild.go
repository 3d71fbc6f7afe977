package feed

import (
	"slices"
	"sync"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/iplist"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// coalesce is how long a rebuild waits for further changes: at the
// first start, all lists arrive within seconds.
const coalesce = 200 * time.Millisecond

// rebuildShare is how many times as long as a rebuild takes the time is from its start to that of the
// next: with millions of entries, a stream that always has news must not keep the processor busy.
const rebuildShare = 10

var reserved = iplist.NewRanges(reputation.ReservedPrefixes())

// builder collects the requests for a rebuild.
type builder struct {
	wake    chan struct{}
	mu      sync.Mutex
	waiting []chan struct{}
}

// request asks for a rebuild. The channel is closed when a rebuild
// has ended that started after the request.
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

// rebuildOnRequest rebuilds the snapshot whenever that was requested, until the Set is closed.
func (s *Set) rebuildOnRequest(rebuild func()) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var free time.Time // when the next may start
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.builder.wake:
		}
		timer.Reset(max(coalesce, time.Until(free)))
		select {
		case <-s.ctx.Done():
			return
		case <-timer.C:
		}
		waiting := s.builder.take()
		start := time.Now()
		s.guard("rebuilding the lists", rebuild)
		free = start.Add(rebuildShare * time.Since(start))
		for _, done := range waiting {
			close(done)
		}
	}
}

// rebuild publishes a snapshot of all lists. It takes unchanged lists
// from the current one, so it cannot fail.
func (s *Set) rebuild() { s.rebuildAt(time.Now()) }

// rebuildAt is rebuild at the given time, by which pushed entries expire.
func (s *Set) rebuildAt(now time.Time) {
	start := time.Now()
	current := s.Current()
	ranges, states := current.Index.Lists(), slices.Clone(current.Lists)
	named := slices.Clone(current.named.lists)
	taken := make([]*body, len(s.lists))
	for i, l := range s.lists {
		if l.pushed != nil {
			l.publishPushed(now, ranges, named, &states[i])
			continue
		}
		l.mu.Lock()
		if taken[i] = l.st.pending; taken[i] != nil {
			ranges[i], named[i] = taken[i].ranges, taken[i].names
			states[i] = ListState{Name: l.spec.Name, Loaded: true, Entries: l.st.header.entries,
				Content: l.st.header.content(), Fetched: l.st.header.fetched}
		}
		l.mu.Unlock()
	}
	next := &Snapshot{Index: iplist.Build(ranges), Lists: states, named: current.named, parts: current.parts}
	if !slices.EqualFunc(named, current.named.lists, slices.Equal) {
		next.named = indexNames(named)
	}
	s.current.Store(next)
	for i, l := range s.lists {
		if l.pushed != nil {
			l.pushed.published(time.Now(), time.Since(start))
			l.signal() // the next expiry may be another one
			continue
		}
		l.mu.Lock()
		if l.st.pending == taken[i] { // otherwise there is a newer one
			l.st.pending = nil
		}
		l.mu.Unlock()
	}
}

// publishPushed updates a pushed list's members of a snapshot, if the list has changed.
func (l *list) publishPushed(now time.Time, ranges []iplist.Ranges, named []names, state *ListState) {
	all, changed, different := l.pushed.unpublished(now)
	if !different {
		return
	}
	*state = ListState{Name: l.spec.Name, Loaded: true, Fetched: changed}
	for part, addresses := range all.ranges(l.spec.Parts) {
		if !l.spec.Own {
			addresses = addresses.Without(reserved)
		}
		ranges[l.member(part)] = addresses
		for range addresses.Prefixes() {
			state.Entries++
		}
	}
	for part, other := range all.names(l.spec.Parts) {
		named[l.member(part)] = other
		state.Entries += len(other)
	}
}
