package recorder

import (
	"encoding/binary"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	numStripes  = 16
	stripeRows  = 2048
	stripeSlots = 2 * stripeRows

	// keptRows is how many rows a stripe may keep when the collector takes their counts; if it has
	// more, it forgets all. So half of the room is free for new clients while the collector works.
	keptRows = stripeRows / 2

	// crowdedRows is how full a stripe may be before the collector empties it out of turn.
	crowdedRows = stripeRows * 3 / 4
)

// stripes count requests where they are served. A request takes the lock of one stripe, for a tenth
// of a microsecond. If another one has that lock, it takes the next stripe's, so that it does not
// wait; likewise if the stripe is full. What the collector takes from all stripes adds up.
type stripes struct {
	seed    maphash.Seed
	all     [numStripes]stripe
	armed   atomic.Bool   // the collector knows that there is something to take
	more    chan struct{} // wakes it
	crowded chan struct{} // a stripe is nearly full
}

// stripe counts requests that have the same row. What every request touches contains no pointers.
type stripe struct {
	mu      sync.Mutex
	closed  bool
	slots   [stripeSlots]uint16 // by key: the number of a row, plus one; 0: free
	rows    []row
	dirty   []uint16 // the rows with a count
	samples []sample // that the collector has not taken
	count   int64    // requests that the collector has not taken
}

// row counts the requests of one client in one minute that had the same decision.
type row struct {
	key      uint64
	evidence uint64 // of the verdict of the last sample
	first    int64  // the earliest time of a sample, in Unix nanoseconds
	delta
	score uint8 // of the last sample; noScore: none
}

// noScore stands for none.
const noScore = 255

// delta counts the requests of a row since the collector took the last.
type delta struct {
	row    uint16
	scored bool
	top    uint8 // the highest score
	status reputation.Status
	count  uint32
	last   int64 // in Unix nanoseconds
}

// sample is a request that the collector gets whole: the first of a row, or one with another verdict.
type sample struct {
	row      uint16
	evidence uint64 // a hash
	history.Event
}

func newStripes() *stripes {
	return &stripes{seed: maphash.MakeSeed(), more: make(chan struct{}, 1), crowded: make(chan struct{}, 1)}
}

// record counts a request, and reports whether there was room for it.
func (s *stripes) record(e *history.Event) bool {
	at := timeOf(e.At)
	key, evidence := s.key(e, at), uint64(0)
	if e.Verdict.Scored {
		evidence = evidenceOf(s.seed, e.Verdict.Reasons)
	}
	home := key >> 32
	for i := range uint64(numStripes) {
		one := &s.all[(home+i)%numStripes]
		if one.mu.TryLock() {
			ok, rows := one.record(e, key, evidence, at)
			one.mu.Unlock()
			if ok {
				s.notify(rows)
				return true
			}
		}
	}
	one := &s.all[home%numStripes] // they are full or in use
	one.mu.Lock()
	ok, rows := one.record(e, key, evidence, at)
	one.mu.Unlock()
	s.notify(rows)
	return ok
}

// notify tells the collector that there is something to take.
func (s *stripes) notify(rows int) {
	if rows >= crowdedRows {
		signal(s.crowded)
	}
	if !s.armed.Load() && s.armed.CompareAndSwap(false, true) {
		signal(s.more)
	}
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is signalled already
	}
}

// timeOf returns a time in Unix nanoseconds; for one that they cannot represent, the present.
func timeOf(at time.Time) int64 {
	const last = 1 << 33 // seconds, until the year 2242
	if s := at.Unix(); s < 0 || s >= last {
		at = time.Now()
	}
	return at.UnixNano()
}

