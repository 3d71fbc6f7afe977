package violation

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// MaxBatch is for how many subjects and names violations are sent at once, at most.
const MaxBatch = 100

const (
	// maxQueue is for how many subjects and names violations wait to be sent. What finds no place is
	// counted here, and shared as the Base of the next violation of the same subject and name.
	maxQueue = 4096

	// maxForgotten is of how many subjects it is remembered that they were forgotten.
	maxForgotten = 1024

	// patience is how long a batch is sent again and again. It is shorter than the time for which the
	// receiver remembers it, so that it is never counted twice.
	patience = 50 * time.Minute
)

// Batch is what an instance has counted and shares with the others.
type Batch struct {
	// From is who sends it. It is another one after each start.
	From string

	// Number grows by one with each batch. One that is sent again keeps its number.
	Number uint64

	Deltas []Delta
}

// Delta is what is to be added to the shared amount of one subject and violation.
type Delta struct {
	Subject netip.Prefix
	Terms   *Terms

	// Base is what the sender knew before. It restores the shared amount, should that be lost.
	Base Amount

	// Acts is how many violations are to be added, of which Added is the sum. Its points are those of
	// all, as if none were free.
	Acts  int
	Added Amount
}

// Amount is points and a number of violations, which decay.
type Amount struct {
	Points, Count float64
	Age           time.Duration
}

// State is what the violations of one name by one subject amount to on all instances.
type State struct {
	Subject  netip.Prefix
	Name     string
	Amount   Amount
	HalfLife time.Duration
}

// queue holds what was counted here and not shared yet.
type queue struct {
	from string

	mu      sync.Mutex
	users   int // how many share the store with others; without one, nothing waits
	waiting map[pair]*pending
	sent    map[pair]*pending // and not known to have arrived
	number  uint64
	since   time.Time // when they were sent first
	ready   chan struct{}

	// forgotten is until when subjects were forgotten of late: what others have sent before is not
	// taken over.
	forgotten map[record.Key]time.Time

	sending sync.Mutex // one batch after the other, lest the next one's Base hold what is sent again
}

// pair is a subject and a violation.
type pair struct {
	key record.Key
	id  ID
}

// pending is what was counted of a pair.
type pending struct {
	terms *Terms
	base  Slot // before
	acts  int
	sum   Amount
	at    time.Time // of the newest, to which sum has decayed
}

func (q *queue) init() {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	q.from = hex.EncodeToString(random[:])
	q.ready = make(chan struct{}, 1)
	q.waiting = make(map[pair]*pending)
	q.forgotten = make(map[record.Key]time.Time)
}

// add queues an act. base is what there was before it.
func (q *queue) add(p pair, t *Terms, a *Act, base Slot) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.users == 0 {
		return
	}
	w := q.waiting[p]
	if w == nil {
		if len(q.waiting) >= maxQueue {
			return
		}
		w = &pending{base: base, at: a.At}
		q.waiting[p] = w
		select {
		case q.ready <- struct{}{}:
		default:
		}
	}
	w.terms = t
	added := 1.0
	if later := a.At.Sub(w.at); later >= 0 {
		left := decay(later, t.HalfLife)
		w.sum.Points *= left
		w.sum.Count *= left
		w.at = a.At
	} else {
		added = decay(-later, t.HalfLife)
	}
	w.acts++
	w.sum.Points += t.Points * share(a.Share) * added
	w.sum.Count += added
}

// forget drops what waits of a subject.
func (q *queue) forget(key record.Key, until time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.forgotten) >= maxForgotten {
		clear(q.forgotten)
	}
	if until.After(q.forgotten[key]) {
		q.forgotten[key] = until
	}
	for _, all := range []map[pair]*pending{q.waiting, q.sent} {
		for p := range all {
			if p.key == key {
				delete(all, p)
			}
		}
	}
}

// forgets reports whether what was done last at a time is forgotten.
func (q *queue) forgets(key record.Key, last time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !last.After(q.forgotten[key])
}

// take returns the batch that is to be sent next: the last one, as long as it is not known to have
// arrived.
func (q *queue) take(now time.Time) Batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.sent) > 0 && now.Sub(q.since).Abs() > patience {
		q.sent = nil
	}
	if len(q.sent) == 0 {
		q.sent = make(map[pair]*pending)
		for p, w := range q.waiting {
			if len(q.sent) == MaxBatch {
				break
			}
			q.sent[p] = w
			delete(q.waiting, p)
		}
		q.number++
		q.since = now
	}
	b := Batch{From: q.from, Number: q.number}
	for p, w := range q.sent {
		d := Delta{Subject: p.key.Subject(), Terms: w.terms, Acts: w.acts, Added: w.sum}
		d.Added.Age = max(now.Sub(w.at), 0)
		if w.base.Last != 0 && !w.base.future(now) {
			d.Base = w.base.amount(now)
		}
		b.Deltas = append(b.Deltas, d)
	}
	return b
}

