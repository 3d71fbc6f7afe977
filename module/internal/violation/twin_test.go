package violation

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// twin is a store that keeps every violation and adds them up anew each time.
type twin map[netip.Addr]map[string][]counted

type counted struct {
	at     time.Time
	points float64 // that it cost
}

func (w twin) count(addr netip.Addr, t *Terms, now time.Time) (sum float64) {
	for _, c := range w[addr][t.Name] {
		sum += math.Exp2(-float64(now.Sub(c.at)) / float64(t.HalfLife))
	}
	return sum
}

func (w twin) points(addr netip.Addr, t *Terms, now time.Time) (sum float64) {
	var last time.Time
	for _, c := range w[addr][t.Name] {
		sum = sum*math.Exp2(-float64(c.at.Sub(last))/float64(t.HalfLife)) + c.points
		sum, last = min(sum, t.Most), c.at
	}
	return sum * math.Exp2(-float64(now.Sub(last))/float64(t.HalfLife))
}

// TestTwin proves that points and counts are what adding up each single violation gives, but for
// rounding; and that of paths never more count than there were.
func TestTwin(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := &tester{time: noon}
		s.Store = Open("", Options{Subjects: 64, Now: func() time.Time { return s.time }})
		defer func() { _ = s.Close() }()
		model := twin{}
		addrs := []netip.Addr{client, netip.MustParseAddr("203.0.113.6"), netip.MustParseAddr("2001:db8::")}
		terms := []*Terms{&login, &trap, &notFound}
		r.Repeat(map[string]func(*rapid.T){
			"violate": func(r *rapid.T) {
				addr, terms := rapid.SampledFrom(addrs).Draw(r, "addr"), rapid.SampledFrom(terms).Draw(r, "terms")
				share := rapid.SampledFrom([]float64{1, .25}).Draw(r, "share")
				before := model.count(addr, terms, s.time)
				result := s.Add(terms, Act{Client: addr, At: s.time, Share: share})
				if !result.Counted {
					r.Fatal("not counted")
				}
				cost := 0.0
				if before+1 >= float64(terms.Free)+.5 {
					cost = terms.Points * share
				}
				if math.Abs(before+1-float64(terms.Free)-.5) < .01 {
					r.Skip("so near to the last free one that rounding decides")
				}
				if model[addr] == nil {
					model[addr] = map[string][]counted{}
				}
				model[addr][terms.Name] = append(model[addr][terms.Name], counted{at: s.time, points: cost})
			},
			"wait": func(r *rapid.T) {
				s.wait(time.Duration(rapid.IntRange(1, 4000).Draw(r, "seconds")) * time.Second)
			},
			"forget": func(r *rapid.T) {
				addr := rapid.SampledFrom(addrs).Draw(r, "addr")
				if got := s.Forget(addr); got != (len(model[addr]) > 0) {
					r.Fatalf("forgotten: %t", got)
				}
				delete(model, addr)
			},
			"": func(r *rapid.T) {
				for _, addr := range addrs {
					for _, terms := range terms {
						want, got := model.points(addr, terms, s.time), s.points(addr, terms)
						if math.Abs(got-want) > .02 {
							r.Fatalf("%s has %v points for %s, want %v", addr, got, terms.Name, want)
						}
					}
				}
			},
		})
	})
}

// TestPaths proves that the same path is counted once in a half-life, and that of many paths nearly
// all count.
func TestPaths(t *testing.T) {
	s := open(t, "", Options{})
	s.seed = seed{1} // with others, two of the paths could have the same bit
	counted := func(path string) bool {
		return s.Add(&notFound, Act{Client: client, Path: path, Share: 1}).Counted
	}
	if !counted("/a") || counted("/a") || !counted("/b") {
		t.Error("the same path counts twice, or another one does not")
	}
	if r := s.Add(&notFound, Act{Client: client, Path: "/a", Share: 1}); r.Ignored != IgnoredRepeated {
		t.Errorf("%+v", r)
	}
	s.wait(notFound.HalfLife - time.Second)
	if counted("/a") {
		t.Error("it counts again within the half-life")
	}
	s.wait(2 * time.Second)
	if !counted("/a") || counted("/a") {
		t.Error("it does not count again after the half-life, once")
	}
	s.Forget(client)
	n := 0
	for i := range 40 {
		if counted(fmt.Sprint("/", i)) {
			n++
		}
	}
	if n < 28 {
		t.Errorf("%d of 40 paths count", n)
	}
	s.Forget(client)
	n = 0
	for i := range 1000 { // a scanner, however many are free
		if counted(fmt.Sprint("/", i)) {
			n++
		}
	}
	if n < 600 {
		t.Errorf("%d of 1000 paths count", n)
	}
	s.Forget(client)
	long := strings.Repeat("/a", 4000)
	if !counted(long+"/admin") || !counted(long+"/phpmyadmin") || counted(long+"/admin") {
		t.Error("long paths are taken for the same")
	}
}

