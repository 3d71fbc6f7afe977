package privacy

import (
	"net/netip"
	"strings"
	"testing"
)

const testKey = "a key of the tests, long enough"

func hashed(key string) *Policy { return Hash(func() (string, bool) { return key, key != "" }) }

func truncated(tb testing.TB, v4, v6 int) *Policy {
	tb.Helper()
	p, err := Truncate(v4, v6)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func TestAddr(t *testing.T) {
	cut := truncated(t, DefaultV4, DefaultV6)
	for _, tc := range []struct{ addr, off, cut string }{
		{"203.0.113.7", "203.0.113.7", "203.0.113.0/24"},
		{"::ffff:203.0.113.7", "::ffff:203.0.113.7", "203.0.113.0/24"},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"},
		{"fe80::1%eth0", "fe80::1%eth0", "fe80::/48"},
		{"10.1.2.3", "10.1.2.3", "10.1.2.0/24"},
		{"127.0.0.1", "127.0.0.1", "127.0.0.1"},
		{"::1", "::1", "::1"},
		{"0.0.0.0", "0.0.0.0", "0.0.0.0"},
	} {
		addr := netip.MustParseAddr(tc.addr)
		if got := (*Policy)(nil).Addr(addr); got != tc.off {
			t.Errorf("off: %s becomes %q, want %q", addr, got, tc.off)
		}
		if got := cut.Addr(addr); got != tc.cut {
			t.Errorf("truncated: %s becomes %q, want %q", addr, got, tc.cut)
		}
	}
	if got := truncated(t, 16, 32).Addr(netip.MustParseAddr("203.0.113.7")); got != "203.0.0.0/16" {
		t.Errorf("16 bits: %q", got)
	}
	for _, p := range []*Policy{nil, cut, hashed(testKey)} {
		if a, b := p.Addr(netip.Addr{}), p.Prefix(netip.Prefix{}); a != "" || b != "" {
			t.Errorf("nothing becomes %q, %q", a, b)
		}
	}
}

func TestPrefix(t *testing.T) {
	cut, hash := truncated(t, DefaultV4, DefaultV6), hashed(testKey)
	for _, tc := range []struct{ prefix, cut, same string }{
		{"203.0.113.7/32", "203.0.113.0/24", "203.0.113.7"},
		{"203.0.0.0/16", "203.0.0.0/16", ""},
		{"::ffff:203.0.113.7/128", "203.0.113.0/24", "203.0.113.7"},
		{"2001:db8:1:2:3::/80", "2001:db8:1::/48", "2001:db8:1:2::9"},
		{"2001:db8::/32", "2001:db8::/32", ""},
	} {
		prefix := netip.MustParsePrefix(tc.prefix)
		if got := cut.Prefix(prefix); got != tc.cut {
			t.Errorf("truncated: %s becomes %q, want %q", prefix, got, tc.cut)
		}
		got := hash.Prefix(prefix)
		switch {
		case tc.same == "" && !strings.HasPrefix(got, "net-"):
			t.Errorf("%s becomes %q", prefix, got)
		case tc.same != "" && got != hash.Addr(netip.MustParseAddr(tc.same)):
			t.Errorf("%s and %s are one visitor and become two", prefix, tc.same)
		}
	}
	if a, b := hash.Prefix(netip.MustParsePrefix("203.0.112.0/23")), hash.Prefix(netip.MustParsePrefix("203.0.112.0/24")); a == b {
		t.Error("two networks become one")
	}
}

// TestHash pins the form: tokens are compared over years, and between instances.
func TestHash(t *testing.T) {
	p := hashed(testKey)
	visitor := p.Addr(netip.MustParseAddr("203.0.113.7"))
	if want := "ip-ef78eed60cb5dee0"; visitor != want {
		t.Errorf("203.0.113.7 becomes %q, want %q", visitor, want)
	}
	if other := p.Addr(netip.MustParseAddr("203.0.113.8")); other == visitor {
		t.Error("two visitors become one")
	}
	a, b := p.Addr(netip.MustParseAddr("2001:db8:1:2::1")), p.Addr(netip.MustParseAddr("2001:db8:1:2:ffff::2"))
	if a != b || a == p.Addr(netip.MustParseAddr("2001:db8:1:3::1")) {
		t.Error("a visitor is not his /64")
	}
	if other := hashed(testKey + "2").Addr(netip.MustParseAddr("203.0.113.7")); other == visitor {
		t.Error("another key gives the same pseudonym")
	}
	for _, key := range []string{"", "short"} {
		if got := hashed(key).Text("203.0.113.7 and 2001:db8::/32"); got != Hidden+" and "+Hidden {
			t.Errorf("with the key %q: %q", key, got)
		}
	}
}

func TestOutOfRange(t *testing.T) {
	for _, bits := range [][2]int{{0, 48}, {32, 48}, {-1, 48}, {24, 0}, {24, 128}} {
		if _, err := Truncate(bits[0], bits[1]); err == nil || !strings.Contains(err.Error(), "such as") {
			t.Errorf("%v: %v", bits, err)
		}
	}
	if CheckKey("fifteen letters") == nil || CheckKey("sixteen letters!") != nil {
		t.Error("the least length of a key is not 16")
	}
}
