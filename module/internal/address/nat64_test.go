package address

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// embed writes an IPv4 address behind a prefix, as the figure in RFC 6052, section 2.2, has it.
func embed(p netip.Prefix, v4 netip.Addr) netip.Addr {
	to, b := p.Addr().As16(), v4.As4()
	switch p.Bits() {
	case 32:
		copy(to[4:8], b[:])
	case 40:
		copy(to[5:8], b[:3])
		copy(to[9:10], b[3:])
	case 48:
		copy(to[6:8], b[:2])
		copy(to[9:11], b[2:])
	case 56:
		copy(to[7:8], b[:1])
		copy(to[9:12], b[1:])
	case 64:
		copy(to[9:13], b[:])
	case 96:
		copy(to[12:16], b[:])
	}
	return netip.AddrFrom16(to)
}

// TestNAT64Examples are those of RFC 6052, section 2.4.
func TestNAT64Examples(t *testing.T) {
	want := netip.MustParseAddr("192.0.2.33")
	for prefix, text := range map[string]string{
		"2001:db8::/32":         "2001:db8:c000:221::",
		"2001:db8:100::/40":     "2001:db8:1c0:2:21::",
		"2001:db8:122::/48":     "2001:db8:122:c000:2:2100::",
		"2001:db8:122:300::/56": "2001:db8:122:3c0:0:221::",
		"2001:db8:122:344::/64": "2001:db8:122:344:c0:2:2100::",
		"2001:db8:122:344::/96": "2001:db8:122:344::192.0.2.33",
		"64:ff9b:1:fffe::/96":   "64:ff9b:1:fffe::192.0.2.33",
	} {
		n, err := ParseNAT64([]string{prefix})
		if err != nil {
			t.Fatal(err)
		}
		if got := n.Unmap(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %s is %s", prefix, text, got)
		}
		if got := NAT64(nil).Unmap(netip.MustParseAddr(text)); got.Is4() {
			t.Errorf("%s is %s, though nobody has named %s", text, got, prefix)
		}
	}
	for text, want := range map[string]string{
		"64:ff9b::cb00:7105": "203.0.113.5", "::ffff:203.0.113.5": "203.0.113.5", "203.0.113.5": "203.0.113.5",
		"64:ff9b::10.0.0.1": "10.0.0.1", "64:ff9b:0:0:0:1::1": "64:ff9b::1:0:1", "2001:db8::5": "2001:db8::5",
		"64:ff9b:1::203.0.113.5": "64:ff9b:1::cb00:7105",
	} {
		if got, err := ParseAddr(text); err != nil || got.String() != want {
			t.Errorf("%s is %v, %v; want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"64:ff9b::cb00:7100/120": "203.0.113.0/24", "64:ff9b::cb00:7105/128": "203.0.113.5/32", "64:ff9b::/96": "0.0.0.0/0",
		"64:ff9b::/95": "64:ff9b::/95",
	} {
		if got, err := ParsePrefix(text); err != nil || got.String() != want {
			t.Errorf("%s is %v, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"64:ff9b::/96", "::ffff:0:0/96"} {
		if got, _, err := ParseRanges(text); err == nil || !strings.Contains(err.Error(), "too wide") {
			t.Errorf("%s as a range of a list: %v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"64:ff9b::/96": "64:ff9b::/96", "64:ff9b::cb00:7105/120": "203.0.113.0/24", "::ffff:0:0/96": "0.0.0.0/0",
		"2001:db8::5/64": "2001:db8::/64", "203.0.113.5/24": "203.0.113.0/24",
	} {
		if got := Listed(netip.MustParsePrefix(text)); got.String() != want {
			t.Errorf("%s of a list is %s, want %s", text, got, want)
		}
	}
}

func TestParseNAT64(t *testing.T) {
	for words, want := range map[string]string{
		"":                                 "",
		"2001:db8:64::/96 2001:db8:1::/48": "",
		"64:ff9b:1::/48":                   "",
		"203.0.113.0/32":                   "is not the prefix of a NAT64",
		"2001:db8::/33":                    "32, 40, 48, 56, 64 or 96",
		"2001:db8::":                       "is not the prefix",
		"x":                                "is not the prefix",
		"2001:db8::1/96":                   "write 2001:db8::/96",
		"2001:db8:0:0:ff00::/96":           "the bits 64 to 71 of a prefix are zero",
		"64:ff9b::/96":                     "is always known",
		"64:ff9b::/32":                     "",
		"2001:db8::/96 2001:db8::/96":      "overlaps",
	} {
		n, err := ParseNAT64(strings.Fields(words))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if (want == "") != (err == nil) || !strings.Contains(got, want) || err == nil && len(n) != len(strings.Fields(words)) {
			t.Errorf("%q: %v, %v; want %q", words, n, err, want)
		}
	}
}

// TestNAT64Property holds that what a gateway writes is read back, addresses and ranges, for each length; and that what has
// none of the prefixes stays as it is.
func TestNAT64Property(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var raw [16]byte
		copy(raw[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "prefix"))
		raw[0], raw[8] = 0x20, 0
		p := netip.PrefixFrom(netip.AddrFrom16(raw), rapid.SampledFrom(nat64Lengths).Draw(t, "length")).Masked()
		n, err := ParseNAT64([]string{p.String()})
		if err != nil {
			t.Fatal(err)
		}
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], rapid.Uint32().Draw(t, "IPv4"))
		v4 := netip.AddrFrom4(b)
		for _, written := range []netip.Addr{
			v4, netip.AddrFrom16(v4.As16()), embed(p, v4), embed(wellKnownNAT64, v4),
		} {
			if got := n.Unmap(written); got != v4 {
				t.Fatalf("%s behind %s is %s, want %s", written, p, got, v4)
			}
			if got, err := n.ParseAddr(written.String()); err != nil || got != v4 {
				t.Fatalf("%s is read as %s, %v", written, got, err)
			}
			single := n.UnmapPrefix(netip.PrefixFrom(written, written.BitLen()))
			if single != netip.PrefixFrom(v4, 32) {
				t.Fatalf("%s alone is %s", written, single)
			}
		}
		// a range has an address if and only if the IPv4 range has
		wide := netip.PrefixFrom(embed(p, v4), rapid.IntRange(p.Bits(), 128).Draw(t, "bits")).Masked()
		narrow := n.UnmapPrefix(wide)
		if !narrow.Addr().Is4() || !narrow.Contains(v4) || narrow != narrow.Masked() {
			t.Fatalf("%s is %s, want a range of %s", wide, narrow, v4)
		}
		if next := v4.Next(); next.IsValid() && wide.Contains(embed(p, next)) != narrow.Contains(next) {
			t.Fatalf("of the address after %s, %s and %s do not agree", v4, wide, narrow)
		}
		foreign := netip.AddrFrom16([16]byte{0x2a, 1, raw[2], raw[3], 15: raw[15]})
		if got := n.Unmap(foreign); got != foreign {
			t.Fatalf("%s is %s", foreign, got)
		}
	})
}
