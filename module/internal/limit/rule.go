package limit

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
)

const (
	// tick is the unit of stored times. 44 bits of it last for 5.6 years.
	tick = 10 * time.Microsecond

	maxPerSecond = int(time.Second / tick)
	maxPer       = 24 * time.Hour
)

// Check returns an error unless a rate can be a limit: at most 100,000 events a second, over at
// most 24 hours. Buckets store times in units of 10 µs, which is too coarse for higher rates.
func Check(r rate.Rate) error {
	switch {
	case !r.Bounded():
		return fmt.Errorf("rate %s sets no bound: write a number of requests and a duration, as in 10/1m", r)
	case r.Per > maxPer:
		return fmt.Errorf("rate %s is over more than a day: write one over 24h at most", r)
	case time.Duration(r.Events) > r.Per/tick:
		return fmt.Errorf("rate %s is more than %d requests a second: write %[2]d/1s or less", r, maxPerSecond)
	}
	return nil
}

// CheckText is Check for the text of a rate.
func CheckText(text string) error {
	r, err := rate.Parse(text)
	if err != nil {
		return err
	}
	return Check(r)
}

// Rule is a rate with an identity: each rule has a bucket for each subject. The zero Rule limits
// nothing. Create others with NewRule.
//
// Its buckets count time in steps that divide the interval between two events (Per / Events)
// evenly, so that all arithmetic is in whole numbers without rounding. A step is the shortest that
// is not below a tick: 10 µs to less than 20 µs.
type Rule struct {
	id   uint64
	rate rate.Rate
	step uint64 // steps between two events; 0 if the rule limits nothing
}

// NewRule returns the rule of a rate and of other parts that identify it, such as its conditions.
// The same rate and parts give the same rule in any process of any version: two sites with the same
// rule share its buckets, and so do two instances with the same store. The error is Check's.
func NewRule(r rate.Rate, parts ...string) (Rule, error) {
	if err := Check(r); err != nil {
		return Rule{}, err
	}
	return Rule{id: ruleID(r, parts), rate: r, step: uint64(r.Per / tick / time.Duration(r.Events))}, nil
}

// ruleID hashes the length of each text before the text, so that "a", "bc" and "ab", "c" differ.
func ruleID(r rate.Rate, parts []string) uint64 {
	text := binary.AppendUvarint(nil, uint64(r.Events))
	text = binary.AppendUvarint(text, uint64(r.Per))
	for _, p := range parts {
		text = binary.AppendUvarint(text, uint64(len(p)))
		text = append(text, p...)
	}
	sum := sha256.Sum256(text)
	return binary.BigEndian.Uint64(sum[:])
}

// Rate returns the rule's rate. Its Events are also the size of a bucket.
func (r Rule) Rate() rate.Rate { return r.rate }

// ID returns the rule's identity.
func (r Rule) ID() uint64 { return r.id }

// size is the number of steps in a bucket: those in Per.
func (r Rule) size() uint64 { return uint64(r.rate.Events) * r.step }

// stepAt returns the step in which a time lies. The quotient fits into 64 bits, since a step is no
// shorter than a tick.
func (r Rule) stepAt(t time.Duration) uint64 {
	high, low := bits.Mul64(uint64(t), r.size())
	n, _ := bits.Div64(high, low, uint64(r.rate.Per))
	return n
}

// begin returns the first nanosecond of step n.
func (r Rule) begin(n uint64) time.Duration {
	size := r.size()
	high, low := bits.Mul64(n, uint64(r.rate.Per))
	low, carry := bits.Add64(low, size-1, 0)
	t, _ := bits.Div64(high+carry, low, size)
	return time.Duration(t)
}

// ticks rounds up. A step is no shorter than a tick, so that the ticks determine the step.
func ticks(begin time.Duration) time.Duration { return (begin + tick - 1) / tick }

// decision returns the Decision for a bucket that is full again after the time ahead. That time may
// be rounded by less than a step.
func (r Rule) decision(allowed bool, ahead time.Duration) Decision {
	ahead = min(max(ahead, 0), r.rate.Per)
	if !allowed {
		return Decision{Reset: ahead, RetryAfter: max(ahead-r.begin(r.size()-r.step), 0)}
	}
	return Decision{Allowed: true, Remaining: int((r.size() - r.stepAt(ahead)) / r.step), Reset: ahead}
}
