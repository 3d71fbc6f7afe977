package violation

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"
)

// sent returns the batch that a store sends next. fail is what sending it ends with.
func (s *tester) sent(t testing.TB, fail error) Batch {
	t.Helper()
	var batch Batch
	_, err := s.Send(t.Context(), func(_ context.Context, b Batch) ([]State, error) {
		batch = b
		return nil, fail
	})
	if !errors.Is(err, fail) {
		t.Fatal(err)
	}
	return batch
}

// TestBatches proves that acts of one subject and name are sent together, with their age and what
// was known before, and again under the same number until they have arrived.
func TestBatches(t *testing.T) {
	s := open(t, "", Options{})
	s.Add(&login, Act{Client: client, Share: 1}) // before there was anybody to share with
	defer s.Share()()
	s.wait(time.Hour)
	s.Add(&login, Act{Client: client, Share: 1})
	s.wait(time.Hour)
	s.Add(&login, Act{Client: client, Share: .5})
	s.wait(time.Minute)
	select {
	case <-s.Waiting():
	default:
		t.Error("nobody is told that there is something to send")
	}
	away := errors.New("away")
	first := s.sent(t, away)
	if len(first.Deltas) != 1 {
		t.Fatalf("%+v", first)
	}
	d := first.Deltas[0]
	want := Delta{
		Subject: netip.PrefixFrom(client, 32), Terms: &login,
		Base: Amount{Count: 1, Age: 2*time.Hour + time.Minute},
		Acts: 2, Added: Amount{Points: 3, Count: 1.5, Age: time.Minute},
	}
	if d != want {
		t.Errorf("%+v", d)
	}
	s.Add(&trap, Act{Client: client, Share: 1})
	s.wait(time.Minute)
	again := s.sent(t, nil)
	if again.Number != first.Number || again.From != first.From ||
		len(again.Deltas) != 1 || again.Deltas[0].Added.Age != 2*time.Minute {
		t.Errorf("%+v is sent again as %+v", first, again)
	}
	next := s.sent(t, nil)
	if next.Number != first.Number+1 || len(next.Deltas) != 1 || next.Deltas[0].Terms != &trap {
		t.Errorf("%+v", next)
	}
	if last := s.sent(t, nil); len(last.Deltas) != 0 {
		t.Errorf("%+v", last)
	}
}

// TestABatchIsGivenUp proves that one which may have arrived is not sent after it was forgotten at
// the receiver; what it held is part of what the next one says was known before.
func TestABatchIsGivenUp(t *testing.T) {
	s := open(t, "", Options{})
	defer s.Share()()
	s.Add(&trap, Act{Client: client, Share: 1})
	s.sent(t, errors.New("away"))
	s.wait(patience + time.Minute)
	if b := s.sent(t, nil); len(b.Deltas) != 0 {
		t.Errorf("%+v", b)
	}
	s.Add(&trap, Act{Client: client, Share: 1})
	if b := s.sent(t, nil); len(b.Deltas) != 1 || b.Deltas[0].Base.Points != 60 || b.Number < 2 {
		t.Errorf("%+v", b)
	}
}

// TestTheQueueIsBounded proves that while nothing can be sent, a bounded number of subjects waits;
// and that batches are bounded.
func TestTheQueueIsBounded(t *testing.T) {
	s := open(t, "", Options{})
	stop := s.Share()
	for i := range 2 * maxQueue {
		s.Add(&trap, Act{Client: alone(i), Share: 1})
	}
	sent := 0
	for range 3 * maxQueue / MaxBatch {
		b := s.sent(t, nil)
		if len(b.Deltas) > MaxBatch {
			t.Fatalf("%d in a batch", len(b.Deltas))
		}
		sent += len(b.Deltas)
	}
	if sent != maxQueue {
		t.Errorf("%d subjects were sent, want %d", sent, maxQueue)
	}
	s.Add(&trap, Act{Client: client, Share: 1})
	stop()
	if b := s.sent(t, nil); len(b.Deltas) != 0 {
		t.Errorf("nobody shares, and %+v waits", b)
	}
	s.Add(&trap, Act{Client: client, Share: 1})
	if b := s.sent(t, nil); len(b.Deltas) != 0 {
		t.Errorf("nobody shares, and %+v waits", b)
	}
}

