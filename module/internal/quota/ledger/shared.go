package ledger

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

// Shared is a Ledger that counts the calls of all instances in a Store. While the store is away, it
// grants calls alone, up to a share of what was left. It is safe for concurrent use, and holds no
// lock during a request to the store.
//
// Calls that were granted alone are owed to the store, which counts them when it is back: with the
// next Take, or with Settle. A call whose outcome at the store is unknown is owed too. It may thus
// be counted twice, but is never lost.
//
// Let k instances whose clocks agree use a store that does not lose its data.
//
//   - If the store was never away in a window of limit L, they make at most L calls, and L if they
//     ask for that many.
//   - However often the store is away, from all instances or from some, they make at most L +
//     (k−1)·⌊share·L⌋ calls: one instance may spend the rest before the others have settled.
//   - While the store is away from all, each makes at most ⌊share·(L − u)⌋ calls in addition to
//     those in the store, where u is the count that the instance knew. If share is at most 1/k and
//     all knew the same count, the sum is within L. It stays so if all settle before any of them
//     goes on.
//
// A store that has lost its data grants no second quota once every instance has made a request to
// it and got the answer before the data are lost again.
type Shared struct {
	store Store
	local *Local
	share float64
	log   *slog.Logger

	logged     throttle.Causes[string]
	loggedAway atomic.Bool // an outage of the store was logged, and its end not yet
	away       atomic.Bool // the last request to the store failed

	rates map[string]*Bucket // by account, used while the store is away; guarded by local.mu
}

// NewShared returns a ledger that counts in the store. The local ledger holds the counts, in memory
// and on disk, and is closed by its owner. Calls that it has counted without a store are owed to
// the store. Two processes must not use one file, or copies of it, at the same time: the store
// would take them for one instance.
//
// The share, 0 to 1, is the part of the rest of each quota, and of the rate, that this instance may
// use while the store is away: 1/k for k instances.
func NewShared(store Store, local *Local, share float64, log *slog.Logger) *Shared {
	if !(share >= 0) { // also true for NaN
		share = 0
	}
	local.mu.Lock()
	defer local.mu.Unlock()
	if local.instance == "" {
		local.instance = rand.Text() // saved with the first count; no store knows it before
	}
	local.shared = true
	if local.detached {
		local.oweOnlyOwn()
	}
	return &Shared{store: store, local: local, share: min(share, 1), log: log, rates: make(map[string]*Bucket)}
}

// Take implements Ledger. It fails only when ctx has ended. The call is then not made, though the
// store may have counted it.
//
// A refund comes from the calls that the store has not counted, if there are enough. Otherwise the
// store refunds them. If it is away, they stay counted: the request may have reached the store
// although its answer was lost.
func (s *Shared) Take(ctx context.Context, name string, limits Limits, n int, at time.Time) (Grant, error) {
	if len(limits.Windows) == 0 && (n <= 0 || !limits.Rate.Bounded()) {
		return Grant{Granted: true, Usage: []Usage{}}, nil
	}
	if n < 0 {
		if grant, done := s.refundLocally(name, limits, n, at); done {
			return grant, nil
		}
	}
	grant, err := s.askStore(ctx, name, limits, n, at)
	if err == nil {
		return grant, nil
	}
	if ctx.Err() != nil {
		return Grant{}, fmt.Errorf("count the calls of %s: %w", name, ctx.Err())
	}
	if n > 0 { // reading grants no calls, and is done before the store was reached for the first time
		s.logAway(ctx, err)
	}
	return s.takeLocally(name, limits, n, at), nil
}

// Settle sends the owed calls to the store, and the known counts in case the store has lost its
// data. Call it when the store is back; accounts in use settle with their next call in any case. It
// stops at the first error, and the rest stays owed.
func (s *Shared) Settle(ctx context.Context) error { return s.settle(ctx, time.Now()) }

func (s *Shared) settle(ctx context.Context, at time.Time) error {
	for name, windows := range s.activeWindows(at) {
		if _, err := s.askStore(ctx, name, Limits{Windows: windows}, 0, at); err != nil {
			return fmt.Errorf("bring the calls of %s to the store: %w", name, err)
		}
	}
	return nil
}

// activeWindows returns, by account, a window for each period that has a count. The limits are not
// those of the quotas: Settle needs none.
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

// askStore sends a request to the store and applies the answer. It does not fall back to the share.
func (s *Shared) askStore(ctx context.Context, name string, limits Limits, n int, at time.Time) (Grant, error) {
	c, periods := s.request(name, limits, n, at)
	answer, err := s.store.Count(ctx, c)
	if err == nil {
		err = c.check(answer)
	}
	if ctx.Err() == nil { // otherwise the caller has left, which says nothing about the store
		s.away.Store(err != nil)
	}
	if err != nil {
		return Grant{}, err
	}
	s.logBack(ctx)
	return s.apply(c, periods, answer, limits, at), nil
}

