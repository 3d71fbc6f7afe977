package privacy

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

func TestKept(t *testing.T) {
	cut := truncated(t, 24, 48)
	hashed := Hash(func() (string, bool) { return "key-of-privacy-0123456789", true })
	weak := Hash(func() (string, bool) { return "short", true })
	waiting := Hash(func() (string, bool) { return "", false })
	for _, tc := range []struct {
		name   string
		policy *Policy
		addr   string
		want   string // empty: not to be kept
	}{
		{"as it is", nil, "203.0.113.7", "203.0.113.7/32"},
		{"as it is, IPv6", nil, "2001:db8::7", "2001:db8::7/128"},
		{"mapped", nil, "::ffff:203.0.113.7", "203.0.113.7/32"},
		{"with a zone", nil, "fe80::1%eth0", "fe80::1/128"},
		{"cut", cut, "203.0.113.7", "203.0.113.0/24"},
		{"cut, IPv6", cut, "2001:db8:1:2::7", "2001:db8:1::/48"},
		{"loopback", cut, "127.0.0.1", "127.0.0.1/32"},
		{"pseudonym", hashed, "203.0.113.7", "100::" + hexGroups(hashed.Addr(netip.MustParseAddr("203.0.113.7"))) + "/128"},
		{"weak key", weak, "203.0.113.7", ""},
		{"no key yet", waiting, "203.0.113.7", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := tc.policy.Stored(netip.MustParseAddr(tc.addr))
			if tc.want == "" {
				if ok {
					t.Errorf("it is kept as %s", got)
				}
				return
			}
			if want := netip.MustParsePrefix(tc.want); !ok || got != want {
				t.Errorf("got %s %t, want %s", got, ok, want)
			}
		})
	}
	if _, ok := cut.Stored(netip.Addr{}); ok {
		t.Error("no address at all is kept")
	}
}

// hexGroups writes the digits of a pseudonym as the last groups of an address.
func hexGroups(pseudonym string) string {
	d := pseudonym[len("ip-"):]
	return d[0:4] + ":" + d[4:8] + ":" + d[8:12] + ":" + d[12:16]
}

// What the log writes of an address and what the history shows of it are the same, so that one leads to the other.
func TestShownIsWhatTheLogWrites(t *testing.T) {
	hashed := Hash(func() (string, bool) { return "key-of-privacy-0123456789", true })
	policies := []*Policy{nil, truncated(t, 20, 44), hashed}
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "v4")
		if rapid.Bool().Draw(t, "v6") {
			raw = append([]byte{0x20, 1, 0x0d, 0xb8}, rapid.SliceOfN(rapid.Byte(), 12, 12).Draw(t, "rest")...)
		}
		addr, _ := netip.AddrFromSlice(raw)
		for i, p := range policies {
			kept, ok := p.Stored(addr)
			if !ok {
				t.Fatalf("policy %d does not keep %s", i, addr)
			}
			if got, want := Shown(kept), p.Addr(addr); got != want {
				t.Errorf("policy %d shows %s of %s, the log writes %s", i, got, addr, want)
			}
			if !kept.Contains(addr) && p != hashed {
				t.Errorf("policy %d keeps %s as %s", i, addr, kept)
			}
		}
	})
}
