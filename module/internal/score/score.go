// Package score computes the probability that an address is abusive from the reports of several
// sources.
//
// The model adds logarithms of odds, counted in decibans and called points: +10 points multiply the
// odds of abuse by ten. Sources count as independent of each other unless they share a group. The
// points of the reasons add up to the result, so that a person can check it.
package score

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Prior is the points of an address without evidence: odds of 1 to 100, a probability of about 1 %.
const Prior = -20.0

const (
	// Points are stored as whole thousandths, so that sums are exact and do not depend on their
	// order. The header with the reasons has the same precision: a decimal has three fractional
	// digits (RFC 9651 section 3.3.2).
	thousand = 1000

	// maxWeight bounds every weight, so that no configuration overflows a sum.
	maxWeight = 1000

	// restShare is the divisor for all but the strongest evidence of a group: sources that copy
	// each other confirm little. Together they add at most the strongest divided by restLimit, so
	// that many copies of one list are no proof.
	restShare = 4
	restLimit = 2

	// Up to stackMost pieces of evidence, Judge needs no heap: this is the largest number of
	// providers, and as many lists. Up to stackFew pieces, it uses a smaller array, which is faster
	// to clear.
	stackMost = 64
	stackFew  = 8
)

// Certain is the percent from which nobody needs to know more: lists that come to it settle an address.
const Certain = 90

// priorPercent is the probability of Prior.
var priorPercent = probability(Prior)

// Source holds the weights of one source.
type Source struct {
	// Name is the name of the source in reasons.
	Name string

	// Group is shared by sources that copy each other or use the same observations. A source
	// without one is alone in a group of its own name.
	Group string

	// Trust is how much the operator trusts the source, from 0 to 1.
	Trust float64

	// Weight is the points of a report with severity 1 and confidence 1, from 0 to 1000.
	Weight float64

	// GoodWeight is the same for reports in favor of an address.
	GoodWeight float64

	// SelfAged means that the source itself lowers the severity over time. Its evidence decays only
	// from the time of the answer.
	SelfAged bool

	// Current means that the severity is that of this moment, with all decay in it. The evidence does not decay again:
	// its age is only for the reason.
	Current bool
}

func (s *Source) group() string {
	if s.Group == "" {
		return s.Name
	}
	return s.Group
}

// Evidence is the report of one source at one moment.
type Evidence struct {
	// Source is the source of the report. Evidence without one is ignored.
	Source *Source

	// Severity and Confidence are those of the report. Values out of range are clamped, and NaN
	// counts as 0.
	Severity, Confidence float64

	// Categories are the kinds of abuse that the source reports. They determine the half-life.
	Categories reputation.Categories

	// Age is the time since the source answered. If the source is Current, it is the time since what it saw.
	Age time.Duration

	// Seen is the time between the last observation of the abuse and the answer. It is ignored if
	// the source is SelfAged or Current.
	Seen time.Duration

	// Listed means that the evidence is a list that contains the address now. It has no age and
	// does not decay.
	Listed bool

	// Network means that the source has not answered about the address, but about others of its network.
	Network bool
}

// Points returns the points of the evidence by itself, to a thousandth of a point: trust ×
// confidence × 2^(−age/half-life) × severity × weight. For a negative severity, the weight is
// GoodWeight.
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

// decay returns the factor by which the age reduces the points.
func (e *Evidence) decay() float64 {
	if n := e.halfLives(); n > 0 {
		return math.Exp2(-n)
	}
	return 1
}

// halfLives returns the age in half-lives.
func (e *Evidence) halfLives() float64 {
	if e.Source == nil || e.Listed || e.Source.Current {
		return 0
	}
	age := float64(max(e.Age, 0)) // as floats, two durations cannot overflow
	if !e.Source.SelfAged {
		age += float64(max(e.Seen, 0))
	}
	return age / float64(halfLife(e.Categories))
}

// halfLife returns the time in which evidence loses half of its points. Scanners move on within
// days, while mail and botnet infrastructure stays. Of several categories, the longest half-life
// applies.
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

// ranking sorts evidence by strength.
type ranking struct {
	evidence []Evidence
	items    []item
}

// item is one piece of evidence with its points, in thousandths: first those of the evidence by
// itself, later its share in the group. It refers to the evidence by index: with pointers, the
// caller's evidence would move to the heap.
type item struct {
	index  int32
	points int32 // large enough for maxWeight * thousand
	group  uint32
	left   int32 // what the rest of the group may still add; notStrongest unless the item is the strongest
}