// request returns the request to the store, and the periods of its windows.
func (s *Shared) request(name string, limits Limits, n int, at time.Time) (Count, []Period) {
	l := s.local
	l.mu.Lock()
	defer l.mu.Unlock()
	c := Count{Account: name, Instance: l.instance, N: n}
	if limits.Rate.Bounded() {
		c.Interval, c.Burst = max(limits.Rate.Per/time.Duration(limits.Rate.Events), 1), BurstOf(limits.Rate)
	}
	acc := l.accounts[name]
	var periods []Period
	for i, limit := range lowest(limits.Windows) {
		p := Period(i)
		if limit == 0 || n < 0 && !acc[p].start.Equal(p.Start(at)) {
			continue // no quota, or its window is over
		}
		known := acc[p].at(p, at).withAllOwed()
		acc[p] = known
		periods = append(periods, p)
		c.Windows = append(c.Windows, WindowCount{
			Period: p.String(), Start: known.start, End: p.End(known.start),
			Limit: limits.Released(Window{limit, p}, known.start, at),
			Owed:  known.owed, Epoch: known.epoch, Version: known.version,
			Known: known.used, Settled: known.settled,
		})
	}
	l.accounts[name] = acc // apply expects the windows of the request
	return c, periods
}

// apply applies the answer of the store to the account.
func (s *Shared) apply(c Count, periods []Period, answer Counted, limits Limits, at time.Time) Grant {
	l := s.local
	l.mu.Lock()
	defer l.mu.Unlock()
	acc := l.accounts[c.Account]
	changed := false
	for i, p := range periods {
		before := acc[p]
		acc[p] = before.apply(p, c.Windows[i], answer.Windows[i])
		before.version = acc[p].version // every read changes it, which is no reason to save
		changed = changed || acc[p] != before
	}
	l.accounts[c.Account] = acc
	if changed {
		l.saveSoon()
	}
	grant := Grant{Granted: answer.Granted, Usage: acc.at(limits.Windows, at).usage(limits.Windows)}
	if !answer.Granted && answer.RetryIn > 0 {
		grant.RetryAt = at.Add(answer.RetryIn)
	}
	return grant
}

// refundLocally refunds calls that the store has not counted. It reports false, and changes
// nothing, if there are too few.
func (s *Shared) refundLocally(name string, limits Limits, n int, at time.Time) (Grant, bool) {
	l := s.local
	l.mu.Lock()
	defer l.mu.Unlock()
	acc := l.accounts[name]
	for i, limit := range lowest(limits.Windows) {
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
	return Grant{Granted: true, Usage: acc.at(limits.Windows, at).usage(limits.Windows)}, true
}

// takeLocally grants calls without the store. In each window, the calls since the store's last
// answer stay within the share of what that answer had left. Their pace stays within the share of
// the rate.
func (s *Shared) takeLocally(name string, limits Limits, n int, at time.Time) Grant {
	l := s.local
	l.mu.Lock()
	defer l.mu.Unlock()
	acc := l.accounts[name].at(limits.Windows, at)
	grant := Grant{Granted: n == 0, Usage: acc.usage(limits.Windows)}
	if n <= 0 {
		return grant
	}
	after := l.accounts[name]
	for p, limit := range lowest(limits.Windows) {
		if limit == 0 {
			continue
		}
		c := acc[p]
		available := limits.Released(Window{limit, Period(p)}, c.start, at)
		if c.unsettled()+n > s.shareOf(available-c.used) {
			return grant
		}
		after[p] = c.owe(n)
	}
	if grant.RetryAt = s.pace(name, limits, n, at); !grant.RetryAt.IsZero() {
		return grant
	}
	l.accounts[name] = after
	l.saveSoon()
	return Grant{Granted: true, Usage: after.usage(limits.Windows)}
}

// shareOf returns this instance's share of n calls, in whole calls. The small addend makes a third
// of nine three, in spite of rounding errors.
func (s *Shared) shareOf(n int) int { return int(math.Floor(s.share*float64(n) + 1e-9)) }

// noShareRetry is when to try again if the share is zero: the store may be back.
const noShareRetry = time.Minute

// pace takes n calls from this instance's share of the rate. If there are fewer, it returns when
// there will be n. It is called with local.mu held.
func (s *Shared) pace(name string, limits Limits, n int, at time.Time) time.Time {
	if !limits.Rate.Bounded() {
		return time.Time{}
	}
	if s.share == 0 {
		return at.Add(noShareRetry)
	}
	if s.rates[name] == nil {
		s.rates[name] = new(Bucket)
	}
	return s.rates[name].Take(s.share*limits.Rate.PerSecond(), max(s.shareOf(BurstOf(limits.Rate)), 1), n, at)
}

func (s *Shared) logAway(ctx context.Context, err error) {
	if s.logged.Allow("store", time.Now()) {
		s.loggedAway.Store(true)
		s.log.WarnContext(ctx, "calls cannot be counted for all instances: "+
			"this one goes on with its share of what is left",
			"share", s.share, "error", err)
	}
}

// logBack logs that the store is back, if its outage was logged.
func (s *Shared) logBack(ctx context.Context) {
	if s.loggedAway.CompareAndSwap(true, false) {
		s.log.InfoContext(ctx, "calls are counted for all instances again")
	}
}

// Look implements Ledger. It returns the counts of the store's last answer, plus the calls made
// without the store.
func (s *Shared) Look(name string, limits Limits, at time.Time) []Usage {
	if !s.away.Load() {
		return s.local.Look(name, limits, at)
	}
	s.local.mu.Lock()
	defer s.local.mu.Unlock()
	acc := s.local.accounts[name].at(limits.Windows, at)
	usage := acc.usage(limits.Windows)
	for i, w := range limits.Windows {
		usage[i].Share, usage[i].Alone = s.share, acc[w.Period].unsettled()
	}
	return usage
}
