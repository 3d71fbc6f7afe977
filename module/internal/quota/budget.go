package quota

import (
	"errors"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/backoff"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/throttle"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// The pauses after failures in a row.
var (
	throttledPauses = backoff.Policy{First: time.Minute, Most: time.Hour} // after a 429 that does not say how long
	refusedPauses   = backoff.Policy{First: 15 * time.Minute, Most: 24 * time.Hour}
	breakerPauses   = backoff.Policy{First: 30 * time.Second, Most: 10 * time.Minute}
)

// The limits of calls and pauses, and when the circuit breaker opens.
const (
	retryAfterMax = 32 * 24 * time.Hour // the longest pause that a monthly quota needs

	maxKeys = 16 // how many keys are remembered as throttled, as refused, and as asked with

	busyRetry = time.Second // when to try again after the concurrency was exhausted

	breakerJitter      = 0.2
	breakerConsecutive = 5           // failures in a row, however far apart
	breakerSample      = 20          // answers and failures needed before their ratio counts
	breakerInterval    = time.Minute // over which the ratio of one half is taken
)

// Budget is the state of a provider: its rate limiter, its circuit breaker, its pauses and the
// number of running calls. It outlives the Guards, so that a reload loses nothing and two
// configurations that overlap share one budget. It is safe for concurrent use, and no lock is held
// during a call.
type Budget struct {
	mu       sync.Mutex
	tokens   ledger.Bucket
	inFlight int

	// The breaker decides when to open. opened holds the pause, since the library supports only a
	// fixed one.
	breaker     *gobreaker.TwoStepCircuitBreaker[struct{}]
	opened      pause
	consecutive int       // The library's own count drops failures after a minute.
	answered    time.Time // when the last call ended that the service has answered

	throttled pauses
	refused   pauses
	lastKey   uint64
	lastError string          // of the last call that failed; empty after an answer
	test      *selfTest       // nil for a provider without a self-test
	asked     map[uint64]bool // the keys with which a call has ended

	networks [ledger.NumPeriods]*networks // nil for the periods without a share

	uncounted atomic.Int64 // calls that are reserved, and not yet taken from the ledger

	logged throttle.Causes[int]
}

// NewBudget returns an unused budget.
func NewBudget() *Budget {
	b := &Budget{throttled: pauses{}, refused: pauses{}, asked: map[uint64]bool{}}
	b.breaker = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Interval:      breakerInterval,
		BucketPeriod:  breakerInterval / 6,
		Timeout:       time.Nanosecond,
		ReadyToTrip:   b.readyToTrip,
		OnStateChange: b.stateChanged,
		IsExcluded:    func(err error) bool { return errors.Is(err, errNoEvidence) },
	})
	return b
}

// admit permits one call about a network, or returns why it is skipped. counts is the refusal that
// the counts of calls give. After an admitted call the caller must call release once the provider
// has returned, and pass the returned function to record. For a call that shares a request, there
// is neither: the request is admitted by itself.
func (b *Budget) admit(
	terms Terms, key uint64, network record.Key, counts refusal, worth float64, now time.Time,
) (func(error), refusal) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lastKey = key
	switch refused := b.blockedLocked(terms, key, network, now); {
	case refused.reason == paused || refused.reason == pausedKey:
		return nil, refused
	case counts.reason != allowed:
		return nil, counts
	case refused.reason != allowed:
		return nil, refused
	}
	if terms.shares {
		b.countNetwork(terms, network, now)
		return nil, refusal{}
	}
	done, err := b.breaker.Allow()
	if err != nil { // Half open, and the one trial is under way.
		return nil, refusal{reason: paused, until: now.Add(terms.Timeout)}
	}
	if refused := b.takeToken(terms, worth, now); refused.reason != allowed {
		done(errNoEvidence)
		return nil, refused
	}
	b.inFlight++
	b.countNetwork(terms, network, now)
	return done, refusal{}
}

// blocked returns why no call may be made, if the reason is a pause, the network's share or the
// number of running calls. It is the cheap part of admit.
func (b *Budget) blocked(terms Terms, key uint64, network record.Key, now time.Time) refusal {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.blockedLocked(terms, key, network, now)
}

func (b *Budget) blockedLocked(terms Terms, key uint64, network record.Key, now time.Time) refusal {
	switch until := b.pausedUntil(key, now); {
	case b.test.prevents(key, now):
		return refusal{reason: paused, until: ahead(b.test.due, now)}
	case b.opened.until.After(now):
		return refusal{reason: paused, until: until}
	case !until.IsZero():
		return refusal{reason: pausedKey, until: until}
	case !b.networkHasRoom(terms, network, now):
		return refusal{reason: ofNetwork}
	case b.inFlight >= terms.Concurrency && !terms.shares:
		return refusal{reason: busy, until: now.Add(busyRetry)}
	}
	return refusal{}
}

