// Package score turns what the sources say about an address into the probability that the address
// is abusive.
//
// The model adds logarithms of odds, counted in decibans and called points: +10 points multiply the
// odds of abuse by ten. Sources are taken as independent of each other unless they share a group,
// and a person can add up the result from the reasons.
package score

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Prior is where every address starts, in points: odds of 1 to 100, about 1 % likely to be abusive.
const Prior = -20.0

const (
	// Points are kept as whole thousandths, so that sums are exact and do not depend on their
	// order, and because the reasons' header can say no more: a decimal has three fractional digits
	// (RFC 9651 section 3.3.2).
	thousand = 1000

	// maxWeight bounds every weight, so that no configuration overflows a sum.
	maxWeight = 1000

	// restShare is the divisor for all but the strongest of a group: sources that copy each other
	// confirm little.
	restShare = 4

	// usual is how many pieces of evidence are weighed without the heap: all providers that there
	// can be, and as many lists. For so many the stack is cleared only when there are more than
	// few.
	usual = 64
	few   = 8
)

// priorPercent is the probability that Prior stands for.
var priorPercent = probability(Prior)

// Source is how one source is weighed.
type Source struct {
	// Name is what reasons call the source.
	Name string

	// Group is shared by sources that copy each other or draw on the same observations. A source
	// without one is alone in the group that has its name.
	Group string

	// Trust is how much the operator believes the source, from 0 to 1.
	Trust float64

	// Weight is how many points a certain report of full severity is worth, from 0 to 1000.
	Weight float64

	// GoodWeight is the same for reports that speak for an address.
	GoodWeight float64

	// SelfAged says that the source lowers its own severity as time passes, so that what it says
	// decays only from when it was asked.
	SelfAged bool
}

func (s *Source) group() string {
	if s.Group == "" {
		return s.Name
	}
	return s.Group
}

// Evidence is what one source says at one moment.
type Evidence struct {
	// Source is who says it. Evidence without a source counts for nothing.
	Source *Source

	// Severity and Confidence are those of the report. Values out of range are brought into it, NaN
	// is 0.
	Severity, Confidence float64

	// Categories are what the source accuses the address of. They set the half-life.
	Categories reputation.Categories

	// Age is how long ago the source was asked.
	Age time.Duration

	// Seen is how long before that the behaviour was last observed. It does not count when the
	// source is SelfAged.
	Seen time.Duration

	// Listed says that the evidence is a list on which the address stands now: it has no age and
	// does not decay.
	Listed bool
}

// Points returns what the evidence is worth by itself, to a thousandth of a point: trust ×
// confidence × 2^(−age/half-life) × severity × weight, where what speaks for an address has the
// good weight.
func (e Evidence) Points() float64 { return float64(e.points()) / thousand }

func (e *Evidence) points() int64 {
	if e.Source == nil {
		return 0
	}
	severity, weight := within(e.Severity, -1, 1), e.Source.Weight
	if severity < 0 {
		weight = e.Source.GoodWeight
	}
	p := severity * within(weight, 0, maxWeight) * within(e.Source.Trust, 0, 1) * within(e.Confidence, 0, 1)
	if p == 0 {
		return 0
	}
	return int64(math.RoundToEven(p * e.decay() * thousand))
}

// decay returns the share of its points that evidence of its age still has.
func (e *Evidence) decay() float64 {
	if e.Listed {
		return 1
	}
	age := float64(max(e.Age, 0)) // as floats, two durations cannot overflow
	if !e.Source.SelfAged {
		age += float64(max(e.Seen, 0))
	}
	if age == 0 {
		return 1
	}
	return math.Exp2(-age / float64(halfLife(e.Categories)))
}

// halfLife returns the time in which evidence loses half of its points: scanners move on within
// days, mail and botnet infrastructure stays. Of several categories the longest half-life holds.
func halfLife(c reputation.Categories) time.Duration {
	const day = 24 * time.Hour
	switch {
	case c.Has(reputation.Spam) || c.Has(reputation.BotnetC2):
		return 14 * day
	case c == reputation.CategoriesOf(reputation.Scanner):
		return 3 * day
	}
	return 7 * day
}

// ranking is evidence in order of strength.
type ranking struct {
	evidence []Evidence
	items    []item
}

// item is one piece of evidence and its thousandths of points: what it is worth by itself at first,
// the share that counts in the end. It names the evidence by index: with pointers, the caller's
// evidence would move to the heap.
type item struct {
	index  int32
	points int32 // maxWeight thousands fit
	group  uint32
}

// fingerprint tells most groups apart without a look at their names.
func fingerprint(group string) uint32 {
	n := len(group)
	if n == 0 {
		return 0
	}
	return uint32(n)<<24 | uint32(group[0])<<16 | uint32(group[n/2])<<8 | uint32(group[n-1])
}

