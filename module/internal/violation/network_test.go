package violation

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

var nearbyDefaults = NearbySettings{From: 3, Points: 10}

// pointsOf returns what the neighbours of an address cost it.
func (s *site) pointsOf(addr netip.Addr, facts reputation.Facts) (points float64) {
	for _, e := range s.AddEvidence(nil, addr, facts, record.Seconds(s.now)) {
		if e.Source.Name == reputation.SourceNeighbourhood {
			points += e.Points()
		}
	}
	return points
}

// newNeighbours returns a site that follows its offenders, all of whom are in one autonomous system.
func newNeighbours(t *testing.T, settings NearbySettings) *site {
	s := newSite(t, NewNeighbourhood(settings))
	t.Cleanup(s.Follow(func(netip.Addr) uint32 { return 64500 }))
	return s
}

func TestNeighbours(t *testing.T) {
	in := func(network string, n int) (all []netip.Addr) {
		addr := netip.MustParsePrefix(network).Addr()
		for range n {
			all = append(all, addr)
			if addr.Is4() {
				addr = addr.Next()
			} else {
				b := addr.As16()
				b[7]++ // the next /64
				addr = netip.AddrFrom16(b)
			}
		}
		return all
	}
	// one offender in each of n networks of the autonomous system
	spread := func(n int) (all []netip.Addr) {
		for i := range n {
			all = append(all, netip.AddrFrom4([4]byte{198, 18, byte(i), 1}))
		}
		return all
	}
	nature := func(k reputation.Kind) reputation.Facts {
		return reputation.Facts{Nature: reputation.Nature{}.With(k, true)}
	}
	for _, tc := range []struct {
		name      string
		settings  NearbySettings
		offenders []netip.Addr
		of        string
		facts     reputation.Facts
		want      float64
	}{
		{"nobody", nearbyDefaults, nil, "203.0.113.200", reputation.Facts{}, 0},
		{"two", nearbyDefaults, in("203.0.113.0/24", 2), "203.0.113.200", reputation.Facts{}, 0},
		{"three", nearbyDefaults, in("203.0.113.0/24", 3), "203.0.113.200", reputation.Facts{}, 3.75},
		{"three, of whom it is one", nearbyDefaults, in("203.0.113.0/24", 3), "203.0.113.1", reputation.Facts{}, 0},
		{"four, of whom it is one", nearbyDefaults, in("203.0.113.0/24", 4), "203.0.113.1", reputation.Facts{}, 3.75},
		{"eight", nearbyDefaults, in("203.0.113.0/24", 8), "203.0.113.200", reputation.Facts{}, 10},
		{"the whole network", nearbyDefaults, in("203.0.113.0/24", 256), "203.0.113.200", reputation.Facts{}, 10},
		{"of another network", nearbyDefaults, in("203.0.113.0/24", 8), "203.0.112.200", reputation.Facts{}, 0},
		{"a mobile carrier", nearbyDefaults, in("203.0.113.0/24", 8), "203.0.113.200", nature(reputation.NatureMobile), 0},
		{
			"a mobile carrier that counts", NearbySettings{From: 3, Points: 10, Mobile: true}, in("203.0.113.0/24", 8), "203.0.113.200",
			nature(reputation.NatureMobile), 10,
		},
		{"a relay", nearbyDefaults, in("203.0.113.0/24", 8), "203.0.113.200", nature(reputation.NatureRelay), 0},
		{"hosting", nearbyDefaults, in("203.0.113.0/24", 8), "203.0.113.200", nature(reputation.NatureHosting), 10},
		{"six or more", NearbySettings{From: 6, Points: 16}, in("203.0.113.0/24", 6), "203.0.113.200", reputation.Facts{}, 12},
		{"an IPv6 /48", nearbyDefaults, in("2001:db8:1::/48", 4), "2001:db8:1:ff::1", reputation.Facts{}, 5},
		{"its own /64", nearbyDefaults, in("2001:db8:1::/48", 3), "2001:db8:1::ffff", reputation.Facts{}, 0},
		{"the next /48", nearbyDefaults, in("2001:db8:1::/48", 4), "2001:db8:2::1", reputation.Facts{}, 0},
		{"twelve networks", nearbyDefaults, spread(12), "203.0.113.200", reputation.Facts{ASN: 64500}, 3.333},
		{"eleven networks", nearbyDefaults, spread(11), "203.0.113.200", reputation.Facts{ASN: 64500}, 0},
		{"twelve networks of another", nearbyDefaults, spread(12), "203.0.113.200", reputation.Facts{ASN: 64501}, 0},
		{"twelve networks, its own among them", nearbyDefaults, spread(12), "198.18.1.77", reputation.Facts{ASN: 64500}, 0},
		{"one network is not all of them", nearbyDefaults, in("203.0.113.0/24", 200), "198.18.1.77", reputation.Facts{ASN: 64500}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newNeighbours(t, tc.settings)
			for _, addr := range tc.offenders {
				s.violate(addr, &trapTerms, 1)
			}
			addr := netip.MustParseAddr(tc.of)
			if got := s.pointsOf(addr, tc.facts); got != tc.want {
				t.Errorf("%v points, want %v", got, tc.want)
			}
			if tc.want > 0 && !s.Knows(addr, tc.facts.ASN) {
				t.Error("nothing is known of it")
			}
		})
	}
}