// arrived ends the batch that was taken last.
func (q *queue) arrived() (more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sent = nil
	return len(q.waiting) > 0
}

// amount returns what the slot holds.
func (s *Slot) amount(now time.Time) Amount {
	age := time.Duration(int64(record.Seconds(now))-int64(s.Last)) * time.Second
	return Amount{Points: float64(s.Points) / 1000, Count: float64(s.Count) / 1000, Age: max(age, 0)}
}

// Share makes the store keep for Send what it counts, until the returned function is called.
func (s *Store) Share() (stop func()) {
	q := &s.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	q.users++
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.users--; q.users == 0 {
			clear(q.waiting)
			q.sent = nil
		}
	}
}

// Waiting returns a channel that has an element when there is something to send.
func (s *Store) Waiting() <-chan struct{} { return s.queue.ready }

// Send sends a batch of what was counted here, and takes over the states that send returns. A batch
// for which send returned an error is sent again by the next call. more is whether more waits.
func (s *Store) Send(
	ctx context.Context, send func(context.Context, Batch) ([]State, error),
) (more bool, err error) {
	q := &s.queue
	q.sending.Lock()
	defer q.sending.Unlock()
	batch := q.take(s.now())
	if len(batch.Deltas) == 0 {
		return false, nil
	}
	states, err := send(ctx, batch)
	if err != nil {
		return true, fmt.Errorf("sharing violations: %w", err)
	}
	more = q.arrived()
	s.Merge(states)
	return more, nil
}

// Merge takes over what all instances together have counted, where that is more than is known here.
// It leaves out what no instance can have sent, and returns how many states that were.
func (s *Store) Merge(states []State) (unusable int) {
	now := s.now()
	for i := range states {
		slot, ok := states[i].slot(now)
		if !ok {
			unusable++
			continue
		}
		addr := states[i].Subject.Addr()
		key := record.KeyOf(addr)
		if !s.queue.forgets(key, now.Add(-states[i].Amount.Age)) && s.merge(key, &slot, 0, now) {
			s.markChanged()
			s.watchers.call(addr)
		}
	}
	return unusable
}

// slot returns a state as a slot, unless no instance can have sent it.
func (s *State) slot(now time.Time) (slot Slot, ok bool) {
	addr, a := s.Subject.Addr(), s.Amount
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	latest := time.Duration(record.Seconds(now)) * time.Second
	switch {
	case !addr.IsValid() || s.Subject.Bits() != bits || s.Subject != s.Subject.Masked(),
		reputation.IsReserved(addr),
		s.Name == "" || s.HalfLife < time.Second || s.HalfLife > maxHalfLife*time.Second,
		!(a.Points >= 0 && a.Points <= maxThousandths/1000.0), !(a.Count >= 0) || math.IsInf(a.Count, 1),
		a.Age < 0 || a.Age >= latest:
		return slot, false
	}
	slot = Slot{
		ID: IDOf(s.Name), Last: record.Seconds(now.Add(-a.Age)),
		Points: thousandths(a.Points), Count: thousandths(a.Count),
		HalfLife: uint32(s.HalfLife / time.Second),
	}
	return slot, slot.Last != 0
}

// merge takes over a slot where it has more than is known, and reports whether it has.
func (s *Store) merge(key record.Key, other *Slot, good uint64, now time.Time) (better bool) {
	n, tag := s.table.locate(key)
	lock := s.table.lock(n)
	lock.Lock()
	defer lock.Unlock()
	var subject Subject
	i := s.table.bucket(n).find(key, tag)
	if i >= 0 {
		s.table.bucket(n).read(i, &subject)
	}
	before := subject.worth(now)
	if !subject.slot(other.ID, now).join(other, now) || subject.worth(now) < before {
		return false // of too many names, those that are here are worth more
	}
	stored, _ := s.table.put(n, i, key, tag, &subject, good, subject.worth(now), now)
	return stored
}

// join takes over from another slot of the same violation what it has more, and reports whether that
// was anything. What lies in the future is not believed.
func (s *Slot) join(other *Slot, now time.Time) (better bool) {
	if other.Last == 0 || other.future(now) {
		return false
	}
	if s.Last == 0 || s.future(now) {
		*s = *other
		return s.Points|s.Count != 0
	}
	last := max(s.Last, other.Last)
	points, count := s.at(last)
	morePoints, moreCount := other.at(last)
	if morePoints <= points && moreCount <= count {
		return false
	}
	if other.Last >= s.Last {
		s.HalfLife = other.HalfLife
	}
	s.Last, s.Points, s.Count = last, max(points, morePoints), max(count, moreCount)
	return true
}

// at returns what is left of points and count at a time, which is not before Last.
func (s *Slot) at(last uint32) (points, count uint32) {
	if last == s.Last {
		return s.Points, s.Count
	}
	left := decay(time.Duration(last-s.Last)*time.Second, time.Duration(s.HalfLife)*time.Second)
	return uint32(math.Round(float64(s.Points) * left)), uint32(math.Round(float64(s.Count) * left))
}
