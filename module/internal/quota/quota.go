// Package quota enforces the terms of a reputation provider: rate, quota windows, concurrency, time
// limit, the pauses that a service asks for, and a circuit breaker. A call that the terms do not
// allow fails at once, without waiting.
package quota

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Options are the parts of a Guard that can be left out.
type Options struct {
	// Logger receives one message for each cause and minute. Default: slog.Default().
	Logger *slog.Logger

	// Observe, when set, is called with every outcome. Skipped calls took 0. It is not called for
	// calls that the caller has cancelled. It must be fast.
	Observe func(name string, result reputation.Result, took time.Duration)

	// Sent, when set, is called with the number of addresses that a request to the service was about,
	// after each. It must be fast.
	Sent func(addresses int)

	// Notify, when set, is called when the state of the provider changes. It must be fast.
	Notify func(Notice)

	// SelfTest means that the provider is asked only while its Probe passes.
	SelfTest bool

	// Now is the clock of the calls. Default: time.Now. It is set where a day is simulated.
	Now func() time.Time

	// NameKey returns the name of a key for the log. Default: none.
	NameKey func(key string) string
}

// Notice is a change in the state of a provider.
type Notice struct {
	Kind NoticeKind

	// Result is the result of the call that opened the breaker.
	Result reputation.Result

	// Until is when the provider may be called again.
	Until time.Time

	// Window is the quota that is spent.
	Window ledger.Window

	// Began is when the answered call began.
	Began time.Time
}

// NoticeKind is the kind of a Notice.
type NoticeKind uint8

// The kinds.
const (
	// NoticeFails means that the breaker has opened, for the first time or again.
	NoticeFails NoticeKind = iota
	// NoticeAnswers means that a call was answered and the breaker is closed. Every such call sends
	// it.
	NoticeAnswers
	// NoticeThrottled means that the service asks for a pause, or for a longer one.
	NoticeThrottled
	// NoticeSpent means that a quota is spent. It is sent once for each end of a window of more than a minute.
	NoticeSpent
)

// Guard is a provider that enforces the terms of another one.
type Guard struct {
	name     string
	provider reputation.Provider
	terms    Terms
	budget   *Budget
	ledger   ledger.Ledger
	log      *slog.Logger
	observe  func(name string, result reputation.Result, took time.Duration)
	sent     func(addresses int)
	notify   func(Notice)
	nameKey  func(string) string
	now      func() time.Time
	batches  *batches // nil if each call is a request

	mu          sync.Mutex
	spent       spent
	loggedSpent time.Time // the end of the spent window that was last logged

	// Reserve refuses calls until closedUntil, in nanoseconds, for closedReason: a reason (8 bits),
	// and the price below which it holds, if it is tooDear.
	closedUntil  atomic.Int64
	closedReason atomic.Uint32

	lookedBusy atomic.Int64 // see looksAgain; in nanoseconds
}

// spent caches a refusal of the ledger, which is then not asked for every further call.
type spent struct {
	asked, until time.Time
}

// recheckSpent is how often the ledger is asked although a quota is spent: the clock may have been
// set, or calls refunded.
const recheckSpent = time.Minute

