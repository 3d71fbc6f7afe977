package listformat

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// slowPrefix is what ParsePrefix must agree with.
func slowPrefix(s string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		if a.Zone() != "" {
			return netip.Prefix{}, false
		}
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), true
}

func checkPrefix(t interface{ Errorf(string, ...any) }, s string) {
	got, ok := ParsePrefix([]byte(s))
	want, wantOK := slowPrefix(s)
	if ok != wantOK || ok && got != want {
		t.Errorf("%q: got %v %v, netip says %v %v", s, got, ok, want, wantOK)
	}
}

func TestParsePrefixAgreesWithNetip(t *testing.T) {
	for _, s := range []string{"", ".", "/", "1", "1.2.3.4", "1.2.3.4/0", "1.2.3.4/32", "1.2.3.4/33", "1.2.3.4/00", "1.2.3.4/08",
		"1.2.3.4/-1", "1.2.3.4/+8", "1.2.3.4/8x", "1.2.3.4.5", "1.2.3.4 ", "01.2.3.4", "0.0.0.0", "00.0.0.0", "255.255.255.255",
		"256.1.1.1", "1.2.3.1000", "1..2.3", "1.2.3.", "::", "::/0", "::1/128", "::1/129", "::ffff:1.2.3.4", "::ffff:1.2.3.4/95", "fe80::1%e", "1.2.3.4//"} {
		checkPrefix(t, s)
	}
	rapid.Check(t, func(rt *rapid.T) {
		checkPrefix(rt, rapid.StringMatching(`[0-9]{1,4}(\.[0-9]{1,3}){2,4}(/[0-9]{0,3})?|[0-9a-f:./%]{0,24}`).Draw(rt, "text"))
	})
}

func FuzzParsePrefix(f *testing.F) {
	f.Add("192.0.2.1/24")
	f.Add("2001:db8::/32")
	f.Add("::ffff:192.0.2.1")
	f.Fuzz(func(t *testing.T, s string) { checkPrefix(t, s) })
}
