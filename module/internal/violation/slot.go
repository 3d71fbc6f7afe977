package violation

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/bits"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// MaxNames is how many names of violations are remembered of one subject. Of more, those with the
// fewest points are forgotten.
const MaxNames = 6

// Bounds of what a Slot holds.
const (
	maxThousandths = 1<<20 - 1 // 1048.575 points, or violations
	maxHalfLife    = 1<<24 - 1 // 194 days, in seconds

	maxPaths = 64 // bits of paths that are used

	// worthless is what points and counts fall below when they count no more, in thousandths.
	worthless = 10
)

// Slot is what is remembered of one subject's violations of one name. The zero Slot is empty.
//
// Points and count decay by the same half-life: both lose half of their worth in it.
type Slot struct {
	// ID is the violation.
	ID ID

	// Last is the time of the newest one, in seconds since 1970.
	Last uint32

	// Points are what they amounted to at Last, in thousandths.
	Points uint32

	// Count is how many there were at Last, the free ones included, in thousandths.
	Count uint32

	// HalfLife is that of the terms at Last, in seconds.
	HalfLife uint32

	// paths has a bit for each path that was counted. Two paths may have the same bit: then one of
	// them is not counted.
	paths [2]uint64
}

// Subject is what is remembered of one IPv4 address or one IPv6 /64.
type Subject struct {
	// Slots are its violations, one slot for each name. Empty ones follow the used ones.
	Slots [MaxNames]Slot

	// Good is how many good answers it got since its first violation. It halves each day.
	Good uint32
}

// Find returns the slot of a violation, or nil.
func (s *Subject) Find(id ID) *Slot {
	for i := range s.Slots {
		if s.Slots[i].ID == id && s.Slots[i].Last != 0 {
			return &s.Slots[i]
		}
	}
	return nil
}

// worth is what the subject is kept for.
func (s *Subject) worth(now time.Time) (sum float64) {
	for i := range s.Slots {
		sum += s.Slots[i].worth(now)
	}
	return sum
}

// forgotten reports whether all violations are worth nothing any more.
func (s *Subject) forgotten(now time.Time) bool {
	for i := range s.Slots {
		if !s.Slots[i].forgotten(now) {
			return false
		}
	}
	return true
}

// slot returns the slot of a violation, or an empty one, in place of the weakest if need be.
func (s *Subject) slot(id ID, now time.Time) *Slot {
	if found := s.Find(id); found != nil {
		return found
	}
	weakest := &s.Slots[0]
	for i := range s.Slots {
		slot := &s.Slots[i]
		if slot.Last == 0 {
			return slot
		}
		if slot.worth(now) < weakest.worth(now) {
			weakest = slot
		}
	}
	*weakest = Slot{}
	return weakest
}

// PointsAt returns what the violations are worth at a time, by the terms of now.
func (s *Slot) PointsAt(t *Terms, now time.Time) float64 {
	return min(float64(s.Points)/1000*s.left(t.HalfLife, now), t.Most)
}

// CountAt returns how many violations are remembered at a time, by the terms of now. It halves with
// each half-life, so that those of long ago are forgotten.
func (s *Slot) CountAt(t *Terms, now time.Time) int {
	return int(math.Round(float64(s.Count) / 1000 * s.left(t.HalfLife, now)))
}

// left returns which part of its worth the slot has at a time: nothing if it lies so far in the
// future that a clock was wrong.
func (s *Slot) left(halfLife time.Duration, now time.Time) float64 {
	if s.Last == 0 || s.future(now) {
		return 0
	}
	return decay(time.Duration(int64(record.Seconds(now))-int64(s.Last))*time.Second, halfLife)
}

// future reports whether the slot lies so far in the future that a clock was wrong.
func (s *Slot) future(now time.Time) bool {
	return int64(s.Last) > int64(record.Seconds(now))+int64(record.Ahead/time.Second)
}

// worth is what the slot is kept for: its points and, where those are equal, how many violations
// there were.
func (s *Slot) worth(now time.Time) float64 {
	left := s.left(time.Duration(s.HalfLife)*time.Second, now)
	return left * (float64(s.Points) + float64(s.Count)/(2*maxThousandths))
}

// forgotten reports whether the slot is worth nothing any more: neither points nor a violation that
// could make a later one cost something.
func (s *Slot) forgotten(now time.Time) bool {
	left := s.left(time.Duration(s.HalfLife)*time.Second, now)
	return left*float64(max(s.Points, s.Count)) < worthless && !s.future(now)
}

// decay returns which part of its worth is left of something after a time.
func decay(age, halfLife time.Duration) float64 {
	if age <= 0 {
		return 1
	}
	if halfLife <= 0 {
		return 0
	}
	return math.Exp2(-float64(age) / float64(halfLife))
}

// add counts an act, which happened before now, and reports whether it did, since its path may have been counted already,
// and whether the act is free.
func (s *Slot) add(t *Terms, a *Act, hash uint64, now time.Time) (counted, free bool) {
	points, count := s.PointsAt(t, now), float64(s.Count)/1000*s.left(t.HalfLife, now)
	if a.Path != "" && !s.addPath(hash, count) {
		return false, false
	}
	left := decay(now.Sub(a.At), t.HalfLife)
	// The count is rounded: the fifth costs if four are free, though the first has decayed a little.
	count += left
	if free = math.Round(count) <= float64(t.Free); !free {
		points = min(points+t.Points*share(a.Share)*left, t.Most)
	}
	s.set(t, points, count, now)
	return true, free
}

// set writes what the violations of a name amount to.
func (s *Slot) set(t *Terms, points, count float64, now time.Time) {
	s.ID, s.Last = IDOf(t.Name), record.Seconds(now)
	s.Points, s.Count = thousandths(points), thousandths(count)
	s.HalfLife = uint32(min(max(t.HalfLife/time.Second, 0), maxHalfLife))
}

// addPath remembers a path, unless it is known. Once half of the violations are forgotten, so are
// all paths: the same path is counted once in a half-life. So they are when half of the bits are
// taken: most of a scanner's paths would be taken for known ones.
func (s *Slot) addPath(hash uint64, count float64) bool {
	n := bits.OnesCount64(s.paths[0]) + bits.OnesCount64(s.paths[1])
	if 2*count < float64(n) || n >= maxPaths {
		s.paths = [2]uint64{}
	}
	word, bit := hash>>6&1, uint64(1)<<(hash&63)
	if s.paths[word]&bit != 0 {
		return false
	}
	s.paths[word] |= bit
	return true
}

// seed is secret: clients cannot choose paths that have the same bit. It is kept on disk with the
// paths.
type seed [16]byte

// hash returns a hash of a whole path: clients choose where it differs from others.
func (s *seed) hash(path string) uint64 {
	var room [512]byte
	sum := sha256.Sum256(append(append(room[:0], s[:]...), path...))
	return binary.LittleEndian.Uint64(sum[:])
}

func share(s float64) float64 {
	if !(s > 0) { // or NaN
		return 0
	}
	return min(s, 1)
}

// thousandths returns a number that a Slot can hold.
func thousandths(v float64) uint32 {
	if !(v > 0) { // or NaN
		return 0
	}
	return uint32(math.Round(min(v*1000, maxThousandths)))
}
