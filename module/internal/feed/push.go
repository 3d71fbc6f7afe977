package feed

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
)

const (
	// pushPatience is how long a pushed list may be without a push until it is stale.
	pushPatience = 10 * time.Minute

	// An entry that expires causes a rebuild. So that many of them do not keep the processor busy,
	// the pause between two such rebuilds is this many times as long as a rebuild takes, and
	// expiryPause at least.
	expiryShare = 20
	expiryPause = time.Second

	// savePause is how often a pushed list that has changed is
	// written to disk. It is also written by Close.
	savePause = time.Minute

	// A refused set is confirmed by one whose size differs by at most this share, and that comes this
	// long after the first: what makes an API lose entries for a moment may go on for minutes.
	sameShare   = 0.1
	confirmPush = 10 * time.Minute
)

// ErrPushed means that a list is pushed, so that only its source can refresh it.
var ErrPushed = errors.New("the list is pushed")

// ErrLeftOut is wrapped by what a source says of an entry that it leaves out: it counts as a wrong
// entry, and the others are pushed.
var ErrLeftOut = errors.New("the entry is left out")

// pushed is the state that only pushed lists have.
type pushed struct {
	mu      sync.Mutex
	entries entries
	loaded  bool
	changed time.Time     // when the entries last changed, other than by expiring
	dirty   bool          // the snapshot has older entries
	unsaved bool          // the copy on disk has older entries
	next    uint32        // when the next entry expires
	shrunk  int           // size of the first of the sets that were refused as too small; 0: the last was not
	since   time.Time     // when that came
	built   time.Time     // when the last rebuild ended
	took    time.Duration // how long it took
}

// Push changes a pushed list. Wrong entries are skipped and counted: see Status.
// A push without changes confirms the list. The channel, which may be nil, is
// closed once the snapshot has the changes. Entries beyond Spec.MaxEntries are
// left out, and an error is returned; all other changes are made.
func (s *Set) Push(name string, c Changes) (shown <-chan struct{}, err error) {
	l, err := s.pushedList(name)
	if err != nil {
		return nil, err
	}
	added, rejected := l.pack(func(yield func(Entry, error) bool) {
		for _, e := range c.Added {
			if !yield(e, nil) {
				return
			}
		}
	})
	rejected.note(c.LeftOut, c.FirstLeftOut)
	without := append(added.ids(), c.Deleted...)
	slices.Sort(without)
	p := l.pushed
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(without) == 0 && p.loaded {
		return nil, l.recordPush(rejected, ResultUnchanged, nil)
	}
	return l.replace(p.entries.changed(without, &added), rejected, nil)
}

// Replace replaces all entries of a pushed list. They are read one by one; after an error the list
// stays as it was. A set that is smaller by more than Spec.MaxShrink is refused: its entries are
// added, and none is removed. A set of about the same size confirms it ten minutes later and is
// accepted, unless another comes in between.
func (s *Set) Replace(name string, all iter.Seq2[Entry, error]) (shown <-chan struct{}, err error) {
	l, err := s.pushedList(name)
	if err != nil {
		return nil, err
	}
	set, rejected := l.pack(all)
	if rejected.err != nil {
		return nil, fmt.Errorf("pushing %s: %w", name, rejected.err)
	}
	rejected.all = true
	p := l.pushed
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	current, _ := p.entries.current(now)
	before, after := current.count(), set.count()
	if before < minGuarded || float64(after) >= float64(before)*(1-*l.spec.MaxShrink) ||
		p.confirms(after, now) {
		p.shrunk = 0
		return l.replace(set, rejected, nil)
	}
	ids := set.ids()
	slices.Sort(ids)
	return l.replace(p.entries.changed(ids, &set), rejected, refuse(ResultShrunk,
		"the list shrank from %d entries to %d; what it lacks stays until sets say the same for %s", before, after,
		confirmPush))
}

// confirms reports whether sets of about the given size have come for long enough. If it is the first
// such set, it is noted.
func (p *pushed) confirms(size int, now time.Time) bool {
	difference := float64(max(size, 1) - p.shrunk)
	if p.shrunk == 0 || max(difference, -difference) > sameShare*float64(p.shrunk) || now.Before(p.since) {
		p.shrunk, p.since = max(size, 1), now
	}
	return now.Sub(p.since) >= confirmPush
}

// PushFailed records why the source of a pushed list could not push. The entries stay.
func (s *Set) PushFailed(name string, why error) error {
	l, err := s.pushedList(name)
	if err != nil {
		return err
	}
	result := classify(why)
	l.mu.Lock()
	l.st.lastAttempt = time.Now()
	l.mu.Unlock()
	l.recordAttempt(result, why, time.Time{})
	s.observe(name, result)
	return nil
}