// New returns a Guard for p. The name is that of the source, and the account in the ledger:
// providers that use the same account should share it. The budget may be shared with earlier Guards
// of the same provider.
func New(name string, p reputation.Provider, terms Terms, b *Budget, counts ledger.Ledger, o Options) *Guard {
	terms = terms.withDefaults()
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Observe == nil {
		o.Observe = func(string, reputation.Result, time.Duration) {}
	}
	if o.Sent == nil {
		o.Sent = func(int) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.NameKey == nil {
		o.NameKey = func(string) string { return "" }
	}
	if o.Notify == nil {
		o.Notify = func(Notice) {}
	}
	if o.SelfTest {
		b.needTest()
	}
	g := &Guard{
		name: name, provider: p, terms: terms, budget: b, ledger: counts,
		log: o.Logger.With("provider", name), observe: o.Observe, sent: o.Sent, notify: o.Notify,
		nameKey: o.NameKey, now: o.Now,
	}
	g.batches = newBatches(g)
	return g
}

// Profile implements reputation.Provider.
func (g *Guard) Profile() reputation.Profile { return g.provider.Profile() }

// Check implements reputation.Provider. It returns what the provider returns, or at once a
// *reputation.SkippedError with the result
//
//   - reputation.ResultSkippedQuota when the rate, a quota window or the concurrency is exhausted, or the ledger failed;
//   - reputation.ResultSkippedBreaker while the breaker is open, and during a pause because the service throttled or
//     refused the key.
//
// A call is counted before it is made, and stays counted if it fails: the service may have counted
// it although the connection broke, and the breaker soon ends a series of such calls. A call that
// sent no request (reputation.ErrUnsupported) is refunded to the windows, but not to the rate,
// which refills by itself.
//
// When ctx ends before the time limit, the call is no evidence about the service. A provider that
// ignores its context does not block the caller, but counts towards the concurrency until it
// returns.
//
// Calls for a reputation.Batcher that come while no request may be made wait for the next one, and
// share it. Windows and the shares of networks count calls; Rate and Concurrency count requests.
func (g *Guard) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	return g.check(ctx, q, g.callTerms(), g.provider.Check)
}

// check is Check with what stands for that of the provider, and on other terms.
func (g *Guard) check(
	ctx context.Context, q reputation.Query, terms Terms, check checkFunc,
) (reputation.Report, error) {
	if err := ctx.Err(); err != nil {
		return reputation.Report{}, fmt.Errorf("ask %s: %w", g.name, err)
	}
	r, refused := g.reserve(terms, fingerprint(q.Key), q.Addr, 1, g.now(), nil)
	if refused.reason != allowed {
		skipped := refused.err()
		g.observe(g.name, skipped.Result, 0)
		return reputation.Report{}, skipped
	}
	return r.check(ctx, q, check)
}

// spentUntil returns the end of a window that is cached as spent, or the zero time.
func (g *Guard) spentUntil(now time.Time) time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !now.Before(g.spent.until) || now.Sub(g.spent.asked).Abs() >= recheckSpent {
		return time.Time{}
	}
	return g.spent.until
}

// take counts one call in the ledger. The ledger is asked also when there is only a rate, since it
// may enforce the rate of all instances.
func (g *Guard) take(ctx context.Context, terms Terms, now time.Time) refusal {
	if len(terms.Windows) == 0 && !terms.Rate.Bounded() {
		return refusal{}
	}
	grant, err := g.takeInTurn(ctx, terms, 1, now)
	if err != nil {
		if ctx.Err() == nil { // otherwise the caller has cancelled
			g.logLedgerFailure(ctx, err)
		}
		return refusal{reason: spentOut}
	}
	if grant.Granted {
		return refusal{}
	}
	if window, until := spentUntil(terms.Windows, grant.Usage); !until.IsZero() {
		g.recordSpent(ctx, now, window, until)
		return refusal{reason: spentOut, until: until}
	}
	if until := terms.limits().NextAt(grant.Usage, now); !until.IsZero() {
		return refusal{reason: spentOut, until: until}
	}
	// The rate has refused, or the ledger, which may grant only a share of the quota.
	return refusal{reason: spentOut, until: grant.RetryAt}
}

// takeInTurn takes a call from the ledger, or refunds one. Calls that share a request come in crowds:
// they must not use all connections of a ledger that is elsewhere.
func (g *Guard) takeInTurn(ctx context.Context, terms Terms, n int, at time.Time) (ledger.Grant, error) {
	if terms.shares {
		select {
		case g.batches.taking <- struct{}{}:
		case <-ctx.Done():
			return ledger.Grant{}, ctx.Err() //nolint:wrapcheck // it is not logged
		}
		defer func() { <-g.batches.taking }()
	}
	return g.ledger.Take(ctx, g.name, terms.limits(), n, at) //nolint:wrapcheck // it is the ledger's own
}

