// Package quota keeps a reputation provider within its terms: rate, quota windows, concurrency, time limit, the pauses a
// service asks for, and a circuit breaker. A call that the terms do not allow is answered at once, without waiting.
package quota

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Defaults of Terms.
const (
	DefaultConcurrency = 4
	DefaultTimeout     = 2 * time.Second
)

// Terms are what a provider may be used for.
type Terms struct {
	// Windows are the quotas. A call is made only when every one of them has room for it. Default: none.
	Windows []Window

	// Rate is how fast calls may follow each other. Default: no bound.
	Rate rate.Rate

	// Concurrency is how many calls may be under way at once. Default: 4.
	Concurrency int

	// Timeout is how long an answer may take. Default: 2s.
	Timeout time.Duration
}

// Options are the parts of a Guard that can be left out.
type Options struct {
	// Logger receives one message for each cause and minute. Default: slog.Default().
	Logger *slog.Logger

	// Observe, when set, is told of every outcome, that of skipped calls too (they took 0). Calls that the caller gave
	// up have no outcome. It must be quick.
	Observe func(name string, result reputation.Result, took time.Duration)

	// Notify, when set, is told what changes in the standing of the provider. It must be quick.
	Notify func(Notice)

	// NameKey returns how a key is named in the log. Default: it is not.
	NameKey func(key string) string
}

// Notice is a change in the standing of a provider.
type Notice struct {
	Kind NoticeKind

	// Result is that of the call which opened the breaker.
	Result reputation.Result

	// Until is when the provider is asked again.
	Until time.Time

	// Window is the quota that is spent.
	Window Window

	// Began is when the call was begun that was answered.
	Began time.Time
}

// NoticeKind is what a Notice says.
type NoticeKind uint8

// The kinds.
const (
	// NoticeFails: the breaker has opened, for the first time or again.
	NoticeFails NoticeKind = iota
	// NoticeAnswers: a call was answered, and the breaker is closed. It comes with every such call.
	NoticeAnswers
	// NoticeThrottled: the service asks for a pause, or for a longer one.
	NoticeThrottled
	// NoticeSpent: a quota is spent, once for each window that ends at another time.
	NoticeSpent
)

// Guard is a provider that keeps another one within its terms.
type Guard struct {
	name     string
	provider reputation.Provider
	terms    Terms
	budget   *Budget
	ledger   Ledger
	log      *slog.Logger
	observe  func(name string, result reputation.Result, took time.Duration)
	notify   func(Notice)
	nameKey  func(string) string

	mu        sync.Mutex
	spent     spent
	saidSpent time.Time // the end of the spent window that was last logged
}

// spent remembers that the ledger has refused, so that it need not be asked for every call that will be refused too.
type spent struct {
	asked, until time.Time
}

// The ledger is asked again this often although a quota is spent: the clock may have been set, or calls given back.
const recheckSpent = time.Minute

// New returns a Guard of p. The name is that of the source; quotas are counted in the ledger under it, so providers that
// use the same account should share it. The budget may be shared with earlier Guards of the same provider.
func New(name string, p reputation.Provider, terms Terms, b *Budget, ledger Ledger, o Options) *Guard {
	if terms.Concurrency <= 0 {
		terms.Concurrency = DefaultConcurrency
	}
	if terms.Timeout <= 0 {
		terms.Timeout = DefaultTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Observe == nil {
		o.Observe = func(string, reputation.Result, time.Duration) {}
	}
	if o.NameKey == nil {
		o.NameKey = func(string) string { return "" }
	}
	if o.Notify == nil {
		o.Notify = func(Notice) {}
	}
	return &Guard{
		name: name, provider: p, terms: terms, budget: b, ledger: ledger,
		log: o.Logger.With("provider", name), observe: o.Observe, notify: o.Notify, nameKey: o.NameKey,
	}
}

// Profile implements reputation.Provider.
func (g *Guard) Profile() reputation.Profile { return g.provider.Profile() }

// Check implements reputation.Provider. It returns what the provider returns, or at once a *reputation.SkippedError:
//
//   - SkippedQuota when the rate, a quota window or the concurrency is used up, or the ledger failed;
//   - SkippedBreaker while the breaker is open, or the service has asked for a pause of the key or refused it.
//
// A call is counted before it is made, and stays counted if it fails: a connection that broke does not prove that the
// service has not counted, and the breaker ends a series of such calls soon. Calls that certainly were not made are given
// back to the windows (reputation.ErrUnsupported), though not to the rate, which refills by itself.
//
// When ctx ends before the time limit, that says nothing about the service. A provider that ignores its context does not
// hold the caller, but holds a place of the concurrency until it returns.
func (g *Guard) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	if err := ctx.Err(); err != nil {
		return reputation.Report{}, fmt.Errorf("ask %s: %w", g.name, err)
	}
	began := time.Now()
	key := fingerprint(q.Key)
	done, skipped := g.admit(ctx, key, began)
	if skipped != nil {
		g.observe(g.name, skipped.Result, 0)
		return reputation.Report{}, skipped
	}
	report, err := g.call(ctx, q)
	now := time.Now()
	took := now.Sub(began)
	if gaveUp(ctx, err) && took < g.terms.Timeout {
		g.budget.settle(done, key, errNoEvidence, began, now)
		return reputation.Report{}, err
	}
	if notAsked(err) {
		g.giveBack(ctx, began)
	}
	changed := g.budget.settle(done, key, err, began, now)
	g.logOutcome(ctx, q, err, changed, now)
	g.tell(changed, err, began)
	g.observe(g.name, reputation.ResultOf(err), took)
	return report, err
}

