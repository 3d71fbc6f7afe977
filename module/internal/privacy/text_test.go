package privacy

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestText(t *testing.T) {
	cut := truncated(t, DefaultV4, DefaultV6)
	for _, tc := range []struct{ text, want string }{
		{"client 203.0.113.7 is gone", "client 203.0.113.0/24 is gone"},
		{"dial tcp 203.0.113.7:443: i/o timeout", "dial tcp 203.0.113.0/24:443: i/o timeout"},
		{"203.0.113.7", "203.0.113.0/24"},
		{"by 203.0.113.7.", "by 203.0.113.0/24."},
		{"203.0.113.0/24 and 203.0.0.0/16", "203.0.113.0/24 and 203.0.0.0/16"},
		{"203.000.113.007", "203.0.113.0/24"},
		{"host203.0.113.7x", "host203.0.113.0/24x"},
		{"[2001:db8:1:2::7]:443", "[2001:db8:1::/48]:443"},
		{"2001:db8:1:2::7: refused", "2001:db8:1::/48: refused"},
		{"2001:0DB8:0001:0002:0000:0000:0000:0007", "2001:db8:1::/48"},
		{"2001:db8:1:2:0:0:0:7:443", "2001:db8:1::/48:443"},
		{"fe80::7%eth0: refused", "fe80::/48: refused"},
		{"[fe80::7%25eth0]:80", "[fe80::/48]:80"},
		{"::ffff:203.0.113.7", "203.0.113.0/24"},
		{"::ffff:cb00:7107", "203.0.113.0/24"},
		{"/check?ipAddress=2001%3Adb8%3A1%3A2%3A%3A7&x", "/check?ipAddress=2001:db8:1::/48&x"},
		{"%5B2001%3adb8%3a1%3a2%3a%3a7%5D%3A443", "%5B2001:db8:1::/48%5D%3A443"},
		{"from%20203.0.113.7%20to", "from%20203.0.113.0/24%20to"},
		{"7.113.0.203.zen.spamhaus.org: no such host", Hidden + ".zen.spamhaus.org: no such host"},
		{"7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.", Hidden + ".ip6.arpa."},
		{"203-0-113-7.dsl.example.net", Hidden + ".dsl.example.net"},
		{"host ip-203-0-113-7 is", "host ip-203.0.113.0/24 is"},
		{"cpe1-203-0-113-7 is", "cpe" + Hidden + " is"},
		{"x2001:db8:1:2::7", "x2001:db8:1::/48"},
		{"a=2001:db8:1:2::7,b=203.0.113.7;c", "a=2001:db8:1::/48,b=203.0.113.0/24;c"},
		{"1.203.0.113.7", Hidden},
		{"é203.0.113.7ü", "é203.0.113.0/24ü"},
	} {
		if got := cut.Text(tc.text); got != tc.want {
			t.Errorf("%q becomes %q, want %q", tc.text, got, tc.want)
		}
	}
}

// stays are texts that hold no address but look like it, some of them.
var stays = []string{
	"", "12:30:15", "at 12:30:15.123", "2026-11-24T17:16:23Z", "2026-11-24T17-16-23.000", "2026-11-24-17-16-23", "1.2.3", "v2.11.9",
	"Chrome/126.0.6478.61", "300.1.2.3", "5b7b9c53-95c7-4d1c-8a4c-0a5f2c4b1b4e", "12345678-1234-1234-1234-123456789012",
	"0af7651916cd43dd8448eb211c80319c", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "AA:BB:CC:DD:EE:FF",
	"AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD", "Foo::Bad", "std::fs::read", "127.0.0.1:8080", "[::1]:2019",
	"listen on :: and 0.0.0.0:80", "ip-2e24c1ad3d3e4de8:443", "points=28.8, age=3600", "10/1m", "a.b.c.d", "x: y", "25%",
	"/etc/caddy/deny.txt", "https://example.com:8443/a?b=c", "exit code: 0xdead",
}