// PartSizes returns the number of entries of each part of a pushed list.
func (s *Set) PartSizes(name string) ([]PartSize, error) {
	l, err := s.pushedList(name)
	if err != nil {
		return nil, err
	}
	l.pushed.mu.Lock()
	all := l.pushed.entries // immutable
	l.pushed.mu.Unlock()
	all, _ = all.current(time.Now())
	sizes := all.sizes()
	return sizes[:l.spec.Parts], nil
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

// rejected counts the entries of a push that were left out.
type rejected struct {
	wrong int
	over  int // of them, those that had no place
	first error
	err   error // of the iterator: the push is void
	all   bool  // the push has all entries of the list
}

// pack validates entries and returns them in the form in which they are stored.
func (l *list) pack(all iter.Seq2[Entry, error]) (e entries, r rejected) {
	most := l.spec.MaxEntries
	for n, err := range all {
		if err != nil && !errors.Is(err, ErrLeftOut) {
			return entries{}, rejected{err: err}
		}
		if err == nil {
			n, err = l.normal(n)
		}
		if err != nil {
			r.note(1, err)
			continue
		}
		e.add(n)
		if e.count() > most+most/8 { // not for each one: the highest parts may come first
			l.trim(&e, &r)
		}
	}
	e.sort()
	l.trim(&e, &r)
	return e, r
}

// trim removes the entries for which the list has no place.
func (l *list) trim(e *entries, r *rejected) {
	if over := e.trim(l.spec.MaxEntries); over > 0 {
		r.note(over, fmt.Errorf("more than %d entries", l.spec.MaxEntries))
		r.over += over
	}
}

func (r *rejected) note(n int, err error) {
	if r.wrong += n; r.first == nil {
		r.first = err
	}
}

// normal returns an entry with its prefix masked and unmapped, or an error if the entry is wrong.
func (l *list) normal(e Entry) (Entry, error) {
	var named int
	for _, set := range []bool{e.Prefix.IsValid(), e.ASN != 0, e.Country != [2]byte{}} {
		if set {
			named++
		}
	}
	e.Prefix = address.Listed(e.Prefix)
	switch {
	case int(e.Part) >= l.spec.Parts:
		return e, fmt.Errorf("the list has no part %d", e.Part)
	case e.ID > maxID:
		return e, fmt.Errorf("the ID %d is too large", e.ID)
	case named == 0:
		return e, fmt.Errorf("the entry %d names no addresses", e.ID)
	case named > 1:
		return e, fmt.Errorf("the entry %d names more than one thing", e.ID)
	case e.Country != [2]byte{} && nameOfCountry(string(e.Country[:])) == 0:
		return e, fmt.Errorf("the entry %d names the country %q, which is not of the form US", e.ID, e.Country[:])
	case e.Prefix.IsValid() && !l.spec.Own && address.TooWide(e.Prefix):
		return e, fmt.Errorf("%s is too much of the Internet", e.Prefix)
	}
	return e, nil
}

// replace replaces the entries of the list. failure is why the push is incomplete, or nil. The
// caller holds the lock of l.pushed.
func (l *list) replace(all entries, r rejected, failure error) (shown <-chan struct{}, err error) {
	p := l.pushed
	l.trim(&all, &r)
	p.entries, p.loaded, p.dirty, p.unsaved, p.changed = all, true, true, true, time.Now()
	shown = l.set.builder.request()
	l.signal()
	return shown, l.recordPush(r, ResultOK, failure)
}

// recordPush records the result of a push. The caller holds the lock of l.pushed.
func (l *list) recordPush(r rejected, result Result, failure error) error {
	if failure == nil && r.over > 0 {
		failure = refuse(ResultTooLarge, "%d entries had no place: more than %d entries", r.over, l.spec.MaxEntries)
	}
	if failure != nil {
		result = classify(failure)
	}
	l.mu.Lock()
	l.st.lastAttempt, l.st.loaded = time.Now(), true
	l.st.header.lines = l.pushed.entries.count()
	if r.all {
		l.st.ignored, l.st.first = 0, nil
	}
	l.st.ignored, l.st.first = l.st.ignored+r.wrong, cmp.Or(l.st.first, r.first)
	l.mu.Unlock()
	l.recordAttempt(result, failure, time.Now())
	l.set.observe(l.spec.Name, result)
	if failure != nil {
		return fmt.Errorf("pushing %s: %w", l.spec.Name, failure)
	}
	return nil
}

// unpublished returns the entries for the next snapshot, and whether
// they differ from the current one's.
func (p *pushed) unpublished(now time.Time) (current entries, changed time.Time, different bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.dirty && seconds(now) < p.next {
		return entries{}, time.Time{}, false
	}
	p.dirty = false
	p.entries, p.next = p.entries.current(now)
	return p.entries, p.changed, p.loaded
}

// published records how long a rebuild took.
func (p *pushed) published(now time.Time, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.built, p.took = now, took
}

// untilExpiry returns the time until the next rebuild that removes expired entries.
func (p *pushed) untilExpiry(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next == never {
		return time.Hour
	}
	due := time.Unix(int64(p.next), 0)
	if free := p.built.Add(max(expiryPause, expiryShare*p.took)); due.Before(free) {
		due = free
	}
	return due.Sub(now)
}

// maintainPushed removes expired entries and writes the list to disk, until the Set is closed.
func (l *list) maintainPushed() {
	expiry := time.NewTimer(0)
	defer expiry.Stop()
	save := time.NewTicker(savePause)
	defer save.Stop()
	for {
		expiry.Reset(l.pushed.untilExpiry(time.Now()))
		select {
		case <-l.set.ctx.Done():
			l.savePushed()
			return
		case <-l.wake:
		case <-save.C:
			l.savePushed()
		case <-expiry.C:
			select {
			case <-l.set.builder.request():
			case <-l.set.ctx.Done():
			}
		}
	}
}
