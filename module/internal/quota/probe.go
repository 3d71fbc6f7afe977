package quota

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/backoff"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// testInterval is the time between self-tests that pass, testPauses that after failures in a row.
const testInterval = 6 * time.Hour

var testPauses = backoff.Policy{First: 5 * time.Second, Most: 30 * time.Minute}

// silentPause is the longest pause after a test without an answer: the network of a machine that has just started may
// come up at any time.
const silentPause = 5 * time.Minute

// selfTest is the state of a provider that is believed only while its Probe passes.
type selfTest struct {
	passed   bool
	key      uint64 // with which it has passed: with another one, the service may answer anything
	aside    string // why the service is not believed; empty while it is, or was never tested
	failures int    // in a row, tests without an answer included
	due      time.Time
}

// prevents reports whether calls with a key are skipped because of the test. A new key is tested
// soon.
func (t *selfTest) prevents(key uint64, now time.Time) bool {
	if t == nil || t.passed && t.key == key {
		return false
	}
	if t.passed {
		t.due = now
	}
	return true
}

// needTest makes the budget skip calls until a test has passed. A budget that a reload passes on
// keeps what it knows.
func (b *Budget) needTest() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.test == nil {
		b.test = new(selfTest)
	}
}

// begin counts a call that is not admitted by the terms.
func (b *Budget) begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inFlight++
}

// NextTest returns when the provider should be probed next, if it has a self-test.
func (g *Guard) NextTest() (due time.Time, has bool) {
	g.budget.mu.Lock()
	defer g.budget.mu.Unlock()
	if g.budget.test == nil {
		return time.Time{}, false
	}
	return g.budget.test.due, true
}

// Probe calls the provider's Probe with a key. The call is counted like one of Check, but a pause
// does not prevent it, since it finds out whether the pause may end. Without reputation.Prober it
// returns reputation.ErrUnsupported. The result decides about the self-test, if there is one.
func (g *Guard) Probe(ctx context.Context, key string) error {
	prober, ok := g.provider.(reputation.Prober)
	if !ok {
		return fmt.Errorf("probe %s: %w", g.name, reputation.ErrUnsupported)
	}
	began := time.Now()
	if refused := g.take(ctx, g.terms.urgent(), began); refused.reason != allowed {
		skipped := refused.err()
		g.observe(g.name, skipped.Result, 0)
		return skipped
	}
	q := reputation.Query{Addr: netip.IPv4Unspecified(), Key: key}
	g.budget.begin()
	_, err := g.call(ctx, q, func(ctx context.Context, q reputation.Query) (reputation.Report, error) {
		return reputation.Report{}, prober.Probe(ctx, q.Key)
	})
	if ctx.Err() != nil && err != nil {
		return err // the caller left, which says nothing about the service
	}
	now := time.Now()
	g.keepError(err, q)
	changed, tested := g.budget.probed(fingerprint(key), key != "", err, redactError(err, q), began, now)
	if tested != "" || err == nil {
		g.closedUntil.Store(0)
	}
	g.logTest(ctx, tested, redactError(err, q))
	if tested != "set aside" {
		g.logOutcome(ctx, q, err, changed, now)
	}
	g.notifyChange(changed, err, began)
	g.observe(g.name, reputation.ResultOf(err), now.Sub(began))
	return err
}

// probed records the result of a probe. tested is "passed" or "set aside" if the self-test's state
// or its reason changed to it.
func (b *Budget) probed(key uint64, keyed bool, err error, text string, began, now time.Time) (c change, tested string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lastKey = key
	b.setAsked(key)
	result := reputation.ResultOf(err)
	switch {
	case result.Answered():
		b.consecutive, b.answered, b.lastError = 0, now, ""
		b.throttled.reset(key, began)
		b.refused.reset(key, began)
		c.answered = b.opened.steps == 0
	case result == reputation.ResultThrottled:
		c.throttled, c.until = b.throttle(key, err, began, now)
	case result == reputation.ResultRefused && (keyed || b.test == nil):
		c.refused, c.until = b.refuse(key, began, now)
	}
	if b.test == nil {
		return c, ""
	}
	before := *b.test
	b.test.record(key, result, text, now)
	switch {
	case b.test.passed && !before.passed:
		return c, "passed"
	case b.test.aside != "" && b.test.aside != before.aside:
		c.breaker, c.until = "open", b.test.due
		return c, "set aside"
	}
	return c, ""
}

// record counts a test. Only a wrong answer is evidence: while the service is away, what was known
// of it holds.
func (t *selfTest) record(key uint64, result reputation.Result, text string, now time.Time) {
	switch {
	case result.Answered():
		*t = selfTest{passed: true, key: key, due: now.Add(backoff.Jitter(testInterval, .8, 1))}
		return
	case result == reputation.ResultBadAnswer || result == reputation.ResultRefused:
		t.passed, t.aside = false, text
	}
	t.failures++
	pause := testPauses.Pause(t.failures)
	if t.aside == "" {
		pause = min(pause, silentPause)
	}
	t.due = now.Add(pause)
}

func (g *Guard) logTest(ctx context.Context, tested, text string) {
	switch tested {
	case "passed":
		g.log.InfoContext(ctx, "the service passes its test, and is asked")
	case "set aside":
		g.log.ErrorContext(ctx, "the service fails its test, and is not asked until it passes", "error", text)
	}
}

// keepError stores why a call has failed, for the status.
func (g *Guard) keepError(err error, q reputation.Query, others ...netip.Addr) {
	if err == nil || reputation.ResultOf(err).Answered() || errors.Is(err, errNoEvidence) || noRequestMade(err) {
		return
	}
	text := redact(err.Error(), q, others...)
	g.budget.mu.Lock()
	defer g.budget.mu.Unlock()
	g.budget.lastError = text
}

func redactError(err error, q reputation.Query) string {
	if err == nil {
		return ""
	}
	return redact(err.Error(), q)
}