// admit gets the right to one call from the budget and the ledger.
func (g *Guard) admit(ctx context.Context, key uint64, now time.Time) (func(error), *reputation.SkippedError) {
	done, skipped := g.budget.admit(g.terms, key, g.spentUntil(now), now)
	if skipped != nil {
		return nil, skipped
	}
	if skipped := g.take(ctx, now); skipped != nil {
		g.budget.leave()
		g.budget.settle(done, key, skipped, now, now)
		return nil, skipped
	}
	return done, nil
}

// spentUntil returns the end of a window that is known to be spent, or the zero time.
func (g *Guard) spentUntil(now time.Time) time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !now.Before(g.spent.until) || now.Sub(g.spent.asked) >= recheckSpent {
		return time.Time{}
	}
	return g.spent.until
}

// take counts one call in the ledger. It is asked about a rate alone too, since it may keep it for other instances as well.
func (g *Guard) take(ctx context.Context, now time.Time) *reputation.SkippedError {
	if len(g.terms.Windows) == 0 && !g.terms.Rate.Bounded() {
		return nil
	}
	grant, err := g.ledger.Take(ctx, g.name, g.terms, 1, now)
	if err != nil {
		if ctx.Err() == nil { // Else it is the caller who has given up.
			g.logLedger(ctx, err)
		}
		return &reputation.SkippedError{Result: reputation.ResultSkippedQuota}
	}
	if grant.Granted {
		return nil
	}
	if window, until := spentUntil(g.terms.Windows, grant.Usage); !until.IsZero() {
		g.noteSpent(ctx, now, window, until)
		return &reputation.SkippedError{Result: reputation.ResultSkippedQuota, Until: until}
	}
	// The rate has refused, or a ledger that has only a part of the quota to give: it knows best, and is asked each time.
	return &reputation.SkippedError{Result: reputation.ResultSkippedQuota, Until: grant.RetryAt}
}

// spentUntil returns the last of the full windows to end, and when it does, or the zero time if none is full.
func spentUntil(windows []Window, usage []Usage) (last Window, until time.Time) {
	for i, u := range usage {
		if u.Used >= windows[i].Limit && u.Reset.After(until) {
			last, until = windows[i], u.Reset
		}
	}
	return last, until
}

// noteSpent remembers that a quota is spent, and logs it once for each window.
func (g *Guard) noteSpent(ctx context.Context, now time.Time, window Window, until time.Time) {
	g.mu.Lock()
	g.spent = spent{asked: now, until: until}
	news := !g.saidSpent.Equal(until)
	g.saidSpent = until
	g.mu.Unlock()
	if news {
		g.log.WarnContext(ctx, "the quota is spent", "until", until)
		g.notify(Notice{Kind: NoticeSpent, Window: window, Until: until})
	}
}

// tell notifies of what the outcome of a call has changed.
func (g *Guard) tell(c change, err error, began time.Time) {
	switch {
	case c.answered:
		g.notify(Notice{Kind: NoticeAnswers, Began: began})
	case c.throttled:
		g.notify(Notice{Kind: NoticeThrottled, Until: c.until})
	case c.breaker == "open":
		g.notify(Notice{Kind: NoticeFails, Result: reputation.ResultOf(err), Until: c.until})
	}
}