// spentUntil returns the last of the full windows to end, and when it does, or the zero time if
// none is full.
func spentUntil(windows []ledger.Window, usage []ledger.Usage) (last ledger.Window, until time.Time) {
	for i, u := range usage {
		if u.Used >= windows[i].Limit && u.Reset.After(until) {
			last, until = windows[i], u.Reset
		}
	}
	return last, until
}

// recordSpent caches that a quota is spent, and logs it once for each window. One of a minute is a rate: every busy minute
// spends it.
func (g *Guard) recordSpent(ctx context.Context, now time.Time, window ledger.Window, until time.Time) {
	g.mu.Lock()
	g.spent = spent{asked: now, until: until}
	changed := window.Period != ledger.Minute && !g.loggedSpent.Equal(until)
	if changed {
		g.loggedSpent = until
	}
	g.mu.Unlock()
	if changed {
		g.log.WarnContext(ctx, "the quota is spent", "until", until)
		g.notify(Notice{Kind: NoticeSpent, Window: window, Until: until})
	}
}

// notifyChange sends the Notice for a change, if there is one.
func (g *Guard) notifyChange(c change, err error, began time.Time) {
	switch {
	case c.answered:
		g.notify(Notice{Kind: NoticeAnswers, Began: began})
	case c.throttled:
		g.notify(Notice{Kind: NoticeThrottled, Until: c.until})
	case c.breaker == "open":
		g.notify(Notice{Kind: NoticeFails, Result: reputation.ResultOf(err), Until: c.until})
	}
}

// RefusedUntil returns until when a key is set aside because the service refused it, or the zero
// time.
func (g *Guard) RefusedUntil(key string) time.Time {
	g.budget.mu.Lock()
	defer g.budget.mu.Unlock()
	return g.budget.refused.until(fingerprint(key), time.Now())
}

// Refused returns since when a key is set aside because the service refused it, and until when;
// zero times if it is not.
func (g *Guard) Refused(key string) (since, until time.Time) {
	g.budget.mu.Lock()
	defer g.budget.mu.Unlock()
	id := fingerprint(key)
	if until = g.budget.refused.until(id, time.Now()); until.IsZero() {
		return time.Time{}, time.Time{}
	}
	return g.budget.refused[id].start, until
}

// Asked reports whether a call with the key has ended.
func (g *Guard) Asked(key string) bool {
	g.budget.mu.Lock()
	defer g.budget.mu.Unlock()
	return g.budget.asked[fingerprint(key)]
}

// Forgive ends the pauses of all refused keys. It is for operators who know that the service
// accepts them now.
func (g *Guard) Forgive() {
	g.budget.mu.Lock()
	defer g.budget.mu.Unlock()
	clear(g.budget.refused)
}

// CountSkipped counts a call that Reserve has refused.
func (g *Guard) CountSkipped(why reputation.Result) { g.observe(g.name, why, 0) }

// Skip counts a skipped call and returns its error. The caller uses it while all keys are set
// aside, or there is none yet.
func (g *Guard) Skip(until time.Time) error {
	g.observe(g.name, reputation.ResultSkippedBreaker, 0)
	return &reputation.SkippedError{Result: reputation.ResultSkippedBreaker, Until: until}
}

// Sync reads the counts from the ledger, so that Status includes the calls of other instances. The
// owner of a shared ledger should call it regularly.
func (g *Guard) Sync(ctx context.Context) {
	if len(g.terms.Windows) > 0 {
		_, _ = g.ledger.Take(ctx, g.name, g.terms.limits(), 0, g.now()) // a failing store is logged when it affects a call
	}
}

// refund gives a call that was not made back to the windows that it was taken from.
func (g *Guard) refund(ctx context.Context, terms Terms, taken time.Time) {
	if len(terms.Windows) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.terms.Timeout)
	defer cancel()
	if _, err := g.takeInTurn(ctx, terms, -1, taken); err != nil {
		g.logLedgerFailure(ctx, err)
	}
	g.mu.Lock()
	g.spent = spent{}
	g.mu.Unlock()
}
