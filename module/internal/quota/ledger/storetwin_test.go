package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// storeTwin is a Store in memory: the contract, step by step.
type storeTwin struct {
	mu     sync.Mutex
	now    func() time.Time
	kept   map[string]*keptWindow // by account and period
	due    map[string]time.Time   // by account
	epochs int
}

type keptWindow struct {
	start       time.Time
	epoch       string
	version     int64
	base, since int
	owed        map[string]int
}

func (k keptWindow) used() int { return k.base + k.since }

func newStoreTwin(now func() time.Time) *storeTwin {
	return &storeTwin{now: now, kept: map[string]*keptWindow{}, due: map[string]time.Time{}}
}

func (s *storeTwin) nextEpoch() string {
	s.epochs++
	return fmt.Sprint("epoch ", s.epochs)
}

func (s *storeTwin) Count(_ context.Context, c Count) (Counted, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := make([]*keptWindow, len(c.Windows))
	room := true
	for i, w := range c.Windows {
		k := s.find(c, w)
		if k == nil {
			continue
		}
		if k.start.Equal(w.Start) {
			s.mend(k, c.Instance, w)
			k.settle(c.Instance, w)
		}
		room = room && k.used()+c.N <= w.Limit
		kept[i] = k
	}
	answer := Counted{Granted: c.N <= 0 || room}
	if c.N > 0 && room && c.Interval > 0 {
		answer.Granted, answer.RetryIn = s.pace(c)
	}
	for i, w := range c.Windows {
		k := kept[i]
		if k == nil {
			answer.Windows = append(answer.Windows, WindowCounted{w.Start, w.Epoch, w.Version, w.Known, w.Settled})
			continue
		}
		switch {
		case c.N > 0 && answer.Granted:
			k.since += c.N
		case c.N < 0 && k.start.Equal(w.Start):
			k.since = max(k.since+c.N, -k.base)
		}
		k.version++
		answer.Windows = append(answer.Windows, WindowCounted{k.start, k.epoch, k.version, k.used(), k.owed[c.Instance]})
	}
	return answer, nil
}

// find is step 1. It returns nil for a window that does not give way.
func (s *storeTwin) find(c Count, w WindowCount) *keptWindow {
	key := c.Account + " " + w.Period
	k := s.kept[key]
	switch {
	case k != nil && (k.start.Equal(w.Start) || k.start.Equal(w.End)):
		return k
	case k != nil && c.N < 0:
		return nil
	}
	s.kept[key] = &keptWindow{start: w.Start, epoch: s.nextEpoch(), owed: map[string]int{}}
	return s.kept[key]
}

// mend is step 2.
func (s *storeTwin) mend(k *keptWindow, instance string, w WindowCount) {
	if w.Epoch == k.epoch && w.Version > k.version {
		*k = keptWindow{start: k.start, epoch: s.nextEpoch(), base: k.used(), owed: map[string]int{}}
	}
	if w.Epoch != k.epoch {
		k.base = max(k.base, w.Known)
		k.owed[instance] = max(k.owed[instance], w.Settled)
	}
}

// settle is step 3.
func (k *keptWindow) settle(instance string, w WindowCount) {
	if more := w.Owed - k.owed[instance]; more > 0 {
		k.since += more
		k.owed[instance] = w.Owed
	}
}

func (s *storeTwin) pace(c Count) (bool, time.Duration) {
	now := s.now()
	due := s.due[c.Account]
	if due.Before(now) {
		due = now
	}
	if early := due.Add(time.Duration(c.N-c.Burst) * c.Interval).Sub(now); early > 0 {
		return false, early
	}
	s.due[c.Account] = due.Add(time.Duration(c.N) * c.Interval)
	return true, 0
}

// flush loses everything.
func (s *storeTwin) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.kept)
	clear(s.due)
}

// rollback makes the state of now the one to return to, as a replica does that takes over later.
func (s *storeTwin) rollback() (restore func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	saved := map[string]*keptWindow{}
	for key, k := range s.kept {
		copied := *k
		copied.owed = maps.Clone(k.owed)
		saved[key] = &copied
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.kept = saved
	}
}

// window returns what is kept of the window of an account that begins at start.
func (s *storeTwin) window(account string, p Period, start time.Time) keptWindow {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.kept[account+" "+p.String()]; k != nil && k.start.Equal(start) {
		return *k
	}
	return keptWindow{}
}

var errAway = errors.New("the store is away")

// link is the way of one instance to the store.
type link struct {
	store Store
	mu    sync.Mutex
	state linkState
	asked []Count // those that have reached the store
	last  Counted // its last answer, lost or not
}

type linkState int

const (
	up   linkState = iota
	cut            // nothing reaches the store
	deaf           // what the store answers gets lost
)

func (l *link) Count(ctx context.Context, c Count) (Counted, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == cut {
		return Counted{}, errAway
	}
	answer, err := l.store.Count(ctx, c)
	c.Windows = slices.Clone(c.Windows)
	l.asked, l.last = append(l.asked, c), answer
	if l.state == deaf {
		return Counted{}, errAway
	}
	return answer, err
}

func (l *link) set(s linkState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = s
}
