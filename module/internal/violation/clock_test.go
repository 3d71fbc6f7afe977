package violation

import (
	"math"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// TestNothingIsPoisoned holds that no terms, no act, no state of another instance and no jump of the clock make points
// that are no number, negative, or more than the terms allow, and that a trap counts whatever came before it.
func TestNothingIsPoisoned(t *testing.T) {
	odd := rapid.SampledFrom([]float64{
		0, -1, 1, 1e-9, .01, 60, 1048, 1e9, 1e300, math.Inf(1), math.Inf(-1), math.NaN(), math.SmallestNonzeroFloat64,
	})
	spans := rapid.SampledFrom([]time.Duration{
		0, -1, 1, time.Second, time.Minute, 4 * time.Minute, 6 * time.Minute, time.Hour, 180 * 24 * time.Hour,
		50 * 365 * 24 * time.Hour, math.MaxInt64, math.MinInt64,
	})
	rapid.Check(t, func(rt *rapid.T) {
		now := noon
		s := Open("", Options{Subjects: 1, Now: func() time.Time { return now }})
		defer s.Close()
		defer s.Share()()
		terms := []Terms{trap, login, {
			Name: "odd", Points: rapid.SampledFrom([]float64{.01, 1, 60}).Draw(rt, "points"), Most: 60,
			HalfLife: rapid.SampledFrom([]time.Duration{time.Second, time.Hour, 180 * 24 * time.Hour}).Draw(rt, "half-life"),
			Free:     rapid.SampledFrom([]int{0, 1, 10_000}).Draw(rt, "free"),
		}}
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			kind := &terms[rapid.IntRange(0, 2).Draw(rt, "kind")]
			switch rapid.IntRange(0, 3).Draw(rt, "step") {
			case 0:
				s.Add(kind, Act{Client: client, At: now.Add(spans.Draw(rt, "at")), Share: odd.Draw(rt, "share"), Path: "/"})
			case 1:
				s.Merge([]State{{
					Subject: reputation.Subject(client), Name: kind.Name, HalfLife: spans.Draw(rt, "theirs"),
					Amount: Amount{Points: odd.Draw(rt, "points"), Count: odd.Draw(rt, "count"), Age: spans.Draw(rt, "age")},
				}})
			case 2:
				now = now.Add(spans.Filter(func(d time.Duration) bool { return d.Abs() < math.MaxInt64/2 }).Draw(rt, "jump"))
				if now.Year() < 1980 || now.Year() > 2080 {
					now = noon
				}
			case 3:
				s.table.sweep(now)
			}
			check(rt, s, terms, now)
		}
		s.Add(&trap, Act{Client: client, Share: 1})
		if got := (&tester{Store: s, time: now}).points(client, &trap); got != 60 {
			rt.Errorf("a trap gives %v points", got)
		}
	})
}

func check(rt *rapid.T, s *Store, terms []Terms, now time.Time) {
	s.Each(func(_ netip.Addr, subject *Subject) {
		for i := range terms {
			slot := subject.Find(IDOf(terms[i].Name))
			if slot == nil {
				continue
			}
			points, count := slot.PointsAt(&terms[i], now), slot.CountAt(&terms[i], now)
			if !(points >= 0 && points <= 60) || count < 0 || count > 1049 {
				rt.Fatalf("%s: %v points, %d violations", terms[i].Name, points, count)
			}
		}
		if w := subject.worth(now); !(w >= 0) || math.IsInf(w, 0) {
			rt.Fatalf("it is worth %v", w)
		}
	})
	for _, d := range s.queue.take(now).Deltas {
		for _, n := range []float64{d.Added.Points, d.Added.Count, d.Base.Points, d.Base.Count} {
			if !(n >= 0) || math.IsInf(n, 0) {
				rt.Fatalf("%v is sent", n)
			}
		}
		if d.Added.Age < 0 || d.Base.Age < 0 {
			rt.Fatalf("what happens later is sent: %+v", d)
		}
	}
}