// notStrongest marks an item that is not, or not yet known to be, the strongest of its group.
const notStrongest = -1

// fingerprint is a cheap hash of a group's name, which distinguishes most groups.
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
// Of each group, the strongest piece counts in full and every other one for a quarter, until the
// others have added half of the strongest. Evidence against the address and evidence in favor of it
// are treated separately.
//
// The reasons are appended to the given slice, the strongest first. Their points are the shares, so
// that Prior and they add up to the logarithm of the odds. Evidence of severity 0 gives no reason.
func Judge(evidence []Evidence, reasons []reputation.Reason) (percent float64, out []reputation.Reason) {
	if len(evidence) == 0 {
		return priorPercent, reasons
	}
	r := ranking{evidence: evidence}
	switch {
	case len(evidence) <= stackFew:
		var space [stackFew]item
		r.items = space[:0]
	case len(evidence) <= stackMost:
		var space [stackMost]item
		r.items = space[:0]
	default:
		r.items = make([]item, 0, len(evidence))
	}
	for i := range evidence {
		e := &evidence[i]
		if e.Source == nil || e.Severity == 0 || math.IsNaN(e.Severity) {
			continue
		}
		r.items = append(r.items, item{int32(i), int32(e.points()), fingerprint(e.Source.group()), notStrongest})
		r.insert(len(r.items) - 1)
	}
	r.share()
	total := int64(Prior * thousand)
	for i := range r.items {
		total += int64(r.items[i].points)
		r.insert(i) // the order of the shares differs from that of the full points
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
			Network:    e.Network,
		})
	}
	return probability(float64(total) / thousand), reasons
}

// share replaces the points of each item by its share in the group. The items are in order, so that
// the strongest of a group comes first.
func (r *ranking) share() {
	for i := range r.items {
		it := &r.items[i]
		strongest := r.strongest(i)
		if strongest == nil {
			it.left = max(it.points, -it.points) / restLimit
			continue
		}
		rest := it.points / restShare
		rest = max(min(rest, strongest.left), -strongest.left)
		strongest.left -= max(rest, -rest)
		it.points = rest
	}
}

// strongest returns the strongest item of the i-th item's group and sign, or nil if that is the
// i-th item itself.
func (r *ranking) strongest(i int) *item {
	it, group := r.items[i], r.group(r.items[i])
	for j := range r.items[:i] {
		before := &r.items[j]
		if before.left != notStrongest && before.group == it.group &&
			(before.points < 0) == (it.points < 0) && r.group(*before) == group {
			return before
		}
	}
	return nil
}

func (r *ranking) group(it item) string { return r.evidence[it.index].Source.group() }

// insert moves the i-th item to its place among those before it, which are in order.
func (r *ranking) insert(i int) {
	for ; i > 0 && r.before(r.items[i], r.items[i-1]); i-- {
		r.items[i], r.items[i-1] = r.items[i-1], r.items[i]
	}
}

// before sorts the strongest item first. Items of equal strength are sorted by the other fields of
// a reason, so that the order of the evidence does not matter.
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
	if cx, cy := x.confidence(), y.confidence(); cx != cy {
		return cx > cy
	}
	return !x.Network && y.Network
}

func (e *Evidence) severity() float64   { return within(e.Severity, -1, 1) }
func (e *Evidence) confidence() float64 { return within(e.Confidence, 0, 1) }

// age returns the age in whole seconds.
func (e *Evidence) age() time.Duration {
	if e.Listed {
		return 0
	}
	return max(e.Age, 0).Truncate(time.Second)
}

// probability returns 100 / (1 + 10^(−points/10)). An overflow gives 0 or 100.
func probability(points float64) float64 {
	return 100 / (1 + math.Exp(points*(-math.Ln10/10)))
}

// oldest is the age at which a report accuses of nothing any more, in half-lives: a 64th of its points is left. Some
// services go on listing an address for years.
const oldest = 6

// CategoriesOf returns what the evidence accuses an address of, or says in its favour.
func CategoriesOf(evidence []Evidence) (all reputation.Categories) {
	for i := range evidence {
		if e := &evidence[i]; e.Severity < 0 || e.Severity > 0 && e.halfLives() <= oldest {
			all |= e.Categories
		}
	}
	return all
}

// Round returns the score for a probability in percent, 0 to 100; NaN gives 0.
func Round(percent float64) uint8 {
	return uint8(math.Round(within(percent, 0, 100)))
}

// within clamps v to a range; NaN becomes 0.
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
