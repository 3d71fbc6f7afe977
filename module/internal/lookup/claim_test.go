package lookup

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

var (
	verifiedClaim = Claim{Bot: "googlebot", Trusted: true}
	exemptClaim   = Claim{Bot: "googlebot", Trusted: true, Exempt: true}
	drivenClaim   = Claim{Bot: "claude-user"}
	fakeClaim     = Claim{Fake: true}
)

// TestClaims holds what a claim does to the verdict, and what it leaves to the operator's own word.
func TestClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lists, meanings := someLists()
		var (
			exempt, denied = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
			settled        = netip.MustParseAddr("192.0.2.4")
			banned         = netip.MustParseAddr("198.51.100.1")
		)
		provider := asked("p", after(0, reputation.Report{Severity: .4, Confidence: .9}, nil))
		for name, providers := range map[string][]Provider{"without providers": nil, "with one": {provider}} {
			e := newEngine(t, Config{
				Lists: lists, Meanings: meanings, Providers: providers, Databases: sameFacts{Country: "DE"},
				Overrides: overrides{banned: {true, false}},
			})
			for _, c := range []struct {
				name     string
				addr     netip.Addr
				claim    Claim
				min, max uint8
				status   reputation.Status
				reasons  []string // of all that claims and the operator can give
			}{
				{"no claim", client, Claim{}, 0, 40, reputation.Fresh, nil},
				{"fake", client, fakeClaim, 10, 80, reputation.Fresh, []string{reputation.SourceFakeBot}},
				{"verified", client, verifiedClaim, 0, 0, reputation.Fresh, []string{reputation.SourceVerifiedBots}},
				{"verified, listed", settled, verifiedClaim, 0, 1, reputation.Fresh, []string{reputation.SourceVerifiedBots}},
				{"driven", client, drivenClaim, 0, 40, reputation.Fresh, nil},
				{"verified, denied", denied, verifiedClaim, 100, 100, reputation.Fresh, []string{reputation.SourceDeny}},
				{"verified, banned", banned, verifiedClaim, 100, 100, reputation.Fresh, []string{reputation.SourceBan}},
				{"verified, exempt by a list", exempt, verifiedClaim, 0, 0, reputation.Exempt, nil},
				{"exempt", client, exemptClaim, 0, 0, reputation.Exempt, nil},
				{"exempt, denied", denied, exemptClaim, 0, 0, reputation.Exempt, nil},
				{"exempt, banned", banned, exemptClaim, 0, 0, reputation.Exempt, nil},
				{"fake, denied", denied, fakeClaim, 100, 100, reputation.Fresh, []string{reputation.SourceDeny}},
				{"fake, exempt", exempt, fakeClaim, 0, 0, reputation.Exempt, nil},
			} {
				v := e.LookupRequest(t.Context(), c.addr, Request{Claim: c.claim}, time.Second)
				if x := e.ExplainRequest(c.addr, Request{Claim: c.claim}).Verdict; x.Score != v.Score || x.Status != v.Status {
					t.Errorf("%s, %s: explained as %d %s", name, c.name, x.Score, x.Status)
				}
				if v.Score < c.min || v.Score > c.max || v.Status != c.status || v.Facts.Bot != c.claim.Bot || v.Facts.Country != "DE" {
					t.Errorf("%s, %s: %+v", name, c.name, v)
				}
				var reasons []string
				for _, r := range v.Reasons {
					if r.Source != "p" && r.Source != "drop" {
						reasons = append(reasons, r.Source)
					}
				}
				if !slices.Equal(reasons, c.reasons) {
					t.Errorf("%s, %s: reasons %q, want %q", name, c.name, reasons, c.reasons)
				}
			}
			if v := e.Lookup(t.Context(), client, 0); v.Facts.Bot != "" || len(v.Reasons) > 1 {
				t.Errorf("%s: the next client of the address has a part in the claim: %+v", name, v)
			}
		}
	})
}

// TestClaimsAreEvidenceByThemselves: nothing else is configured, or nobody has answered.
func TestClaimsAreEvidenceByThemselves(t *testing.T) {
	e := newEngine(t, Config{})
	v := e.LookupRequest(context.Background(), client, Request{Claim: fakeClaim}, 0)
	if !v.Scored || v.Score < 10 || v.Score > 40 || !v.Categories.Has(reputation.Bot) {
		t.Errorf("%+v", v)
	}
	if v := e.LookupRequest(context.Background(), client, Request{Claim: drivenClaim}, 0); v.Scored || v.Facts.Bot != drivenClaim.Bot {
		t.Errorf("%+v", v)
	}
	if v := e.Lookup(context.Background(), client, 0); v.Scored {
		t.Errorf("%+v", v)
	}
}

// TestNobodyIsAskedAboutVerifiedBots: no answer could change what is known of them.
func TestNobodyIsAskedAboutVerifiedBots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := asked("p", after(0, abusive, nil))
		e := newEngine(t, Config{Providers: []Provider{p}})
		for _, claim := range []Claim{verifiedClaim, exemptClaim} {
			v := e.LookupRequest(t.Context(), client, Request{Claim: claim}, time.Second)
			if e.Busy() || len(e.ExplainRequest(client, Request{Claim: claim}).Answers) != 1 || e.Explain(client).Answers[0].Answered {
				t.Errorf("somebody was asked: %+v", v)
			}
		}
		if v := e.LookupRequest(t.Context(), client, Request{Claim: fakeClaim}, time.Second); len(v.Reasons) != 2 {
			t.Errorf("nobody was asked about a fake: %+v", v)
		}
		if v := e.LookupRequest(t.Context(), client, Request{Claim: verifiedClaim}, 0); v.Score != 0 || len(v.Reasons) != 2 {
			t.Errorf("what is remembered does not count: %+v", v)
		}
	})
}

func TestExempts(t *testing.T) {
	lists, meanings := someLists()
	released := netip.MustParseAddr("198.51.100.2")
	e := newEngine(t, Config{Lists: lists, Meanings: meanings, Overrides: overrides{released: {false, true}}})
	for addr, want := range map[string]bool{
		"192.0.2.1": true, "198.51.100.2": true, "10.0.0.1": true, "192.0.2.2": false, "203.0.113.10": false,
	} {
		if got := e.Exempts(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %t", addr, got)
		}
	}
}

func TestExemptClaimsDoNotAllocate(t *testing.T) {
	if testenv.Race {
		t.Skip("the race detector allocates")
	}
	e := newEngine(t, Config{Databases: database, Providers: []Provider{asked("p", after(0, reputation.Report{}, nil))}})
	if n := testing.AllocsPerRun(100, func() { e.LookupRequest(context.Background(), client, Request{Claim: exemptClaim}, 0) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
