package limit

import (
	"fmt"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
)

// twin is buckets in fractions: slow, of any number, and nothing is ever rounded but the clock.
type twin map[string]*big.Rat // when the bucket is full, in nanoseconds

func ns(d time.Duration) *big.Rat { return big.NewRat(int64(d), 1) }

func add(a, b *big.Rat) *big.Rat { return new(big.Rat).Add(a, b) }
func sub(a, b *big.Rat) *big.Rat { return new(big.Rat).Sub(a, b) }
func mul(a, b *big.Rat) *big.Rat { return new(big.Rat).Mul(a, b) }
func quo(a, b *big.Rat) *big.Rat { return new(big.Rat).Quo(a, b) }

func larger(a, b *big.Rat) *big.Rat {
	if a == nil || b.Cmp(a) > 0 {
		return b
	}
	return a
}

func floor(r *big.Rat) *big.Rat {
	return new(big.Rat).SetInt(new(big.Int).Div(r.Num(), r.Denom())) // rounds down, as denominators are positive
}

func ceil(r *big.Rat) time.Duration {
	up := floor(new(big.Rat).Neg(r))
	return time.Duration(-up.Num().Int64())
}

// interval is the time between two events, step what the bucket's clock rounds down to.
func twinTimes(r rate.Rate) (interval, step *big.Rat) {
	interval = big.NewRat(int64(r.Per), int64(r.Events))
	return interval, quo(interval, floor(quo(interval, ns(tick))))
}

func (w twin) take(r rate.Rate, key string, now time.Duration) Decision {
	interval, step := twinTimes(r)
	clock := mul(floor(quo(ns(now), step)), step)
	full := larger(w[key], clock)
	after := add(full, interval)
	if first := sub(after, ns(r.Per)); first.Cmp(clock) > 0 {
		return Decision{Reset: ceil(full) - now, RetryAfter: ceil(first) - now}
	}
	w[key] = after
	missing := quo(sub(after, clock), interval)
	left := floor(sub(big.NewRat(int64(r.Events), 1), missing))
	return Decision{Allowed: true, Remaining: int(left.Num().Int64()), Reset: ceil(after) - now}
}

func (w twin) learn(r rate.Rate, key string, asked time.Duration, allowed bool, ahead time.Duration) {
	interval, step := twinTimes(r)
	told := mul(floor(quo(ns(asked+min(max(ahead, 0), r.Per)), step)), step)
	known := w[key]
	if known != nil && !allowed {
		known = sub(known, interval)
	}
	w[key] = larger(known, told)
}

// rates draws what Check lets pass, the extremes often.
func rates(maxEvents int) *rapid.Generator[rate.Rate] {
	return rapid.Custom(func(t *rapid.T) rate.Rate {
		events := rapid.OneOf(rapid.IntRange(1, 10), rapid.IntRange(1, maxEvents), rapid.Just(maxEvents)).Draw(t, "events")
		least := time.Duration(events) * tick
		per := rapid.OneOf(
			rapid.Just(least),
			rapid.Map(rapid.Int64Range(int64(least), int64(2*least)), func(d int64) time.Duration { return time.Duration(d) }),
			rapid.Map(rapid.Int64Range(int64(least), int64(maxPer)), func(d int64) time.Duration { return time.Duration(d) }),
			rapid.SampledFrom([]time.Duration{max(time.Second, least), max(time.Minute, least), maxPer}),
		).Draw(t, "per")
		return rate.Rate{Events: events, Per: per}
	})
}

func TestTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, w, taken := NewLocal(1), twin{}, buckets{}
		var rules []Rule
		for i := range 3 {
			r, err := NewRule(rates(300).Draw(t, "rate"), fmt.Sprint(i))
			if err != nil {
				t.Fatalf("a rate is refused: %v", err)
			}
			rules = append(rules, r)
			if !taken.add(l, r, Keyed("a")) || !taken.add(l, r, Keyed("b")) {
				t.Skip("two buckets have the same tag")
			}
		}
		const year = 365 * 24 * time.Hour
		now := time.Duration(rapid.Int64Range(0, int64(20*year)).Draw(t, "age"))
		years := 4 // together less than what brings the times round
		draw := func(t *rapid.T) (r Rule, s Subject, name string) {
			r, s = rapid.SampledFrom(rules).Draw(t, "rule"), Keyed(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key"))
			return r, s, r.storeKey(s)
		}
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				r, s, name := draw(t)
				for range rapid.IntRange(1, r.rate.Events+1).Draw(t, "times") {
					equal(t, "decision", l.Take(r, s, l.began.Add(now)), w.take(r.rate, name, now))
				}
			},
			"learn": func(t *rapid.T) {
				r, s, name := draw(t)
				asked := max(now-time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "ago")), 0)
				ahead := time.Duration(rapid.Int64Range(-1, int64(r.rate.Per)+1).Draw(t, "ahead"))
				allowed := rapid.Bool().Draw(t, "allowed")
				l.Apply(r, s, l.began.Add(asked), allowed, ahead)
				w.learn(r.rate, name, asked, allowed, ahead)
			},
			"wait": func(t *rapid.T) {
				r := rapid.SampledFrom(rules).Draw(t, "rule").rate
				most := rapid.SampledFrom([]time.Duration{2, 2 * tick, r.Per / time.Duration(r.Events), r.Per}).Draw(t, "most")
				now += time.Duration(rapid.Int64Range(0, int64(most)).Draw(t, "wait"))
			},
			"wait for years": func(*rapid.T) {
				if years > 0 {
					years--
					now += year
				}
			},
		})
		equal(t, "evicted buckets", l.evictions.Load(), 0)
	})
}