// Judge weighs the evidence and returns the probability, in percent, that the address is abusive.
// Without evidence that is the prior. Neither the order of the evidence nor bad numbers in it
// matter.
//
// Of each group, the strongest piece counts in full and every other one for a quarter, separately
// for what speaks against the address and what speaks for it.
//
// The reasons are appended to the given slice, the strongest first. Their points are the shares
// that count, so that Prior and they add up to the logarithm of the odds. Evidence of severity 0
// gives no reason.
func Judge(evidence []Evidence, reasons []reputation.Reason) (percent float64, out []reputation.Reason) {
	if len(evidence) == 0 {
		return priorPercent, reasons
	}
	r := ranking{evidence: evidence}
	switch {
	case len(evidence) <= few:
		var space [few]item
		r.items = space[:0]
	case len(evidence) <= usual:
		var space [usual]item
		r.items = space[:0]
	default:
		r.items = make([]item, 0, len(evidence))
	}
	for i := range evidence {
		e := &evidence[i]
		if e.Source == nil || e.Severity == 0 || math.IsNaN(e.Severity) {
			continue
		}
		r.items = append(r.items, item{int32(i), int32(e.points()), fingerprint(e.Source.group())})
		r.settle(len(r.items) - 1)
	}
	r.share()
	total := int64(Prior * thousand)
	for i := range r.items {
		total += int64(r.items[i].points)
		r.settle(i) // the shares have another order than what they are shares of
	}
	reasons = slices.Grow(reasons, len(r.items))
	for _, it := range r.items {
		e := &evidence[it.index]
		reasons = append(reasons, reputation.Reason{
			Source:     e.Source.Name,
			Points:     float64(it.points) / thousand,
			Categories: e.Categories,
			Age:        e.age(),
			Severity:   float32(e.severity()),
			Confidence: float32(e.confidence()),
		})
	}
	return probability(float64(total) / thousand), reasons
}

// share replaces the points of each item by the share that counts in its group.
func (r *ranking) share() {
	for i := len(r.items) - 1; i > 0; i-- { // backwards: the stronger items, which come before, are still whole
		if r.led(i) {
			r.items[i].points /= restShare
		}
	}
}

// led reports whether a stronger item than the i-th is of the same group and on the same side.
func (r *ranking) led(i int) bool {
	it, group := r.items[i], r.group(r.items[i])
	for _, stronger := range r.items[:i] {
		if stronger.group == it.group && (stronger.points < 0) == (it.points < 0) && r.group(stronger) == group {
			return true
		}
	}
	return false
}

func (r *ranking) group(it item) string { return r.evidence[it.index].Source.group() }

// settle moves the i-th item to its place among those before it, which are in order.
func (r *ranking) settle(i int) {
	for ; i > 0 && r.before(r.items[i], r.items[i-1]); i-- {
		r.items[i], r.items[i-1] = r.items[i-1], r.items[i]
	}
}

// before orders the strongest first and, among equals, by all that a reason shows, so that equal
// evidence in another order gives equal reasons.
func (r *ranking) before(a, b item) bool {
	if sa, sb := max(a.points, -a.points), max(b.points, -b.points); sa != sb {
		return sa > sb
	}
	if a.points != b.points {
		return a.points > b.points
	}
	x, y := &r.evidence[a.index], &r.evidence[b.index]
	if c := strings.Compare(x.Source.Name, y.Source.Name); c != 0 {
		return c < 0
	}
	if ax, ay := x.age(), y.age(); ax != ay {
		return ax < ay
	}
	if x.Categories != y.Categories {
		return x.Categories < y.Categories
	}
	if sx, sy := x.severity(), y.severity(); sx != sy {
		return sx > sy
	}
	return x.confidence() > y.confidence()
}

func (e *Evidence) severity() float64   { return within(e.Severity, -1, 1) }
func (e *Evidence) confidence() float64 { return within(e.Confidence, 0, 1) }

// age returns how long ago the source was asked, in whole seconds.
func (e *Evidence) age() time.Duration {
	if e.Listed {
		return 0
	}
	return max(e.Age, 0).Truncate(time.Second)
}

// probability returns 100 / (1 + 10^(−points/10)). Neither end overflows into anything but 0 and
// 100.
func probability(points float64) float64 {
	return 100 / (1 + math.Exp(points*(-math.Ln10/10)))
}

// Round returns the score that a probability in percent is shown as, 0 to 100; NaN is 0.
func Round(percent float64) uint8 {
	return uint8(math.Round(within(percent, 0, 100)))
}

// within brings v into a range; NaN becomes 0.
func within(v, low, high float64) float64 {
	switch {
	case v > high:
		return high
	case v < low:
		return low
	case v >= low:
		return v
	}
	return 0
}
