package quota

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/throttle"
)

// Shared is a Ledger that counts for all instances in a Store, and goes on by itself, with a share of what was left, while
// the store is away. It is safe for concurrent use, and holds no lock while the store is asked.
//
// What it spends by itself it owes to the store, which counts it when it is back: with the next Take, or with Settle. A call
// whose outcome at the store is unknown counts as spent by itself, so that it may be counted twice but is never forgotten.
//
// Let k instances whose clocks agree use a store that does not lose its data. In a window of limit L in which it was never
// away, they make at most L calls, and L if they ask for that many. However often it is away, from all or from some, they
// make at most L + (k−1)·⌊share·L⌋: one may spend what is left before the others have settled. While it is away from all,
// they make at most what it had counted and ⌊share·(L − u)⌋ each, where u is the count that the instance knew; that is within
// L if share is at most 1/k and all knew the same, and stays so if all settle before anybody goes on.
//
// A store that has lost its data gives nobody a second quota once all instances have asked it again, and been answered
// before it loses them once more.
type Shared struct {
	store Store
	local *Local
	share float64
	log   *slog.Logger

	logged     throttle.Causes[int]
	loggedAway atomic.Bool // the log says that the store is away

	rates map[string]*tokens // by account, for while the store is away; guarded by local.mu
}

// NewShared returns a ledger that counts in the store. The local one remembers the counts, in memory and on disk, and is for
// the owner to close; what it has counted without a store so far is owed to the store. No two processes may use one file,
// or copies of it, at a time: the store would take them for one instance.
//
// The share, 0 to 1, is how much of what is left of each quota, and of the rate, this instance may use while the store is
// away: 1/k with k instances.
func NewShared(store Store, local *Local, share float64, log *slog.Logger) *Shared {
	if !(share >= 0) { // Written so that NaN is nothing.
		share = 0
	}
	local.mu.Lock()
	defer local.mu.Unlock()
	if local.instance == "" {
		local.instance = rand.Text() // Saved with the first count; before, nobody knows it.
	}
	return &Shared{store: store, local: local, share: min(share, 1), log: log, rates: make(map[string]*tokens)}
}

// Take implements Ledger. It fails only when ctx has ended: then nobody asks for the call any more, and it is not made, though
// the store may have counted it.
//
// Calls are given back first of those that the store does not know of. What the store would have to give back stays counted
// while it is away, since it may have done so without being able to say it.
func (s *Shared) Take(ctx context.Context, name string, t Terms, n int, at time.Time) (Grant, error) {
	if len(t.Windows) == 0 && (n <= 0 || !t.Rate.Bounded()) {
		return Grant{Granted: true, Usage: []Usage{}}, nil
	}
	if n < 0 {
		if grant, done := s.refundLocally(name, t, n, at); done {
			return grant, nil
		}
	}
	grant, err := s.askStore(ctx, name, t, n, at)
	if err == nil {
		return grant, nil
	}
	if ctx.Err() != nil {
		return Grant{}, fmt.Errorf("count the calls of %s: %w", name, ctx.Err())
	}
	if n > 0 { // A look takes nothing from anybody's share, and is made before the store was reached for the first time.
		s.logAway(ctx, err)
	}
	return s.takeLocally(name, t, n, at), nil
}

// Settle brings to the store what it does not know: what is owed, and the counts as far as they were known when the store
// lost its data. To be called when the store is back; accounts that are in use settle with their next call in any case.
// It stops at the first error, which leaves the rest owed.
func (s *Shared) Settle(ctx context.Context) error { return s.settle(ctx, time.Now()) }

func (s *Shared) settle(ctx context.Context, at time.Time) error {
	for name, windows := range s.activeWindows(at) {
		if _, err := s.askStore(ctx, name, Terms{Windows: windows}, 0, at); err != nil {
			return fmt.Errorf("bring the calls of %s to the store: %w", name, err)
		}
	}
	return nil
}

// counting returns, by account, a window for each period in which something is counted. The limit of a quota need not be
// known to bring its count to the store.
func (s *Shared) activeWindows(at time.Time) map[string][]Window {
	s.local.mu.Lock()
	defer s.local.mu.Unlock()
	active := make(map[string][]Window)
	for name, acc := range current(s.local.accounts, at) {
		for p, c := range acc {
			if !c.empty() {
				active[name] = append(active[name], Window{MaxLimit, Period(p)})
			}
		}
	}
	return active
}

// ask asks the store, and takes note of its answer. It does not fall back.
func (s *Shared) askStore(ctx context.Context, name string, t Terms, n int, at time.Time) (Grant, error) {
	c, periods := s.request(name, t, n, at)
	answer, err := s.store.Count(ctx, c)
	if err == nil {
		err = c.check(answer)
	}
	if err != nil {
		return Grant{}, err
	}
	s.logBack(ctx)
	return s.apply(c, periods, answer, t, at), nil
}

