// Package record defines what is stored of a subject: the last answer of
// each provider, and the facts. A record has a fixed size and no
// pointers, so that a million of them cost the garbage collector nothing.
package record

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// MaxAnswers is the largest number of answers in a record, one for each provider.
const MaxAnswers = 32

// Clocks differ and can be wrong: those of this process in its past, of other instances and of Redis.
const (
	// Ahead is how far a time may lie in the future and still be believed.
	Ahead = 5 * time.Minute

	// MaxTTL is how long an answer is valid at most.
	MaxTTL = 30 * 24 * time.Hour

	// MaxPause is how long a provider is not asked about a subject after a failure, at most.
	MaxPause = 5 * time.Minute
)

// Key identifies a subject in 64 bits: an IPv4 address in the lower half,
// or the upper 64 bits of an IPv6 address. They cannot collide: IPv6
// addresses that begin with 32 zero bits are reserved and have no record.
type Key uint64

// KeyOf returns the key of the subject that addr belongs to. It
// expects an unmapped address that is not reserved.
func KeyOf(addr netip.Addr) Key {
	if addr.Is4() {
		b := addr.As4()
		return Key(binary.BigEndian.Uint32(b[:]))
	}
	b := addr.As16()
	return Key(binary.BigEndian.Uint64(b[:8]))
}

// Subject returns the subject that the key stands for.
func (k Key) Subject() netip.Prefix {
	if k <= math.MaxUint32 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(k))
		return netip.PrefixFrom(netip.AddrFrom4(b), 32)
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(k))
	return netip.PrefixFrom(netip.AddrFrom16(b), 64)
}

// Network returns the network of the subject, as the key of its first address: an IPv4 /24 or an
// IPv6 /48. What one network may use of a resource is bounded, since whoever has a network can
// change addresses within it.
func (k Key) Network() Key {
	if k <= math.MaxUint32 {
		return k &^ 0xff
	}
	return k &^ 0xffff
}

// SourceID identifies a provider in a record. It is derived from the provider's name, so that
// records outlive reloads and restarts; 0 is no provider.
type SourceID uint16

// IDOf returns the identifier of the provider with the given name. It is a hash: the configuration
// must be checked for two names with the same identifier.
func IDOf(name string) SourceID {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	sum := h.Sum32()
	if id := SourceID(sum ^ sum>>16); id != 0 {
		return id
	}
	return 1
}

// Answer is the last answer of one provider, packed. The zero Answer is an empty slot.
type Answer struct {
	// Source is the provider.
	Source SourceID

	// Severity and Confidence are those of the report, in hundredths.
	Severity   int8
	Confidence uint8

	// Categories are those of the report.
	Categories reputation.Categories

	// Failed means that the last attempt failed. The answer is then
	// an earlier one, if Fetched is set.
	Failed bool

	// SeenDays is how many whole days before Fetched the behaviour was last observed, 255 at most.
	SeenDays uint8

	// Fetched is when the provider gave this answer, in seconds since
	// 1970. Zero means that it never answered.
	Fetched uint32

	// Due is when the provider should be asked again, in seconds since 1970.
	Due uint32
}

// Pack returns a report as an answer. It clamps values that are out of range; NaN becomes 0.
func Pack(source SourceID, r reputation.Report, fetched, due time.Time) Answer {
	a := Answer{
		Source:     source,
		Severity:   int8(math.Round(clamp(r.Severity, -1, 1) * 100)),
		Confidence: uint8(math.Round(clamp(r.Confidence, 0, 1) * 100)),
		Categories: r.Categories & categoryBits,
		Fetched:    Seconds(fetched),
		Due:        Seconds(Earlier(due, fetched.Add(MaxTTL))),
	}
	if !r.LastSeen.IsZero() && r.LastSeen.Before(fetched) {
		a.SeenDays = uint8(min(fetched.Sub(r.LastSeen)/(24*time.Hour), math.MaxUint8))
	}
	return a
}

// Answered reports whether the provider has ever answered.
func (a Answer) Answered() bool { return a.Fetched != 0 }

// Seconds returns t in seconds since 1970, within the range of 32 bits without sign.
func Seconds(t time.Time) uint32 {
	return uint32(min(max(t.Unix(), 0), math.MaxUint32))
}

// Earlier returns the earlier one of two times.
func Earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// believable reports whether a clock that is right can have made the answer until now.
func (a *Answer) believable(now uint32) bool {
	const ahead, pause, ttl = uint64(Ahead / time.Second), uint64(MaxPause / time.Second), uint64(MaxTTL / time.Second)
	latest := uint64(a.Fetched) + ttl
	if a.Failed {
		latest = uint64(now) + pause + ahead
	}
	return uint64(a.Fetched) <= uint64(now)+ahead && uint64(a.Due) <= max(latest, uint64(now))
}

func clamp(v, low, high float64) float64 {
	if math.IsNaN(v) {
		return 0
	}
	return min(max(v, low), high)
}

// Record is everything that is stored of one subject. It is large: pass it by reference.
type Record struct {
	// The known facts. Names are not stored.
	Country [2]byte
	Nature  reputation.Nature
	ASN     uint32

	// From are the origins of the facts.
	From Origins

	// Answers has one slot for each provider that was asked. Empty slots follow the used ones.
	Answers [MaxAnswers]Answer
}