// TestForgettingDropsWhatWaits proves that what an operator deletes is not sent afterwards.
func TestForgettingDropsWhatWaits(t *testing.T) {
	s := open(t, "", Options{})
	defer s.Share()()
	s.Add(&trap, Act{Client: client, Share: 1})
	s.sent(t, errors.New("away"))
	s.Add(&login, Act{Client: client, Share: 1})
	s.Forget(client)
	if b := s.sent(t, nil); len(b.Deltas) != 0 {
		t.Errorf("%+v", b)
	}
	late := State{
		Subject: netip.PrefixFrom(client, 32), Name: trap.Name, HalfLife: trap.HalfLife,
		Amount: Amount{Points: 60, Count: 1, Age: time.Second},
	}
	if s.Merge([]State{late}); s.Has(client) {
		t.Error("a message from before brings it back")
	}
	s.wait(time.Minute)
	late.Amount.Age = 0
	if s.Merge([]State{late}); s.points(client, &trap) != 60 {
		t.Error("what happened afterwards is not taken over")
	}
}

// TestMerge proves that the larger amount counts, in whatever order and however often states
// arrive, and that no state which no instance can have sent is taken.
func TestMerge(t *testing.T) {
	s := open(t, "", Options{})
	changes := 0
	defer s.Watch(func(netip.Addr) { changes++ })()
	state := State{
		Subject: netip.PrefixFrom(client, 32), Name: login.Name, HalfLife: login.HalfLife,
		Amount: Amount{Points: 12, Count: 8, Age: time.Hour},
	}
	for range 3 {
		if n := s.Merge([]State{state}); n != 0 || s.points(client, &login) != 6 {
			t.Errorf("%d unusable, %v points, want 6", n, s.points(client, &login))
		}
	}
	less := state
	less.Amount = Amount{Points: 5, Count: 4}
	s.Merge([]State{less})
	if changes != 1 || s.points(client, &login) != 6 {
		t.Errorf("%d changes, %v points: a smaller amount counts", changes, s.points(client, &login))
	}
	more := state
	more.Amount = Amount{Points: 9, Count: 1}
	s.Merge([]State{more, state})
	var subject Subject
	s.Find(client, &subject)
	if got := subject.Find(IDOf(login.Name)); s.points(client, &login) != 9 || got.CountAt(&login, s.time) != 4 {
		t.Errorf("%+v, want 9 points and 4 violations", got)
	}
	if r := s.Add(&login, Act{Client: client, Share: 1}); r.Points != 12 {
		t.Errorf("%+v, want 12 points", r)
	}
	for i := range 2 * MaxNames {
		weak := State{
			Subject: state.Subject, Name: fmt.Sprint("weak", i), HalfLife: time.Hour, Amount: Amount{Points: 1, Count: 1},
		}
		s.Merge([]State{weak})
	}
	if got := s.points(client, &login); got != 12 {
		t.Errorf("%v points are left after further names, want 12", got)
	}
	before := changes
	for name, change := range map[string]func(*State){
		"no subject":    func(s *State) { s.Subject = netip.Prefix{} },
		"a network":     func(s *State) { s.Subject = netip.MustParsePrefix("203.0.113.0/24") },
		"an IPv6 /128":  func(s *State) { s.Subject = netip.MustParsePrefix("2001:db8::1/128") },
		"host bits":     func(s *State) { s.Subject = netip.MustParsePrefix("2001:db8::1/64") },
		"reserved":      func(s *State) { s.Subject = netip.MustParsePrefix("10.0.0.1/32") },
		"no name":       func(s *State) { s.Name = "" },
		"no half-life":  func(s *State) { s.HalfLife = 0 },
		"too long":      func(s *State) { s.HalfLife = 1 << 62 },
		"NaN":           func(s *State) { s.Amount.Points = math.NaN() },
		"negative":      func(s *State) { s.Amount.Points = -1 },
		"endless":       func(s *State) { s.Amount.Count = math.Inf(1) },
		"of the future": func(s *State) { s.Amount.Age = -time.Hour },
		"before 1970":   func(s *State) { s.Amount.Age = 200 * 365 * 24 * time.Hour },
	} {
		bad := state
		bad.Amount.Points = 60
		if change(&bad); s.Merge([]State{bad}) != 1 {
			t.Errorf("%s is taken", name)
		}
	}
	if changes != before {
		t.Error("something has changed")
	}
}

// TestCrowdsAreNotShared proves that a network which has its share of the table does not fill that
// of the others either.
func TestCrowdsAreNotShared(t *testing.T) {
	s := open(t, "", Options{})
	defer s.Share()()
	for i := range uint32(20_000) {
		s.Add(&trap, Act{Client: v6(i), Share: 1})
	}
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	if n := len(s.queue.waiting); n > spread*ofNetwork {
		t.Errorf("%d subjects of one network are sent, want %d at most", n, spread*ofNetwork)
	}
}