// key returns a number for the row of a request. That two rows have the same is as good as
// impossible, and nobody can bring it about without the seed.
func (s *stripes) key(e *history.Event, at int64) uint64 {
	const odd1, odd2, odd3 = 0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9, 0x94d049bb133111eb
	addr := e.Address.Unmap()
	bytes := addr.As16()
	if !addr.Is4() {
		clear(bytes[8:]) // all addresses of a /64 are one subject
	}
	var fixed [26]byte
	copy(fixed[:], bytes[:])
	binary.LittleEndian.PutUint64(fixed[16:], uint64(at/int64(time.Minute)))
	if fixed[24] = byte(e.Action); e.Enforce {
		fixed[25] = 1
	}
	return maphash.Bytes(s.seed, fixed[:]) + odd1*maphash.String(s.seed, e.Host) +
		odd2*maphash.String(s.seed, e.Rule) + odd3*maphash.String(s.seed, e.Config)
}

// record counts a request, and returns how many rows there are. The caller holds the lock.
func (s *stripe) record(e *history.Event, key, evidence uint64, at int64) (ok bool, rows int) {
	if s.closed {
		return false, 0
	}
	slot := s.slot(key)
	isNew := s.slots[slot] == 0
	if isNew {
		if len(s.rows) == stripeRows || len(s.samples) == stripeRows {
			return false, stripeRows
		}
		s.rows = append(s.rows, row{key: key, first: at, score: noScore, delta: delta{row: uint16(len(s.rows))}})
		s.slots[slot] = uint16(len(s.rows))
	}
	w, v := &s.rows[s.slots[slot]-1], &e.Verdict
	another := v.Scored && (w.score != v.Score || w.evidence != evidence)
	if (isNew || another || at < w.first) && len(s.samples) < stripeRows {
		s.samples = append(s.samples, sample{w.row, evidence, *e})
		w.first = min(w.first, at)
		if v.Scored {
			w.evidence, w.score = evidence, v.Score
		}
	}
	if w.count == 0 {
		s.dirty = append(s.dirty, w.row)
	}
	w.record(v, at)
	s.count++
	return true, len(s.rows)
}

// slot returns the slot of a key, or the free slot where it belongs.
func (s *stripe) slot(key uint64) uint64 {
	i := key % stripeSlots
	for s.slots[i] != 0 && s.rows[s.slots[i]-1].key != key { // half of them are free
		i = (i + 1) % stripeSlots
	}
	return i
}

func (d *delta) record(v *reputation.Verdict, at int64) {
	if d.count == 0 {
		d.last, d.scored, d.top = at, false, 0
	}
	if at >= d.last {
		d.last, d.status = at, v.Status
	}
	if v.Scored {
		d.scored, d.top = true, max(d.top, min(v.Score, 100))
	}
	d.count++
}

func apart(a, b uint8) uint8 { return max(a, b) - min(a, b) }

// take appends what was counted since the last call. If reset is true or there are more than
// keptRows, the rows begin anew, which it reports. taken is called with the number of requests,
// while nobody can count.
func (s *stripe) take(
	deltas []delta, list []sample, reset bool, taken func(int64),
) (_ []delta, _ []sample, anew bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.dirty {
		deltas = append(deltas, s.rows[n].delta)
		s.rows[n].count = 0
	}
	s.dirty = s.dirty[:0]
	list, s.samples = s.samples, list[:0]
	taken(s.count)
	s.count = 0
	anew = reset || len(s.rows) > keptRows
	if anew {
		clear(s.slots[:])
		s.rows = s.rows[:0]
	}
	return deltas, list, anew
}

// close makes record refuse from now on.
func (s *stripes) close() {
	for i := range s.all {
		one := &s.all[i]
		one.mu.Lock()
		one.closed = true
		one.mu.Unlock()
	}
}

// discard forgets what the collector has not taken, and returns how many requests that are.
func (s *stripes) discard() (n int64) {
	for i := range s.all {
		s.all[i].take(nil, nil, true, func(count int64) { n += count })
	}
	return n
}

// waiting returns how many requests the collector has not taken.
func (s *stripes) waiting() (n int64) {
	for i := range s.all {
		one := &s.all[i]
		one.mu.Lock()
		n += one.count
		one.mu.Unlock()
	}
	return n
}
