package violation

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// The terms of the documentation.
var (
	trapTerms  = Terms{Name: "trap", Points: 60, HalfLife: 7 * 24 * time.Hour, Most: 60, Category: reputation.Scanner}
	loginTerms = Terms{
		Name: "login_failed", Points: 3, HalfLife: time.Hour, Free: 4, Most: 60, Category: reputation.BruteForce,
	}
	missingTerms = Terms{Name: "not_found", Points: .5, HalfLife: 10 * time.Minute, Free: 20, Most: 10, Category: reputation.Scanner}
	allTerms     = []Terms{trapTerms, loginTerms, missingTerms}

	visitor = netip.MustParseAddr("203.0.113.5")
	start   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

// site is a store with a clock, and what it says.
type site struct {
	*Evidence
	now time.Time
}

func newSite(t interface{ Cleanup(func()) }, nearby *Neighbourhood) *site {
	s := &site{now: start}
	store := Open("", Options{Now: func() time.Time { return s.now }})
	t.Cleanup(func() { _ = store.Close() })
	s.Evidence = NewEvidence(store, allTerms, nearby)
	return s
}

// violate counts n violations, two seconds apart. Pages that are missing are other ones each time.
func (s *site) violate(addr netip.Addr, terms *Terms, n int) {
	for i := range n {
		act := Act{Client: addr, At: s.now, Share: 1}
		if terms == &missingTerms {
			act.Path = fmt.Sprint("/", i)
		}
		s.store.Add(terms, act)
		s.now = s.now.Add(2 * time.Second)
	}
}

// judge returns the score of an address of which nothing else is known, in percent.
func (s *site) judge(addr netip.Addr, facts reputation.Facts) (float64, []reputation.Reason) {
	return score.Judge(s.AddEvidence(nil, addr, facts, record.Seconds(s.now)), nil)
}

// TestScoresThatViolationsMustGive are the cases of the documentation in which nothing else is known of the client.
func TestScoresThatViolationsMustGive(t *testing.T) {
	for _, tc := range []struct {
		name     string
		do       func(*site)
		min, max float64 // percent
	}{
		{"nothing", func(*site) {}, .99, .991},
		{"six pages that are not there", func(s *site) { s.violate(visitor, &missingTerms, 6) }, 0, 1.99},
		{"any number of pages that are not there", func(s *site) { s.violate(visitor, &missingTerms, 500) }, 5, 15},
		{"three failed log-ins", func(s *site) { s.violate(visitor, &loginTerms, 3) }, 0, 1.99},
		{"ten failed log-ins", func(s *site) { s.violate(visitor, &loginTerms, 10) }, 30, 50},
		{"ten failed log-ins, three hours ago", func(s *site) {
			s.violate(visitor, &loginTerms, 10)
			s.now = s.now.Add(3 * time.Hour)
		}, 1, 2},
		{"a trap was touched", func(s *site) { s.violate(visitor, &trapTerms, 1) }, 95.5, 100},
		{"a trap was touched a week ago", func(s *site) {
			s.violate(visitor, &trapTerms, 1)
			s.now = s.now.Add(7 * 24 * time.Hour)
		}, 85, 95},
		{"log-ins and missing pages", func(s *site) {
			s.violate(visitor, &missingTerms, 40)
			s.violate(visitor, &loginTerms, 10)
		}, 60, 86.3}, // 80, or up to `most`: paths are told apart by a hash that differs in each process
		{"a neighbour of eight offenders", func(s *site) {
			for i := range 8 {
				s.violate(neighbour(i), &trapTerms, 1)
			}
		}, 5, 14.4},
		{"a neighbour of two hundred offenders", func(s *site) {
			for i := range 200 {
				s.violate(neighbour(i), &trapTerms, 1)
			}
		}, 5, 14.4},
		{"a neighbour of two offenders", func(s *site) {
			for i := range 2 {
				s.violate(neighbour(i), &trapTerms, 1)
			}
		}, .99, .991},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSite(t, NewNeighbourhood(NearbySettings{From: 3, Points: 10}))
			t.Cleanup(s.Follow(noASN))
			tc.do(s)
			if percent, reasons := s.judge(visitor, reputation.Facts{}); percent < tc.min || percent > tc.max {
				t.Errorf("%.3f %%, want %v to %v: %+v", percent, tc.min, tc.max, reasons)
			}
		})
	}
}

func noASN(netip.Addr) uint32 { return 0 }

// neighbour returns another client of the visitor's network.
func neighbour(i int) netip.Addr { return netip.AddrFrom4([4]byte{203, 0, 113, byte(10 + i)}) }