func TestTextThatStays(t *testing.T) {
	for _, p := range []*Policy{nil, truncated(t, 24, 48), hashed(testKey)} {
		for _, text := range stays {
			if got := p.Text(text); got != text {
				t.Errorf("%q becomes %q", text, got)
			}
		}
	}
}

// spelling is a way to write an address.
type spelling struct {
	text string
	want func(*Policy) string
}

// spellings are the ways to write an address that are promised to be found.
func spellings(addr netip.Addr) []spelling {
	whole := func(p *Policy) string { return p.Addr(addr) }
	hidden := func(*Policy) string { return Hidden }
	with := func(before, after string) func(*Policy) string {
		return func(p *Policy) string { return before + p.Addr(addr) + after }
	}
	prefix := netip.PrefixFrom(addr, addr.BitLen()-9)
	all := []spelling{
		{addr.String(), whole},
		{strings.ToUpper(addr.StringExpanded()), whole},
		{netip.AddrPortFrom(addr, 4711).String(), func(p *Policy) string {
			if addr.Is4() {
				return p.Addr(addr) + ":4711"
			}
			return "[" + p.Addr(addr) + "]:4711"
		}},
		{prefix.String(), func(p *Policy) string { return p.Prefix(prefix) }},
		{"ip=" + url.QueryEscape(addr.String()) + "&x=y", with("ip=", "&x=y")},
		{url.QueryEscape("[" + addr.String() + "]:80"), with("%5B", "%5D%3A80")},
	}
	if addr.Is4() {
		a := addr.As4()
		return append(all,
			spelling{fmt.Sprintf("%03d.%03d.%03d.%03d", a[0], a[1], a[2], a[3]), whole},
			spelling{"::ffff:" + addr.String(), whole},
			spelling{fmt.Sprintf("::ffff:%02x%02x:%02x%02x", a[0], a[1], a[2], a[3]), whole},
			spelling{fmt.Sprintf("ip-%d-%d-%d-%d", a[0], a[1], a[2], a[3]), with("ip-", "")},
			spelling{fmt.Sprintf("%d.%d.%d.%d.in-addr.arpa", a[3], a[2], a[1], a[0]),
				func(p *Policy) string { return hidden(p) + ".in-addr.arpa" }})
	}
	var reversed strings.Builder
	digits := strings.ReplaceAll(addr.StringExpanded(), ":", "")
	for i := len(digits) - 1; i >= 0; i-- {
		reversed.WriteString(digits[i:i+1] + ".")
	}
	return append(all,
		spelling{addr.StringExpanded() + ":443", with("", ":443")},
		spelling{addr.String() + "%eth0", whole},
		spelling{"[" + addr.String() + "%25eth0]", with("[", "]")},
		spelling{reversed.String() + "ip6.arpa", func(p *Policy) string { return hidden(p) + ".ip6.arpa" }})
}

// addresses draws addresses that name somebody.
func addresses() *rapid.Generator[netip.Addr] {
	return rapid.Custom(func(t *rapid.T) netip.Addr {
		var addr netip.Addr
		if rapid.Bool().Draw(t, "v4") {
			addr = netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "octets")))
		} else {
			raw := rapid.SliceOfN(rapid.OneOf(rapid.Just(byte(0)), rapid.Byte()), 16, 16).Draw(t, "bytes")
			raw[0] = 0x20 // not mapped, not ::, not loopback
			addr = netip.AddrFrom16([16]byte(raw))
		}
		if addr.IsLoopback() || addr.IsUnspecified() {
			addr = netip.MustParseAddr("203.0.113.7")
		}
		return addr
	})
}

