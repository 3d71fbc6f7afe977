package feed

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// DefaultMaxEntries is how many entries a pushed list may have.
	DefaultMaxEntries = 2_000_000

	// pushPatience is how long a pushed list may be without a word until it is stale.
	pushPatience = 10 * time.Minute

	// Entries that end by themselves cause a rebuild. With many of them that would never stop: between two such
	// rebuilds, the processor is left alone for so many times as long as a rebuild takes, and for endPause at least.
	endShare = 20
	endPause = time.Second

	// savePause is how often a pushed list that changes is written to disk. It is also written when the Set is closed.
	savePause = time.Minute

	// sameShare is how far the sizes of two sets may be apart for the second to confirm the first.
	sameShare = 0.1
)

// ErrPushed means that a list is pushed: whoever pushes it brings it up to date.
var ErrPushed = errors.New("the list is pushed")

// pushed is what a list that is pushed has besides what every list has.
type pushed struct {
	mu      sync.Mutex
	entries entries
	loaded  bool
	changed time.Time // when the entries last did, other than by ending
	dirty   bool      // the snapshot shows others
	unsaved bool      // the disk has others
	next    uint32    // when the first entry ends
	shrunk  int       // entries of a set that was refused because it is much smaller; 0: none
	built   time.Time
	took    time.Duration // the last rebuild
}

// Push changes a pushed list. Wrong entries are skipped and counted: see Status. Without any changes it notes that whoever
// pushes is well. The channel, which may be nil, is closed once the snapshot shows the changes. A list that has more than
// Spec.MaxEntries takes no more: the error says so, and the rest of the changes is made.
func (s *Set) Push(name string, c Changes) (shown <-chan struct{}, err error) {
	l, err := s.pushedList(name)
	if err != nil {
		return nil, err
	}
	added, rejected := l.sift(func(yield func(Entry, error) bool) {
		for _, e := range c.Added {
			if !yield(e, nil) {
				return
			}
		}
	})
	without := slices.Clone(c.Deleted)
	for i := range added.v4 {
		without = append(without, added.v4[i].id())
	}
	for i := range added.v6 {
		without = append(without, added.v6[i].id())
	}
	slices.Sort(without)
	p := l.pushed
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(without) == 0 && p.loaded {
		return nil, l.heard(rejected, ResultUnchanged, nil)
	}
	return l.take(p.entries.changed(without, &added), rejected, nil)
}

// Replace makes the given entries the whole list. They are read as they come, and nothing changes when an error is
// among them. A set that is smaller by more than Spec.MaxShrink is refused unless the one before was refused, too, and
// was about as large: its new entries are taken, and what it lacks stays.
func (s *Set) Replace(name string, all iter.Seq2[Entry, error]) (shown <-chan struct{}, err error) {
	l, err := s.pushedList(name)
	if err != nil {
		return nil, err
	}
	set, rejected := l.sift(all)
	if rejected.err != nil {
		return nil, fmt.Errorf("pushing %s: %w", name, rejected.err)
	}
	p := l.pushed
	p.mu.Lock()
	defer p.mu.Unlock()
	now, _ := p.entries.current(time.Now())
	before, after := now.count(), set.count()
	if before < shrinkable || float64(after) >= float64(before)*(1-*l.spec.MaxShrink) || p.confirms(after) {
		p.shrunk = 0
		return l.take(set, rejected, nil)
	}
	p.shrunk = max(after, 1)
	ids := make([]uint64, 0, after)
	for i := range set.v4 {
		ids = append(ids, set.v4[i].id())
	}
	for i := range set.v6 {
		ids = append(ids, set.v6[i].id())
	}
	slices.Sort(ids)
	return l.take(p.entries.changed(ids, &set), rejected, refuse(ResultShrunk,
		"the list shrank from %d entries to %d; what it lacks stays until another set says the same", before, after))
}

// confirms reports whether a set of so many entries says the same as the one that was refused.
func (p *pushed) confirms(after int) bool {
	difference := float64(max(after, 1) - p.shrunk)
	return p.shrunk > 0 && max(difference, -difference) <= sameShare*float64(p.shrunk)
}

// Failed notes why a pushed list is not up to date. Its entries stay.
func (s *Set) Failed(name string, why error) error {
	l, err := s.pushedList(name)
	if err != nil {
		return err
	}
	result := classify(why)
	l.mu.Lock()
	l.st.lastAttempt = time.Now()
	l.mu.Unlock()
	l.recordAttempt(result, why)
	s.observe(name, result)
	return nil
}

func (s *Set) pushedList(name string) (*list, error) {
	i := slices.IndexFunc(s.lists, func(l *list) bool { return l.spec.Name == name && l.pushed != nil })
	if i < 0 {
		return nil, fmt.Errorf("pushing %s: %w", name, ErrNoSuchFeed)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("pushing %s: %w", name, ErrClosed)
	}
	return s.lists[i], nil
}