// question returns what the store is to be asked, and the periods of its windows.
func (s *Shared) request(name string, t Terms, n int, at time.Time) (Count, []Period) {
	l := s.local
	l.mu.Lock()
	defer l.mu.Unlock()
	c := Count{Account: name, Instance: l.instance, N: n}
	if t.Rate.Bounded() {
		c.Interval, c.Burst = max(t.Rate.Per/time.Duration(t.Rate.Events), 1), burst(t.Rate)
	}
	acc := l.accounts[name]
	var periods []Period
	for i, limit := range limits(t.Windows) {
		p := Period(i)
		if limit == 0 || n < 0 && !acc[p].start.Equal(p.Start(at)) {
			continue // Not asked for, or over.
		}
		counter := acc[p].at(p, at).withAllOwed()
		acc[p] = counter
		periods = append(periods, p)
		c.Windows = append(c.Windows, WindowCount{
			Period: p.String(), Start: counter.start, End: p.End(counter.start), Limit: limit,
			Owed: counter.owed, Epoch: counter.epoch, Version: counter.version, Known: counter.used, Settled: counter.settled,
		})
	}
	l.accounts[name] = acc // The answer must find the windows that were asked for.
	return c, periods
}

// learn takes note of what the store has answered.
func (s *Shared) apply(c Count, periods []Period, answer Counted, t Terms, at time.Time) Grant {
	l := s.local
	l.mu.Lock()
	defer l.mu.Unlock()
	acc := l.accounts[c.Account]
	changed := false
	for i, p := range periods {
		before := acc[p]
		acc[p] = before.apply(p, c.Windows[i], answer.Windows[i])
		before.version = acc[p].version // Every look changes it, and the disk need not know.
		changed = changed || acc[p] != before
	}
	l.accounts[c.Account] = acc
	if changed {
		l.saveSoon()
	}
	grant := Grant{Granted: answer.Granted, Usage: acc.at(t.Windows, at).usage(t.Windows)}
	if !answer.Granted && answer.RetryIn > 0 {
		grant.RetryAt = at.Add(answer.RetryIn)
	}
	return grant
}

// giveBack gives calls back that the store does not know of. It reports false, and does nothing, if it knows of some.
func (s *Shared) refundLocally(name string, t Terms, n int, at time.Time) (Grant, bool) {
	l := s.local
	l.mu.Lock()
	defer l.mu.Unlock()
	acc := l.accounts[name]
	for i, limit := range limits(t.Windows) {
		p := Period(i)
		if limit == 0 || !acc[p].start.Equal(p.Start(at)) {
			continue
		}
		if acc[p].unsettled() < -n {
			return Grant{}, false
		}
		acc[p] = acc[p].plus(n)
	}
	l.accounts[name] = acc
	l.saveSoon()
	return Grant{Granted: true, Usage: acc.at(t.Windows, at).usage(t.Windows)}, true
}

// alone decides by itself. In each window, what it has spent since the store's last answer stays within its share of what
// that answer had left, and so does its pace within the share of the rate.
func (s *Shared) takeLocally(name string, t Terms, n int, at time.Time) Grant {
	l := s.local
	l.mu.Lock()
	defer l.mu.Unlock()
	acc := l.accounts[name].at(t.Windows, at)
	grant := Grant{Granted: n == 0, Usage: acc.usage(t.Windows)}
	if n <= 0 {
		return grant
	}
	after := l.accounts[name]
	for p, limit := range limits(t.Windows) {
		if limit == 0 {
			continue
		}
		c := acc[p]
		if c.unsettled()+n > s.shareOf(limit-c.used) {
			return grant
		}
		after[p] = c.owe(n)
	}
	if grant.RetryAt = s.pace(name, t, n, at); !grant.RetryAt.IsZero() {
		return grant
	}
	l.accounts[name] = after
	l.saveSoon()
	return Grant{Granted: true, Usage: after.usage(t.Windows)}
}

// shareOf returns this instance's share of n calls, in whole calls. A third of nine is three, whatever floating point says.
func (s *Shared) shareOf(n int) int { return int(math.Floor(s.share*float64(n) + 1e-9)) }

// paceless is when to ask again where the share of the rate is nothing: the store may be back.
const noShareRetry = time.Minute

// pace takes n calls from this instance's share of the rate, or returns when there will be as many. It is called with
// local.mu held.
func (s *Shared) pace(name string, t Terms, n int, at time.Time) time.Time {
	if !t.Rate.Bounded() {
		return time.Time{}
	}
	if s.share == 0 {
		return at.Add(noShareRetry)
	}
	if s.rates[name] == nil {
		s.rates[name] = new(tokens)
	}
	return s.rates[name].take(s.share*t.Rate.PerSecond(), max(s.shareOf(burst(t.Rate)), 1), n, at)
}

func (s *Shared) logAway(ctx context.Context, err error) {
	if s.logged.Allow(causeStore, time.Now()) {
		s.loggedAway.Store(true)
		s.log.WarnContext(ctx, "calls cannot be counted for all instances: this one goes on with its share of what is left",
			"share", s.share, "error", err)
	}
}

// logBack says that the store is back, if the log says that it is away.
func (s *Shared) logBack(ctx context.Context) {
	if s.loggedAway.CompareAndSwap(true, false) {
		s.log.InfoContext(ctx, "calls are counted for all instances again")
	}
}

// Look implements Ledger: the store's last answer, and what was spent without it.
func (s *Shared) Look(name string, t Terms, at time.Time) []Usage { return s.local.Look(name, t, at) }
