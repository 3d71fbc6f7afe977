package lookup

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// sights are the points of clients for what they did here, and those of whole autonomous systems.
type sights struct {
	clients map[netip.Addr]float64
	asns    map[uint32]float64
}

var (
	ownTrap    = score.OfOwn("trap", 60)
	neighbours = score.OfNeighbourhood(10)
)

func (s *sights) Knows(addr netip.Addr, asn uint32) bool {
	return s.clients[addr] != 0 || asn != 0 && s.asns[asn] != 0
}

func (s *sights) AddEvidence(evidence []score.Evidence, addr netip.Addr, facts reputation.Facts, _ uint32) []score.Evidence {
	if points := s.clients[addr]; points > 0 { // none at all are no reason
		evidence = append(evidence, score.Evidence{
			Source: &ownTrap, Severity: points / 60, Confidence: 1, Categories: reputation.CategoriesOf(reputation.Scanner), Age: time.Minute,
		})
	}
	if points := s.asns[facts.ASN]; points > 0 {
		evidence = append(evidence, score.Evidence{Source: &neighbours, Severity: points / 10, Confidence: 1})
	}
	return evidence
}

func (*sights) Nearby() *score.Source { return &neighbours }

func (*sights) Most() int { return 2 }

// TestOwnEvidence holds what the site has seen against what else is known of an address.
func TestOwnEvidence(t *testing.T) {
	lists, meanings := someLists()
	at := func(set byte) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, set}) }
	banned, private := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("10.0.0.1")
	seen := &sights{clients: map[netip.Addr]float64{
		client: 18, banned: 60, private: 60, at(1): 60, at(2): 60, at(3): 18, at(4): -1,
	}}
	answers := func(r reputation.Report) []Provider { return []Provider{asked("p", after(0, r, nil))} }
	silent := reputation.Report{}
	for _, tc := range []struct {
		name     string
		c        Config
		addr     netip.Addr
		claim    Claim
		score    uint8
		status   reputation.Status
		coverage float64
		reasons  string
	}{
		{"alone", Config{}, client, Claim{}, 39, reputation.Fresh, 1, "own.trap 18"},
		{"of another client", Config{}, at(9), Claim{}, 0, reputation.Unknown, 0, ""},
		{"beside lists", Config{Lists: lists, Meanings: meanings}, client, Claim{}, 39, reputation.Fresh, 1, "own.trap 18"},
		{"added to a list", Config{Lists: lists, Meanings: meanings}, at(3), Claim{}, 91, reputation.Fresh, 1, "own.trap 18, weak 12"},
		{"nothing that counts", Config{Lists: lists, Meanings: meanings}, at(4), Claim{}, 94, reputation.Fresh, 1, "drop 32.3"},
		{"exempt", Config{Lists: lists, Meanings: meanings}, at(1), Claim{}, 0, reputation.Exempt, 0, ""},
		{"denied", Config{Lists: lists, Meanings: meanings}, at(2), Claim{}, 100, reputation.Fresh, 1, "deny 60"},
		{"banned", Config{Overrides: overrides{banned: {true, false}}}, banned, Claim{}, 100, reputation.Fresh, 1, "ban 60"},
		{"private", Config{}, private, Claim{}, 0, reputation.Exempt, 0, ""},
		{"added to a service", Config{Providers: answers(clean)}, client, Claim{}, 28, reputation.Fresh, 1, "own.trap 18, p -2"},
		{"a fake bot", Config{}, client, fakeClaim, 94, reputation.Fresh, 1, "own.trap 18, fake_bot 14"},
		{"a verified bot", Config{}, client, verifiedClaim, 0, reputation.Fresh, 1, "verified_bots -60"},
		{"a verified bot that somebody drives", Config{}, client, drivenClaim, 0, reputation.Unknown, 0, ""},
		{"the service does not know", Config{Providers: answers(silent)}, client, Claim{}, 39, reputation.Fresh, 1, "own.trap 18"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tc.c.Own = seen
				e := newEngine(t, tc.c)
				v := e.LookupRequest(t.Context(), tc.addr, Request{Claim: tc.claim}, time.Second)
				if v.Score != tc.score || v.Status != tc.status || v.Coverage != tc.coverage || reasonsOf(&v) != tc.reasons {
					t.Errorf("%d, %s, coverage %v, %q; want %+v", v.Score, v.Status, v.Coverage, reasonsOf(&v), tc)
				}
				if x := e.ExplainRequest(tc.addr, Request{Claim: tc.claim}).Verdict; x.Score != v.Score || reasonsOf(&x) != tc.reasons {
					t.Errorf("explained as %d, %q", x.Score, reasonsOf(&x))
				}
				for _, r := range v.Reasons {
					if own := r.Source == ownTrap.Name; own != (r.Age == time.Minute) || own && !v.Categories.Has(reputation.Scanner) {
						t.Errorf("the reason %+v, of a verdict with categories %s", r, v.Categories)
					}
				}
			})
		})
	}
}

// TestOwnEvidenceWhileAServiceIsSlow: what the site has seen does not wait for others.
func TestOwnEvidenceWhileAServiceIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t, Config{
			Own:       &sights{clients: map[netip.Addr]float64{client: 18}},
			Providers: []Provider{asked("p", after(5*time.Second, abusive, nil))},
		})
		v := e.Lookup(t.Context(), client, time.Millisecond)
		if v.Status != reputation.Pending || v.Score != 39 || v.Coverage != .5 {
			t.Errorf("%+v", v)
		}
	})
}