// rejected is what of a push was not taken.
type rejected struct {
	wrong int
	first error
	err   error // of the source: nothing counts
}

// sift brings entries into the form in which they are stored, in order.
func (l *list) sift(all iter.Seq2[Entry, error]) (e entries, r rejected) {
	for n, err := range all {
		if err != nil {
			return entries{}, rejected{err: err}
		}
		if e.count() >= l.spec.MaxEntries {
			r.note(fmt.Errorf("more than %d entries", l.spec.MaxEntries))
			continue
		}
		if n.Prefix, err = l.normal(n); err != nil {
			r.note(err)
			continue
		}
		e.add(n)
	}
	e.sort()
	return e, r
}

func (r *rejected) note(err error) {
	if r.wrong++; r.first == nil {
		r.first = err
	}
}

// normal returns the prefix of an entry as lists have it, or what is wrong with the entry.
func (l *list) normal(e Entry) (netip.Prefix, error) {
	p := e.Prefix.Masked()
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	switch {
	case e.ID > maxID:
		return p, fmt.Errorf("the ID %d is too large", e.ID)
	case !p.IsValid():
		return p, fmt.Errorf("the entry %d names no addresses", e.ID)
	case !l.spec.Own && tooWide(p):
		return p, fmt.Errorf("%s is too much of the Internet", p)
	}
	return p, nil
}

// take makes entries those of the list; failure says why they are not all that they should be. The caller holds the
// lock of l.pushed.
func (l *list) take(all entries, r rejected, failure error) (shown <-chan struct{}, err error) {
	p := l.pushed
	if over := all.count() - l.spec.MaxEntries; over > 0 {
		r.wrong += over
		if r.first == nil {
			r.first = fmt.Errorf("more than %d entries", l.spec.MaxEntries)
		}
		v6 := min(over, len(all.v6)) // those with the highest IDs, which are the newest
		all.v6, all.v4 = all.v6[:len(all.v6)-v6], all.v4[:len(all.v4)-(over-v6)]
	}
	p.entries, p.loaded, p.dirty, p.unsaved, p.changed = all, true, true, true, time.Now()
	shown = l.set.builder.request()
	l.poke()
	return shown, l.heard(r, ResultOK, failure)
}

// heard notes that whoever pushes has been heard. The caller holds the lock of l.pushed.
func (l *list) heard(r rejected, result Result, failure error) error {
	if failure == nil && r.wrong > 0 && l.pushed.entries.count() >= l.spec.MaxEntries {
		failure = refuse(ResultTooLarge, "%d entries had no place: %w", r.wrong, r.first)
	}
	if failure != nil {
		result = classify(failure)
	}
	l.mu.Lock()
	l.st.lastAttempt, l.st.loaded = time.Now(), true
	l.st.header.lines = l.pushed.entries.count()
	if result != ResultUnchanged {
		l.st.ignored, l.st.first = r.wrong, r.first
	}
	l.mu.Unlock()
	l.recordAttempt(result, failure)
	l.set.observe(l.spec.Name, result)
	if failure != nil {
		return fmt.Errorf("pushing %s: %w", l.spec.Name, failure)
	}
	return nil
}

// show returns what the next snapshot is to hold, unless that is what the current one holds.
func (p *pushed) show(now time.Time) (current entries, changed time.Time, different bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.dirty && seconds(now) < p.next {
		return entries{}, time.Time{}, false
	}
	p.dirty = false
	p.entries, p.next = p.entries.current(now)
	return p.entries, p.changed, p.loaded
}

// shown notes how long the rebuild took.
func (p *pushed) shown(now time.Time, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.built, p.took = now, took
}

// untilEnd returns how long it takes until ended entries are worth a rebuild.
func (p *pushed) untilEnd(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next == never {
		return time.Hour
	}
	due := time.Unix(int64(p.next), 0)
	if free := p.built.Add(max(endPause, endShare*p.took)); due.Before(free) {
		due = free
	}
	return due.Sub(now)
}

// keepPushed has ended entries taken out and the list written to disk until the Set is closed.
func (l *list) keepPushed() {
	end := time.NewTimer(0)
	defer end.Stop()
	save := time.NewTicker(savePause)
	defer save.Stop()
	for {
		end.Reset(l.pushed.untilEnd(time.Now()))
		select {
		case <-l.set.ctx.Done():
			l.savePushed()
			return
		case <-l.wake:
		case <-save.C:
			l.savePushed()
		case <-end.C:
			select {
			case <-l.set.builder.request():
			case <-l.set.ctx.Done():
			}
		}
	}
}