// Find returns the answer of a provider, or nil.
func (r *Record) Find(source SourceID) *Answer {
	for i := range r.Answers {
		switch r.Answers[i].Source {
		case source:
			return &r.Answers[i]
		case 0:
			return nil
		}
	}
	return nil
}

// FindAt is Find, but tries slot i first, where Retain puts the i-th provider of its list.
func (r *Record) FindAt(i int, source SourceID) *Answer {
	if i < len(r.Answers) && r.Answers[i].Source == source {
		return &r.Answers[i]
	}
	return r.Find(source)
}

// Answered reports whether a provider has ever answered about the subject. A record that only says
// that nobody did costs no call to make again.
func (r *Record) Answered() bool {
	for i := range r.Answers {
		if r.Answers[i].Source == 0 {
			return false
		}
		if r.Answers[i].Answered() {
			return true
		}
	}
	return false
}

// Empty reports whether the record has neither answers nor facts.
func (r *Record) Empty() bool {
	return r.Answers[0].Source == 0 && r.Country == [2]byte{} && r.ASN == 0 &&
		r.Nature == reputation.Nature{} && r.From == Origins{}
}

// Reset makes the record empty. It clears used slots only, which is
// cheaper than assigning the zero Record.
func (r *Record) Reset() {
	r.Country, r.Nature, r.ASN, r.From = [2]byte{}, reputation.Nature{}, 0, Origins{}
	r.Truncate(0)
}

// Truncate empties the slots from n on.
func (r *Record) Truncate(n int) {
	for ; n < len(r.Answers) && r.Answers[n].Source != 0; n++ {
		r.Answers[n] = Answer{}
	}
}

// Set stores the answer of a provider in place of its last one. If all slots are used by other
// providers, the answer that is due first is replaced: its provider is no longer configured, or is
// the next to be asked again.
func (r *Record) Set(a Answer) {
	oldest := 0
	for i := range r.Answers {
		if s := r.Answers[i].Source; s == a.Source || s == 0 {
			r.Answers[i] = a
			return
		}
		if r.Answers[i].Due < r.Answers[oldest].Due {
			oldest = i
		}
	}
	r.clearOrigin(r.Answers[oldest].Source)
	r.Answers[oldest] = a
}

// Learn stores an answer like Set, and those of its facts that have
// precedence over the known ones: see Origins.
func (r *Record) Learn(a Answer, f reputation.Facts) {
	r.clearOrigin(a.Source)
	r.Set(a)
	r.setFacts(a.Source, a.Fetched, f)
}

// Retain drops the answers of all providers but the given ones, and puts the others into the order
// of the list. Tables with one slot for each configured provider need it: answers of former
// providers would displace those of current ones.
func (r *Record) Retain(sources []SourceID) {
	r.retainIf(func(a *Answer) bool { return slices.Contains(sources, a.Source) })
	n := 0
	for _, source := range sources {
		if a := r.Find(source); a != nil && source != 0 {
			r.Answers[n], *a = *a, r.Answers[n]
			n++
		}
	}
}

// Drop removes the answers that were fetched until a time, in seconds since 1970, and reports
// whether any are left. If none is, the record becomes empty.
func (r *Record) Drop(until uint32) (left bool) {
	r.retainIf(func(a *Answer) bool { return a.Fetched > until })
	if r.Answers[0].Source == 0 {
		*r = Record{}
		return false
	}
	return true
}

// DropFuture drops the answers that only a wrong clock can have made. They would be current, and
// replace right ones, until that time. Of a failure that would last too long, the last answer stays.
func (r *Record) DropFuture(now uint32) {
	for i := range r.Answers {
		if a := &r.Answers[i]; a.Source == 0 {
			return
		} else if !a.believable(now) {
			r.dropFuture(now)
			return
		}
	}
}

func (r *Record) dropFuture(now uint32) {
	r.retainIf(func(a *Answer) bool {
		if a.Failed && a.Answered() && !a.believable(now) {
			a.Due = 0
		}
		return a.believable(now)
	})
}

// retainIf drops the answers for which keep returns false.
func (r *Record) retainIf(keep func(*Answer) bool) {
	n := 0
	for i := range r.Answers {
		a := &r.Answers[i]
		switch {
		case a.Source == 0:
		case keep(a):
			r.Answers[n] = *a
			n++
		default:
			r.clearOrigin(a.Source)
		}
	}
	clear(r.Answers[n:])
}

// Merge adds the newer content of another record of the same subject: later answers with their
// facts, and failures with the time until which the source is not asked again.
func (r *Record) Merge(other *Record) {
	newer := false
	for _, a := range other.Answers {
		mine := r.Find(a.Source)
		switch {
		case a.Source == 0:
		case mine == nil:
			r.Set(a)
			newer = true
		case a.Fetched > mine.Fetched:
			r.clearOrigin(a.Source)
			*mine = a
			newer = true
		case a.Due > mine.Due && (a.Failed || a.Fetched == mine.Fetched):
			mine.Failed, mine.Due = a.Failed, a.Due
		}
	}
	r.mergeFacts(other, newer)
}