// RefusedUntil returns until when a key is set aside because the service refused it, or the zero time.
func (g *Guard) RefusedUntil(key string) time.Time {
	g.budget.mu.Lock()
	defer g.budget.mu.Unlock()
	return g.budget.refused.until(fingerprint(key), time.Now())
}

// Refused returns since when a key is set aside because the service refused it, and until when; zero times if it is not.
func (g *Guard) Refused(key string) (since, until time.Time) {
	g.budget.mu.Lock()
	defer g.budget.mu.Unlock()
	id := fingerprint(key)
	if until = g.budget.refused.until(id, time.Now()); until.IsZero() {
		return time.Time{}, time.Time{}
	}
	return g.budget.refused[id].start, until
}

// Forgive lets keys be tried again that are set aside because the service refused them: an operator may know that it will
// accept them now.
func (g *Guard) Forgive() {
	g.budget.mu.Lock()
	defer g.budget.mu.Unlock()
	clear(g.budget.refused)
}

// Skip returns what Check does while all keys are set aside, or there is none yet, and counts it.
func (g *Guard) Skip(until time.Time) error {
	g.observe(g.name, reputation.ResultSkippedBreaker, 0)
	return &reputation.SkippedError{Result: reputation.ResultSkippedBreaker, Until: until}
}

// Sync asks the ledger how much is spent, so that Status knows what other instances did. It is for the owner of a ledger that
// is shared, to be called now and then.
func (g *Guard) Sync(ctx context.Context) {
	if len(g.terms.Windows) > 0 {
		_, _ = g.ledger.Take(ctx, g.name, g.terms, 0, time.Now()) // what fails is logged where it matters
	}
}

// giveBack returns a call that was not made to the windows it was taken from.
func (g *Guard) giveBack(ctx context.Context, taken time.Time) {
	if len(g.terms.Windows) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.terms.Timeout)
	defer cancel()
	if _, err := g.ledger.Take(ctx, g.name, g.terms, -1, taken); err != nil {
		g.logLedger(ctx, err)
	}
	g.mu.Lock()
	g.spent = spent{}
	g.mu.Unlock()
}

type answer struct {
	report reputation.Report
	err    error
}

// call asks the provider and waits no longer than the time limit.
func (g *Guard) call(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, g.terms.Timeout)
	defer cancel()
	answers := make(chan answer, 1) // Room for an answer that nobody waits for any more.
	go g.ask(ctx, q, answers)
	select {
	case a := <-answers:
		return a.report, a.err
	case <-ctx.Done():
	}
	select {
	case a := <-answers: // Both were ready.
		return a.report, a.err
	default:
		return reputation.Report{}, fmt.Errorf("ask %s, %s allowed: %w", g.name, g.terms.Timeout, ctx.Err())
	}
}

// ask lets the provider do its work, and ends when the provider returns. Whatever it does stays here.
func (g *Guard) ask(ctx context.Context, q reputation.Query, answers chan<- answer) {
	a := answer{err: fmt.Errorf("ask %s: the provider ended its goroutine: %w", g.name, reputation.ErrBadAnswer)}
	defer func() {
		if v := recover(); v != nil {
			g.logPanic(ctx, q, v)
			a = answer{err: fmt.Errorf("ask %s: the provider panicked: %w", g.name, reputation.ErrBadAnswer)}
		}
		g.budget.leave()
		answers <- a
	}()
	report, err := g.provider.Check(ctx, q)
	if err != nil {
		report = reputation.Report{}
		_, _ = reputation.ResultOf(err), err.Error() // its methods are the provider's too, and asked for again outside
	}
	a = answer{report, err}
}

// errNoEvidence tells the breaker that a call said nothing about the health of the service.
var errNoEvidence = errors.New("the call says nothing about the service")

// gaveUp reports whether a call brought nothing because the caller's context had ended.
func gaveUp(ctx context.Context, err error) bool {
	if ctx.Err() == nil {
		return false
	}
	switch reputation.ResultOf(err) {
	case reputation.ResultTimeout, reputation.ResultError, reputation.ResultBadAnswer:
		return true
	}
	return false
}

// notAsked reports whether the provider made no request.
func notAsked(err error) bool {
	var skipped *reputation.SkippedError
	return errors.Is(err, reputation.ErrUnsupported) || errors.As(err, &skipped)
}