// TestOwnEvidenceSavesQuota: where it leaves no doubt, alone or with lists, no answer could change what is known.
func TestOwnEvidenceSavesQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lists, meanings := someLists()
		listed := netip.MustParseAddr("192.0.2.3")
		seen := &sights{clients: map[netip.Addr]float64{client: 60, listed: 18}}
		observer := new(countingObserver)
		p := after(0, clean, nil)
		e := newEngine(t, Config{
			Own: seen, Lists: lists, Meanings: meanings, Providers: []Provider{asked("p", p)}, Observer: observer,
		})
		for _, addr := range []netip.Addr{client, listed} {
			v := e.Lookup(t.Context(), addr, time.Second)
			if p.calls.Load() != 0 || v.Status != reputation.Fresh || v.Coverage != 1 ||
				v.Origin != reputation.OriginList || !e.Explain(addr).Settled {
				t.Errorf("%s: %d calls, %+v", addr, p.calls.Load(), v)
			}
		}
		if n := observer.origins[reputation.OriginList].Load(); n != 2 {
			t.Errorf("%d look-ups are counted as answered here", n)
		}
		seen.clients[client] = 10
		v := e.Lookup(t.Context(), client, time.Second)
		if p.calls.Load() != 1 || reasonsOf(&v) != "own.trap 10, p -2" || e.Explain(client).Settled {
			t.Errorf("with few points: %d calls, %+v", p.calls.Load(), v)
		}
	})
}

// TestOwnEvidenceOfANetwork: databases know the network of an address, or else services do.
func TestOwnEvidenceOfANetwork(t *testing.T) {
	seen := &sights{asns: map[uint32]float64{64500: 5}}
	for name, c := range map[string]Config{
		"a database": {Databases: sameFacts{ASN: 64500}},
		"a service":  {Providers: []Provider{asked("p", after(0, reputation.Report{Facts: reputation.Facts{ASN: 64500}}, nil))}},
	} {
		synctest.Test(t, func(t *testing.T) {
			c.Own = seen
			e := newEngine(t, c)
			e.Lookup(t.Context(), client, time.Second)
			if v := e.Lookup(t.Context(), client, time.Second); reasonsOf(&v) != "neighbourhood 5" || v.Categories != 0 {
				t.Errorf("%s: %+v", name, v)
			}
		})
	}
}

// TestOwnEvidenceOfARelay: a relay is not punished for being one, while what was done through it counts.
func TestOwnEvidenceOfARelay(t *testing.T) {
	relay := sameFacts{Nature: reputation.Nature{}.With(reputation.NatureRelay, true)}
	e := newEngine(t, Config{Own: mistakes{}, Databases: relay})
	if v := e.Lookup(t.Context(), client, 0); reasonsOf(&v) != "own.trap 60" {
		t.Errorf("%+v", v)
	}
}

// mistakes take everybody for a proxy, besides what they did.
type mistakes struct{}

func (mistakes) Knows(netip.Addr, uint32) bool { return true }

func (mistakes) AddEvidence(evidence []score.Evidence, _ netip.Addr, _ reputation.Facts, _ uint32) []score.Evidence {
	return append(evidence, score.Evidence{Source: &ownTrap, Severity: 1, Confidence: 1, Categories: reputation.CategoriesOf(reputation.Scanner)},
		score.Evidence{Source: &neighbours, Severity: 1, Confidence: 1, Categories: reputation.CategoriesOf(reputation.Proxy)})
}

func (mistakes) Nearby() *score.Source { return nil }

func (mistakes) Most() int { return 2 }

// TestOwnEvidenceDoesNotAllocate: reasons are all that a verdict takes along.
func TestOwnEvidenceDoesNotAllocate(t *testing.T) {
	if testenv.Race {
		t.Skip("the race detector allocates")
	}
	another := netip.MustParseAddr("203.0.113.11")
	seen := &sights{clients: map[netip.Addr]float64{client: 18}, asns: map[uint32]float64{64501: 1}}
	for name, c := range map[string]Config{
		"without providers": {Databases: database},
		"with one":          {Databases: database, Providers: []Provider{asked("p", after(0, reputation.Report{}, nil))}},
		"with many": {Providers: func() (all []Provider) {
			for i := range record.MaxAnswers {
				all = append(all, asked(string(rune('a'+i)), after(0, abusive, nil)))
			}
			return all
		}()},
	} {
		c.Own = seen
		e := newEngine(t, c)
		for addr, most := range map[netip.Addr]float64{client: 1, another: float64(min(len(c.Providers)/2, 1))} {
			e.Lookup(t.Context(), addr, time.Second)
			if n := testing.AllocsPerRun(100, func() { e.Lookup(t.Context(), addr, time.Second) }); n > most {
				t.Errorf("%s, %s: %v allocations; want %v", name, addr, n, most)
			}
		}
	}
}

// What it costs that the site remembers its clients: of the one that asks nothing, and what it has done.
func BenchmarkOwnEvidence(b *testing.B) {
	seen := &sights{clients: map[netip.Addr]float64{client: 18}}
	for _, bc := range []struct {
		name string
		own  Own
		addr string
	}{{"none", nil, "203.0.113.11"}, {"unknown", seen, "203.0.113.11"}, {"seen", seen, "203.0.113.10"}} {
		e, addr := newEngine(b, Config{Own: bc.own}), netip.MustParseAddr(bc.addr)
		b.Run(bc.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				e.Lookup(context.Background(), addr, 0)
			}
		})
	}
}