// TestNeighboursEarnTheirPoints: few points are no offence, a day later it is forgotten, and so is what an operator forgives.
func TestNeighboursEarnTheirPoints(t *testing.T) {
	s := newNeighbours(t, nearbyDefaults)
	for i := range 8 {
		s.violate(neighbour(i), &loginTerms, 7) // three of which cost 3 points
	}
	if got := s.pointsOf(visitor, reputation.Facts{}); got != 0 {
		t.Errorf("%v points for neighbours with 9", got)
	}
	for i := range 4 {
		s.violate(neighbour(i), &loginTerms, 1)
	}
	if got := s.pointsOf(visitor, reputation.Facts{}); got != 5 {
		t.Errorf("%v points for four offenders", got)
	}
	s.now = s.now.Add(23 * time.Hour)
	if got := s.pointsOf(visitor, reputation.Facts{}); got != 5 {
		t.Errorf("%v points within a day, though what they did has decayed", got)
	}
	near := s.Neighbours(visitor, 64500, s.now)
	if near.Network != netip.MustParsePrefix("203.0.113.0/24") || near.Offenders != 4 || near.Networks != 0 || near.Last.IsZero() {
		t.Errorf("%+v", near)
	}
	s.store.Forget(neighbour(0))
	if got := s.pointsOf(visitor, reputation.Facts{}); got != 3.75 {
		t.Errorf("%v points for three offenders, one of the four is forgiven", got)
	}
	s.now = s.now.Add(2 * time.Hour)
	if got := s.pointsOf(visitor, reputation.Facts{}); got != 0 {
		t.Errorf("%v points after a day", got)
	}
}

// TestMissingPagesMakeNoOffender: an office whose programs look for files that are not there is no bad neighbourhood.
func TestMissingPagesMakeNoOffender(t *testing.T) {
	s := newNeighbours(t, nearbyDefaults)
	for i := range 8 {
		s.violate(neighbour(i), &missingTerms, 200)
	}
	if got := s.pointsOf(visitor, reputation.Facts{}); got != 0 {
		t.Errorf("%v points for neighbours who asked for missing pages", got)
	}
}

// TestNeighboursAfterARestart: another configuration, or another process, has the same ones.
func TestNeighboursAfterARestart(t *testing.T) {
	s := newNeighbours(t, nearbyDefaults)
	for i := range 4 {
		s.violate(neighbour(i), &loginTerms, 10)
	}
	s.now = s.now.Add(10 * time.Hour) // none of them has any points left
	after := &site{now: s.now, Evidence: NewEvidence(s.store, allTerms, NewNeighbourhood(nearbyDefaults))}
	if after.pointsOf(visitor, reputation.Facts{}) != 0 {
		t.Error("it knows before it follows")
	}
	stop := after.Follow(noASN)
	if got := after.pointsOf(visitor, reputation.Facts{}); got != 5 {
		t.Errorf("%v points", got)
	}
	stop()
	s.violate(neighbour(9), &trapTerms, 1)
	if after.pointsOf(visitor, reputation.Facts{}) != 5 || s.pointsOf(visitor, reputation.Facts{}) != 6.25 {
		t.Error("it follows after its end, or the other one does not")
	}
}

