package dnsbl

import (
	"net/netip"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// What the server answers that most public lists run: IPv4, IPv6 by /64, several codes, with texts beside them.
func TestRbldnsd(t *testing.T) {
	addr := testenv.Rbldnsd(t,
		testenv.DNSZone{Name: "bl.example.org", Kind: "ip4set", Data: `
:127.0.0.2:listed for $
127.0.0.2
203.0.113.0/28
203.0.113.10 :127.0.0.4:brute force by $
`},
		testenv.DNSZone{Name: "bl.example.org", Kind: "ip6trie", Data: `
:127.0.0.3:listed for $
2001:db8:1:2::/64
`})
	d, err := provision(t, `{"list": "bl.example.org", "resolvers": ["`+addr+`"], "ipv6": true,
		"codes": {"127.0.0.2": "spam", "127.0.0.3": "proxy", "127.0.0.4": "bruteforce"}}`)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]struct {
		severity   float64
		categories string
		ttl        time.Duration
	}{
		"203.0.113.10":      {1, "bruteforce, spam", 35 * time.Minute},
		"203.0.113.11":      {1, "spam", 35 * time.Minute},
		"203.0.113.77":      {-1, "", 10 * time.Minute},
		"2001:db8:1:2::bad": {.5, "proxy", 35 * time.Minute},
		"2001:db8:1:3::bad": {-1, "", 10 * time.Minute},
	} {
		got, err := d.Check(t.Context(), reputation.Query{Addr: netip.MustParseAddr(text)})
		if err != nil || got.Severity != want.severity || got.Categories.String() != want.categories || got.TTL != want.ttl {
			t.Errorf("%s: %+v, %v; want %+v", text, got, err, want)
		}
	}
	if err := d.Probe(t.Context(), ""); err != nil { // it takes the IPv6 test entries for those of IPv4
		t.Errorf("the test entries: %v", err)
	}
	other, err := provision(t, `{"list": "other.example.org", "resolvers": ["`+addr+`"]}`)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Probe(t.Context(), ""); reputation.ResultOf(err) != reputation.ResultRefused {
		t.Errorf("a zone that it has not: %v", err)
	}
}
