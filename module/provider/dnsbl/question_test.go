package dnsbl

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"pgregory.net/rapid"
)

// Lists are asked as reverse DNS is, below another name.
func TestLabelsAreThoseOfReverseDNS(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var addr netip.Addr
		if rapid.Bool().Draw(t, "IPv6") {
			addr = netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes")))
			if addr.Is4In6() {
				t.Skip("net.ParseIP, which the twin uses, takes it for IPv4")
			}
		} else {
			addr = netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "bytes")))
		}
		want, err := dns.ReverseAddr(addr.String())
		if err != nil {
			t.Fatal(err)
		}
		want = strings.TrimSuffix(strings.TrimSuffix(want, ".in-addr.arpa."), ".ip6.arpa.")
		if got := labels(addr); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	})
}

// A name is never longer than DNS allows, whatever the zone and the key.
func TestNamesFit(t *testing.T) {
	zone := strings.Repeat(strings.Repeat("x", 59)+".", 2)[:maxZone]
	zone = strings.TrimSuffix(zone, ".") + "y"
	d := DNSBL{List: "{key}." + zone}
	l, err := d.chosen()
	if err != nil {
		t.Fatal(err)
	}
	name := l.asking(netip.MustParseAddr("2001:db8::1"), strings.Repeat("k", 63))
	if _, ok := dns.IsDomainName(name); !ok || len(name) > 254 {
		t.Errorf("%d bytes: %s", len(name), name)
	}
}