// pausedUntil returns the end of the longest pause that applies to a key, or the zero time.
func (b *Budget) pausedUntil(key uint64, now time.Time) time.Time {
	until := ahead(b.opened.until, now)
	for _, pause := range [...]time.Time{b.throttled.until(key, now), b.refused.until(key, now)} {
		if pause.After(until) {
			until = pause
		}
	}
	return until
}

// takeToken takes one call from the rate, unless there is none, or none for what the call is worth.
func (b *Budget) takeToken(t Terms, worth float64, now time.Time) refusal {
	if !t.Rate.Bounded() {
		return refusal{}
	}
	perSecond, burst := t.Rate.PerSecond(), ledger.BurstOf(t.Rate)
	if price := t.priceOfRate(b.tokens.Left(perSecond, burst, now)); worth < price {
		return refusal{tooDear, now.Add(t.Rate.Per / time.Duration(t.Rate.Events)), price}
	}
	if until := b.tokens.Take(perSecond, burst, 1, now); !until.IsZero() {
		return refusal{reason: spentOut, until: until}
	}
	return refusal{}
}

// release ends a call that was admitted.
func (b *Budget) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inFlight--
}

// change is how an outcome has changed a budget, for the log.
type change struct {
	breaker   string // "open" or "closed" if the breaker's state changed to it
	throttled bool   // a pause began or was extended
	refused   bool   // a key was set aside, or its pause was extended
	answered  bool   // the service answered, and the breaker is closed
	until     time.Time
}

// record records the outcome of a call that began at began. An outcome of errNoEvidence changes
// nothing.
func (b *Budget) record(done func(error), key uint64, err error, began, now time.Time) change {
	b.mu.Lock()
	defer b.mu.Unlock()
	var c change
	before := b.opened
	if !errors.Is(err, errNoEvidence) && !noRequestMade(err) {
		b.setAsked(key)
	}
	switch result := reputation.ResultOf(err); {
	case errors.Is(err, errNoEvidence) || noRequestMade(err):
		done(errNoEvidence)
	case result.Answered():
		b.consecutive, b.answered, b.lastError = 0, now, ""
		b.throttled.reset(key, began)
		b.refused.reset(key, began)
		done(nil)
		c.answered = true
	case result == reputation.ResultThrottled:
		c.throttled, c.until = b.throttle(key, err, began, now)
		done(errNoEvidence)
	case result == reputation.ResultRefused:
		c.refused, c.until = b.refuse(key, began, now)
		done(errNoEvidence)
	default:
		b.consecutive++
		done(err)
	}
	switch {
	case b.opened.steps > before.steps:
		c.breaker, c.until = "open", b.opened.until
	case b.opened.steps < before.steps:
		c.breaker = "closed"
	}
	c.answered = c.answered && b.opened.steps == 0
	return c
}

// setAsked remembers that a call with the key has ended. Of too many keys, any other is forgotten.
func (b *Budget) setAsked(key uint64) {
	for other := range b.asked {
		if len(b.asked) < maxKeys || b.asked[key] {
			break
		}
		delete(b.asked, other)
	}
	b.asked[key] = true
}

// throttle pauses as long as the service asks for. If it gives no time, each pause is longer than
// the last one.
func (b *Budget) throttle(key uint64, err error, began, now time.Time) (bool, time.Time) {
	pause := b.throttled.of(key)
	var throttled *reputation.ThrottledError
	if errors.As(err, &throttled) && throttled.RetryAfter > 0 {
		pause.atLeast(now, now.Add(min(throttled.RetryAfter, retryAfterMax)))
		return true, pause.until
	}
	return pause.extend(began, now, throttledPauses), pause.until
}

// refuse sets a key aside.
func (b *Budget) refuse(key uint64, began, now time.Time) (bool, time.Time) {
	pause := b.refused.of(key)
	return pause.extend(began, now, refusedPauses), pause.until
}

// readyToTrip and stateChanged are called by the breaker, from admit and record, with mu held.

func (b *Budget) readyToTrip(c gobreaker.Counts) bool {
	ended := c.TotalSuccesses + c.TotalFailures
	return b.consecutive >= breakerConsecutive || ended >= breakerSample && c.TotalFailures*2 >= ended
}

func (b *Budget) stateChanged(_ string, _, to gobreaker.State) {
	b.consecutive = 0
	switch to {
	case gobreaker.StateClosed:
		b.opened = pause{}
	case gobreaker.StateOpen:
		now := time.Now()
		b.opened.extend(now, now, breakerPauses)
		// Instances that saw the service fail together should not come back together.
		pause := backoff.Jitter(b.opened.until.Sub(now), 1-breakerJitter, 1+breakerJitter)
		b.opened.until = now.Add(min(pause, breakerPauses.Most))
	}
}

var keySeed = maphash.MakeSeed()

// fingerprint identifies a key without holding it. It is valid in this process only.
func fingerprint(key string) uint64 { return maphash.String(keySeed, key) }