// TestTermsOfNow proves that changed terms act at once.
func TestTermsOfNow(t *testing.T) {
	s := open(t, "", Options{})
	s.Add(&trap, Act{Client: client, Share: 1})
	changed := trap
	changed.HalfLife, changed.Most = time.Hour, 40
	s.wait(time.Hour)
	if got := s.points(client, &changed); got != 30 {
		t.Errorf("%v points with a half-life of an hour, want 30", got)
	}
	s.time = noon
	if got := s.points(client, &changed); got != 40 {
		t.Errorf("%v points, and 40 are the most", got)
	}
}

// TestClock proves that what lies in the future is not believed, and that it is believed once it
// does not.
func TestClock(t *testing.T) {
	s := open(t, "", Options{})
	s.wait(24 * time.Hour)
	s.Add(&trap, Act{Client: client, Share: 1})
	s.wait(-24 * time.Hour)
	if got := s.points(client, &trap); got != 0 {
		t.Errorf("a violation of tomorrow gives %v points", got)
	}
	s.wait(24*time.Hour - time.Minute) // as far as clocks differ
	if got := s.points(client, &trap); got != 60 {
		t.Errorf("%v points a minute before", got)
	}
	s.Forget(client)
	s.Add(&trap, Act{Client: client, Share: 1, At: s.time.Add(time.Hour)})
	s.Add(&login, Act{Client: client, Share: 1, At: s.time.Add(-time.Hour)})
	var subject Subject
	s.Find(client, &subject)
	if at := subject.Find(IDOf("trap")).Last; int64(at) != s.time.Unix() {
		t.Errorf("a violation that is said to be of the future is of %d", at)
	}
	if n := subject.Find(IDOf("login_failed")).Count; n != 500 {
		t.Errorf("one of an hour ago counts %d thousandths", n)
	}
}

// TestNames proves that of too many names those with the fewest points are forgotten.
func TestNames(t *testing.T) {
	s := open(t, "", Options{})
	for i := range 2 * MaxNames {
		terms := Terms{Name: fmt.Sprint("v", i), Points: float64(1 + i%MaxNames), HalfLife: time.Hour, Most: 60}
		s.Add(&terms, Act{Client: client, Share: 1})
	}
	var subject Subject
	s.Find(client, &subject)
	total := 0.0
	for _, slot := range subject.Slots {
		total += float64(slot.Points) / 1000
	}
	if want := 6 + 6 + 5.0 + 5 + 4 + 3; total < want {
		t.Errorf("%v points are left, want those of the strongest: %v", total, want)
	}
}

// TestGoodAnswers proves that good answers are counted for clients in the table only, and halve
// each day.
func TestGoodAnswers(t *testing.T) {
	s := open(t, "", Options{})
	var subject Subject
	s.CountGood(client)
	if s.Find(client, &subject) {
		t.Fatal("a client without violations is in the table")
	}
	s.Add(&login, Act{Client: client, Share: 1})
	for range 100 {
		s.CountGood(client)
	}
	s.Add(&login, Act{Client: client, Share: 1})
	for _, want := range []uint32{100, 50, 25} {
		if s.Find(client, &subject); subject.Good != want {
			t.Errorf("%d good answers, want %d", subject.Good, want)
		}
		s.wait(24 * time.Hour)
	}
	s.CountGood(client)
	if s.Find(client, &subject); subject.Good != 13 {
		t.Errorf("%d good answers, want 12 and one", subject.Good)
	}
}

// TestForgetUntil proves that what was done after a deletion stays.
func TestForgetUntil(t *testing.T) {
	s := open(t, "", Options{})
	var changes int
	defer s.Watch(func(netip.Addr) { changes++ })()
	s.Add(&trap, Act{Client: client, Share: 1})
	s.wait(time.Hour)
	s.Add(&login, Act{Client: client, Share: 1})
	if !s.ForgetUntil(client, s.time.Add(-time.Minute)) || s.ForgetUntil(client, s.time.Add(-time.Minute)) {
		t.Error("not forgotten, or twice")
	}
	var subject Subject
	if s.Find(client, &subject); subject.Slots[0].ID != IDOf("login_failed") || subject.Slots[1] != (Slot{}) {
		t.Errorf("left: %+v", subject.Slots)
	}
	if !s.Forget(client) || s.Has(client) || s.Status().Clients != 0 || changes != 4 {
		t.Errorf("left: %+v, %d changes", s.Status(), changes)
	}
	s.wait(24 * time.Hour)
	s.Add(&trap, Act{Client: client, Share: 1})
	s.wait(-24 * time.Hour) // the clock was ahead
	if !s.Forget(client) || s.Has(client) {
		t.Error("what was seen while the clock was ahead is not forgotten, and counts in a day")
	}
}
