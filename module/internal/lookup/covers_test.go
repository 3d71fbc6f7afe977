package lookup

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// TestAddressesThatAProviderDoesNotCover: it is not asked about them, and nobody waits for it or misses it.
func TestAddressesThatAProviderDoesNotCover(t *testing.T) {
	client6 := netip.MustParseAddr("2001:db8:1:2::1")
	for name, tc := range map[string]struct {
		other  bool // there is a second provider, which covers everything
		addr   netip.Addr
		calls  int64 // of the first provider
		status reputation.Status
		cover  float64
	}{
		"covered":              {false, client, 1, reputation.Fresh, 1},
		"not covered":          {false, client6, 0, reputation.Unknown, 0},
		"covered, two":         {true, client, 1, reputation.Fresh, 1},
		"not covered by one":   {true, client6, 0, reputation.Fresh, 1},
		"reserved, as always":  {true, netip.MustParseAddr("::1"), 0, reputation.Exempt, 0},
		"reserved and covered": {true, netip.MustParseAddr("10.0.0.1"), 0, reputation.Exempt, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				four := after(time.Millisecond, abusive, nil)
				four.covers = reputation.IPv4
				providers := []Provider{asked("four", four)}
				if tc.other {
					providers = append(providers, asked("both", after(time.Millisecond, clean, nil)))
				}
				e := newEngine(t, Config{Providers: providers})
				for range 2 {
					began := time.Now()
					v := e.Lookup(t.Context(), tc.addr, time.Second)
					if v.Status != tc.status || v.Coverage != tc.cover {
						t.Errorf("status %s, coverage %v; want %s, %v", v.Status, v.Coverage, tc.status, tc.cover)
					}
					if took := time.Since(began); took > time.Millisecond {
						t.Errorf("the request waited %s", took)
					}
				}
				e.Refresh(t.Context(), tc.addr)
				want := 2 * tc.calls // Refresh asks anew
				if n := four.calls.Load(); n != want {
					t.Errorf("%d calls, want %d", n, want)
				}
				x := e.Explain(tc.addr)
				if !x.Reserved && x.Answers[0].Covered != (tc.calls > 0) {
					t.Errorf("the explanation says that it is covered: %t", x.Answers[0].Covered)
				}
			})
		})
	}
}