// TestReasonsOfViolations: each name is a reason of its own, with the age of the newest violation, by which its points do
// not decay once more.
func TestReasonsOfViolations(t *testing.T) {
	s := newSite(t, nil)
	s.violate(visitor, &loginTerms, 10) // six of which cost 3 points
	s.violate(visitor, &missingTerms, 30)
	s.now = s.now.Add(time.Hour)
	percent, reasons := s.judge(visitor, reputation.Facts{})
	points := map[string]reputation.Reason{}
	for _, r := range reasons {
		points[r.Source] = r
	}
	login := points["own.login_failed"]
	if login.Points < 8.7 || login.Points > 9 || login.Age < time.Hour || login.Age > time.Hour+2*time.Minute ||
		login.Categories != reputation.CategoriesOf(reputation.BruteForce) {
		t.Errorf("half of 18 points after its half-life: %+v", login)
	}
	if len(reasons) != 1 { // six half-lives have left .08 points of not_found
		t.Errorf("%.2f %%: %+v", percent, reasons)
	}
	seen := s.Seen(visitor, s.now)
	if len(seen) != 2 || seen[0].Name != "login_failed" || seen[0].Count != 5 || seen[0].Points != login.Points && seen[0].Points < 8.7 {
		t.Errorf("%+v", seen)
	}
	if s.Seen(neighbour(1), s.now) != nil || s.Knows(neighbour(1), 0) || !s.Knows(visitor, 0) {
		t.Error("somebody else is known")
	}
}

// TestViolationsWithoutTerms: what the configuration no longer knows says nothing.
func TestViolationsWithoutTerms(t *testing.T) {
	s := newSite(t, nil)
	s.violate(visitor, &Terms{Name: "removed", Points: 60, HalfLife: time.Hour, Most: 60}, 1)
	if _, reasons := s.judge(visitor, reputation.Facts{}); len(reasons) != 0 || len(s.Seen(visitor, s.now)) != 0 {
		t.Errorf("%+v", reasons)
	}
}

// TestEvidenceOfViolations: it is never more than the most of each name, it decays, and one more violation never lowers it.
func TestEvidenceOfViolations(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newSite(rt, nil)
		sum := func() (points float64) {
			for _, e := range s.AddEvidence(nil, visitor, reputation.Facts{}, record.Seconds(s.now)) {
				if e.Points() > e.Source.Weight || e.Severity > 1 || e.Severity <= 0 || e.Age < 0 {
					rt.Fatalf("%+v", e)
				}
				points += e.Points()
			}
			return points
		}
		for range rapid.IntRange(1, 20).Draw(rt, "violations") {
			terms := rapid.SampledFrom(allTerms).Draw(rt, "name")
			before := sum()
			s.store.Add(&terms, Act{Client: visitor, At: s.now, Share: rapid.Float64Range(0, 1).Draw(rt, "share")})
			after := sum()
			if after < before-.1-.01 { // what is below the least that counts, and rounding
				rt.Fatalf("%s lowers %v to %v", terms.Name, before, after)
			}
			s.now = s.now.Add(time.Duration(rapid.IntRange(0, 3600).Draw(rt, "later")) * time.Second)
			if later := sum(); later > after+.01 {
				rt.Fatalf("%v became %v with time", after, later)
			}
		}
	})
}

func TestEvidenceDoesNotAllocate(t *testing.T) {
	if testenv.Race {
		t.Skip("the race detector allocates")
	}
	s := newSite(t, NewNeighbourhood(NearbySettings{From: 3, Points: 10}))
	t.Cleanup(s.Follow(func(netip.Addr) uint32 { return 64500 }))
	for i := range 8 {
		s.violate(neighbour(i), &trapTerms, 1)
	}
	s.violate(visitor, &loginTerms, 10)
	room, now := make([]score.Evidence, 0, s.Most()), record.Seconds(s.now)
	facts := reputation.Facts{ASN: 64500}
	for _, addr := range []netip.Addr{visitor, neighbour(1), netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8::1")} {
		if n := testing.AllocsPerRun(100, func() {
			if s.Knows(addr, 64500) {
				room = s.AddEvidence(room[:0], addr, facts, now)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", addr, n)
		}
	}
}

// What a request costs of whose client nothing is known, and of an offender's.
func BenchmarkEvidence(b *testing.B) {
	for _, nearby := range []bool{false, true} {
		s := newSite(b, NewNeighbourhood(NearbySettings{From: 3, Points: 10}))
		if nearby {
			b.Cleanup(s.Follow(func(netip.Addr) uint32 { return 64500 }))
		}
		for i := range 8 {
			s.violate(neighbour(i), &trapTerms, 1)
		}
		room, now, facts := make([]score.Evidence, 0, s.Most()), record.Seconds(s.now), reputation.Facts{ASN: 64501}
		for name, addr := range map[string]netip.Addr{"unknown": netip.MustParseAddr("198.51.100.1"), "offender": neighbour(1)} {
			b.Run(fmt.Sprintf("nearby=%t/%s", nearby, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if s.Knows(addr, facts.ASN) {
						room = s.AddEvidence(room[:0], addr, facts, now)
					}
				}
			})
		}
	}
}