// TestNeighboursOnOtherInstances: what others report counts as what was seen here does.
func TestNeighboursOnOtherInstances(t *testing.T) {
	s := newNeighbours(t, nearbyDefaults)
	var states []State
	for i := range 4 {
		states = append(states, State{
			Subject: reputation.Subject(neighbour(i)), Name: trapTerms.Name, Amount: Amount{Points: 60, Count: 1, Age: time.Hour},
			HalfLife: trapTerms.HalfLife,
		})
	}
	if n := s.store.Merge(states); n != 0 {
		t.Fatalf("%d states are unusable", n)
	}
	if got := s.pointsOf(visitor, reputation.Facts{}); got != 5 {
		t.Errorf("%v points for four offenders elsewhere", got)
	}
}

// TestNeighboursAreBounded: networks with many offenders stay, however many others have one.
func TestNeighboursAreBounded(t *testing.T) {
	n, now := NewNeighbourhood(nearbyDefaults), record.Seconds(start)
	for i := range 4 {
		n.note(neighbour(i), 0, now, now)
	}
	for i := range uint32(5_000) {
		n.note(netip.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), byte(i)}).Next(), 0, now, now)
		n.note(netip.AddrFrom4([4]byte{byte(1 + i>>16), byte(i >> 8), byte(i), 1}), 0, now, now)
	}
	if others, _ := n.count(networkOf(visitor), now); others != 4 {
		t.Errorf("%d of 4 are left", others)
	}
}

// TestNeighboursTwin holds the counts against those of a plain map, while there is room.
func TestNeighboursTwin(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n, now := NewNeighbourhood(nearbyDefaults), record.Seconds(start)
		twin := map[place]map[uint32]uint32{}
		addr := rapid.Custom(func(rt *rapid.T) netip.Addr {
			last := rapid.Byte().Draw(rt, "last")
			if rapid.Bool().Draw(rt, "IPv6") {
				return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 5: last & 1, 7: last % 5})
			}
			return netip.AddrFrom4([4]byte{192, 0, last & 1, last % 20})
		})
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			who, ago := addr.Draw(rt, "who"), rapid.Uint32Range(0, 2*nearbyFor).Draw(rt, "ago")
			p := networkOf(who)
			of := place{key: p.key}
			if twin[of] == nil {
				twin[of] = map[uint32]uint32{}
			}
			if rapid.IntRange(0, 5).Draw(rt, "forget") == 0 {
				n.forget(who, 0)
				delete(twin[of], p.who)
				continue
			}
			n.note(who, 0, now-ago, now)
			if ago < nearbyFor {
				twin[of][p.who] = max(twin[of][p.who], now-ago)
			}
		}
		for range 20 {
			p := networkOf(addr.Draw(rt, "client"))
			want := 0
			for who := range twin[place{key: p.key}] {
				if who != p.who {
					want++
				}
			}
			if got, _ := n.count(p, now); got != want {
				rt.Fatalf("%d others, want %d", got, want)
			}
		}
	})
}

// TestAClockThatIsAheadMakesNoOffenders, nor one that was.
func TestAClockThatIsAheadMakesNoOffenders(t *testing.T) {
	n, now := NewNeighbourhood(nearbyDefaults), record.Seconds(start)
	for i := range 8 {
		n.note(neighbour(i), 64500, now+3600, now)
	}
	if others, _ := n.count(networkOf(visitor), now); others != 0 || n.knows(visitor, 64500) {
		t.Errorf("%d others", others)
	}
}

// TestNeighboursWhileTheyChange: readers see a network's own offenders or fewer, never another network's.
func TestNeighboursWhileTheyChange(t *testing.T) {
	n, now := NewNeighbourhood(nearbyDefaults), record.Seconds(start)
	var readers sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if others, _ := n.count(networkOf(visitor), now); others > 1 {
					t.Errorf("%d others; there is one at most", others)
					return
				}
			}
		})
	}
	for i := range uint32(4_000) {
		n.note(neighbour(0), 0, now, now) // comes back whenever it was replaced
		for last := range byte(3) {
			n.note(netip.AddrFrom4([4]byte{100, byte(i >> 8), byte(i), 1 + last}), 0, now, now)
		}
	}
	close(done)
	readers.Wait()
}