// TestTextOfPieces proves that in a text made of addresses, in all spellings, and of other things, the addresses are written
// as they should be and the others stay. The slow twin is the text that is put together from what is expected of each piece.
func TestTextOfPieces(t *testing.T) {
	policies := []*Policy{truncated(t, 24, 48), truncated(t, 8, 127), hashed(testKey)}
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.SampledFrom(policies).Draw(t, "policy")
		var text, want strings.Builder
		for range rapid.IntRange(1, 6).Draw(t, "pieces") {
			if rapid.Bool().Draw(t, "address") {
				s := rapid.SampledFrom(spellings(addresses().Draw(t, "addr"))).Draw(t, "spelling")
				text.WriteString(s.text)
				want.WriteString(s.want(p))
			} else {
				other := rapid.SampledFrom(stays).Draw(t, "other")
				text.WriteString(other)
				want.WriteString(other)
			}
			joint := rapid.SampledFrom([]string{" ", ", ", "\n", "; ", "|", " (", ") ", `"`, "=", ": "}).Draw(t, "joint")
			text.WriteString(joint)
			want.WriteString(joint)
		}
		if got := p.Text(text.String()); got != want.String() {
			t.Fatalf("%q\nbecomes %q\nwant    %q", text.String(), got, want.String())
		}
	})
}

// words are the parts of a text that stand by themselves and could be addresses.
var words = regexp.MustCompile(`[0-9A-Fa-f:.]+`)

// FuzzText proves that whatever surrounds an address, it is not found afterwards by somebody who looks at each word.
func FuzzText(f *testing.F) {
	for _, text := range stays {
		f.Add(text, "", uint32(0xcb007107))
		f.Add("client ", " "+text, uint32(0xcb007107))
	}
	f.Add("7.113.0.203.zen", ".8.b.d.0.1.0.0.2.ip6.arpa %3A%3a", uint32(1))
	f.Add("2001:db8::", "%25eth0]:80/64", uint32(0x01020304))
	hash, cut := hashed(testKey), truncated(f, 24, 48)
	f.Fuzz(func(t *testing.T, before, after string, bits uint32) {
		addr := netip.AddrFrom4([4]byte{byte(bits >> 24), byte(bits >> 16), byte(bits >> 8), byte(bits)})
		text := before + " " + addr.String() + " " + after
		for _, word := range words.FindAllString(hash.Text(text), -1) {
			if found, err := netip.ParseAddr(strings.Trim(word, ".")); err == nil && !found.Unmap().IsLoopback() && !found.IsUnspecified() {
				// short ones may touch a word and be left
				if found.Is4() || strings.Count(word, ":") > 2 {
					t.Errorf("%q\nkeeps %s", text, word)
				}
			}
		}
		if got := cut.Text(text); !addr.IsLoopback() && !addr.IsUnspecified() && strings.Contains(got, " "+addr.String()+" ") {
			t.Errorf("%q becomes %q", text, got)
		}
		if got := (*Policy)(nil).Text(text); got != text {
			t.Errorf("without a policy %q becomes %q", text, got)
		}
	})
}

func TestTextAllocates(t *testing.T) {
	for name, tc := range map[string]struct {
		policy *Policy
		text   string
	}{
		"off":        {nil, "client 203.0.113.7"},
		"no address": {hashed(testKey), "at 12:30:15 the list a.b.c was of version 1.2.3"},
	} {
		if n := testing.AllocsPerRun(100, func() { _ = tc.policy.Text(tc.text) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	addr := netip.MustParseAddr("203.0.113.7")
	if n := testing.AllocsPerRun(100, func() { _ = (*Policy)(nil).Addr(addr) }); n > 1 {
		t.Errorf("an address: %v allocations, want its text only", n)
	}
}

func BenchmarkText(b *testing.B) {
	for name, p := range map[string]*Policy{"off": nil, "truncate": truncated(b, 24, 48), "hash": hashed(testKey)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = p.Text("dial tcp 203.0.113.7:443: connect: connection refused at 12:30:15")
			}
		})
	}
}

// BenchmarkHostileText is of what takes the longest to look through, for its length.
func BenchmarkHostileText(b *testing.B) {
	p := truncated(b, 24, 48)
	for name, text := range map[string]string{"colons": "1::1.", "groups": "1:2:3:4:5:6:7.", "quads": "1.2.3.256."} {
		text = strings.Repeat(text, 400/len(text))
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = p.Text(text)
			}
		})
	}
}
