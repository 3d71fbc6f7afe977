package address

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// good are texts with the range that they stand for.
var good = map[string]string{
	"203.0.113.5":             "203.0.113.5/32",
	"2001:db8::5":             "2001:db8::5/128",
	"2001:0DB8:0::0005":       "2001:db8::5/128",
	"::ffff:203.0.113.5":      "203.0.113.5/32",
	"0.0.0.0":                 "0.0.0.0/32",
	"::":                      "::/128",
	"203.0.113.0/24":          "203.0.113.0/24",
	"203.0.113.5/32":          "203.0.113.5/32",
	"0.0.0.0/0":               "0.0.0.0/0",
	"2001:db8::/64":           "2001:db8::/64",
	"2001:db8::5/128":         "2001:db8::5/128",
	"::/0":                    "::/0",
	"2001:db8:1:2::/64":       "2001:db8:1:2::/64",
	"255.255.255.255/32":      "255.255.255.255/32",
	"::ffff:0:0:0/95":         "::ffff:0:0:0/95",
	"fe80::/10":               "fe80::/10",
	"198.51.100.128/25":       "198.51.100.128/25",
	"2001:db8:ffff:ffff::/64": "2001:db8:ffff:ffff::/64",
}

// bad are texts that are neither an address nor a range, with what ParsePrefix says of them.
var bad = map[string]string{
	"":                     `"" is not an IP address: write one such as 203.0.113.5 or 2001:db8::5`,
	" ":                    `" " is not an IP address`,
	"203.0.113":            `"203.0.113" is not an IP address`,
	"203.0.113.256":        `is not an IP address`,
	"203.0.113.05":         `is not an IP address`,
	" 203.0.113.5":         `is not an IP address`,
	"203.0.113.5:80":       `is not an IP address`,
	"[2001:db8::5]":        `is not an IP address`,
	"example.org":          `is not an IP address`,
	"fe80::1%eth0":         `"fe80::1%eth0" has a zone, which means something on one machine only: leave out "%eth0"`,
	"/":                    `"/" is not a CIDR range: write one such as 203.0.113.0/24 or 2001:db8::/64`,
	"203.0.113.0/":         `is not a CIDR range`,
	"203.0.113.0/33":       `is not a CIDR range`,
	"203.0.113.0/-1":       `is not a CIDR range`,
	"203.0.113.0/024":      `is not a CIDR range`,
	"2001:db8::/129":       `is not a CIDR range`,
	"fe80::%eth0/64":       `is not a CIDR range`,
	"203.0.113.0/24/24":    `is not a CIDR range`,
	"203.0.113.5/24":       `"203.0.113.5/24" is neither an address nor a range: write 203.0.113.5 for the address, or 203.0.113.0/24 for the range`,
	"2001:db8::5/64":       `write 2001:db8::5 for the address, or 2001:db8::/64 for the range`,
	"::ffff:203.0.113.5/1": `is neither an address nor a range`,
}

func TestParsePrefix(t *testing.T) {
	for text, want := range good {
		if got, err := ParsePrefix(text); err != nil || got.String() != want {
			t.Errorf("%q: %v, %v, want %s", text, got, err, want)
		}
	}
	for text, want := range bad {
		if got, err := ParsePrefix(text); err == nil || !strings.Contains(err.Error(), want) || got.IsValid() {
			t.Errorf("%q: %v, error %v, want %s", text, got, err, want)
		}
	}
	if got, err := ParsePrefix("::ffff:203.0.113.0/120"); err != nil || got.String() != "203.0.113.0/24" {
		t.Errorf("a mapped range: %v, %v", got, err)
	}
}

func TestParseAddr(t *testing.T) {
	for text, want := range good {
		addr, single := strings.CutSuffix(strings.TrimSuffix(want, "/128"), "/32")
		single = (single || strings.HasSuffix(want, "/128")) && !strings.Contains(text, "/")
		got, err := ParseAddr(text)
		if (err == nil) != single || single && got.String() != addr {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for text := range bad {
		if got, err := ParseAddr(text); err == nil || got.IsValid() {
			t.Errorf("%q: %v, want an error", text, got)
		}
	}
}

func TestParseRanges(t *testing.T) {
	for text, want := range good {
		got, ok, err := ParseRanges(text)
		if strings.HasSuffix(want, "::/0") || strings.HasSuffix(want, ".0/0") {
			if err == nil || !strings.Contains(err.Error(), "is too wide: /8 and, in IPv6, /16 are the widest") {
				t.Errorf("%q: %v, %v", text, got, err)
			}
			continue
		}
		if err != nil || !ok || len(got) != 1 || got[0].String() != want {
			t.Errorf("%q: %v, %v, %v, want %s", text, got, ok, err, want)
		}
	}
	for text, want := range map[string]string{
		"fe80::1%eth0":              `address "fe80::1%eth0" has a zone: leave "%eth0" out`,
		"203.0.113.0/33":            `"203.0.113.0/33" is not a CIDR range: the number behind the slash is the length of the prefix, up to 32 for IPv4 and 128 for IPv6`,
		"203.0.113.0/":              `is not a CIDR range`,
		"2001:db8::/x":              `is not a CIDR range`,
		"203.0.113.7/3":             `is too wide`,
		"64.0.0.0/7":                `is too wide`,
		"2600::/12":                 `is too wide`,
		"255.0.0.0":                 `"255.0.0.0" is a netmask: write the range as in 203.0.113.0/24`,
		"255.255.255.255":           `is a netmask`,
		"/24":                       `"/24" is the length of a prefix alone: write it behind the address`,
		"203.0.113.0-203.0.113.255": `write CIDR ranges such as 203.0.113.0/24`,
		"-":                         `write CIDR ranges`,
		"198.51.100.7,":             `"198.51.100.7," has a comma: separate addresses by spaces`,
		"198.51.100.7,198.51.100.8": `has a comma`,
		"203.0.113.5/24":            `write 203.0.113.5 for the address, or 203.0.113.0/24 for the range`,
	} {
		if got, ok, err := ParseRanges(text); err == nil || !strings.Contains(err.Error(), want) || ok || got != nil {
			t.Errorf("%q: %v, %v, error %v, want %s", text, got, ok, err, want)
		}
	}
	for _, other := range []string{"", "tor_exits", "./list.txt", "/etc/list", "https://example.org/list", "203.0.113", "private-ranges", "/24/x", "/etc", "a-b"} {
		if got, ok, err := ParseRanges(other); err != nil || ok || got != nil {
			t.Errorf("%q: %v, %v, %v, want neither ranges nor an error", other, got, ok, err)
		}
	}
}

func TestTooWide(t *testing.T) {
	for text, want := range map[string]bool{
		"0.0.0.0/0": true, "::/0": true, "128.0.0.0/1": true, "202.0.0.0/7": true, "2000::/3": true, "2600::/15": true,
		"203.0.0.0/8": false, "2600::/16": false, "10.0.0.0/8": false, "224.0.0.0/3": false, "224.0.0.0/4": false,
		"fc00::/7": false, "fe80::/10": false, "::/3": false, "203.0.113.7/32": false,
	} {
		if got := TooWide(netip.MustParsePrefix(text)); got != want {
			t.Errorf("%s: %t", text, got)
		}
	}
}

func TestPrivateRanges(t *testing.T) {
	got, ok, err := ParseRanges("private_ranges")
	if err != nil || !ok {
		t.Fatalf("%v, %v", ok, err)
	}
	want := []string{
		"192.168.0.0/16", "172.16.0.0/12", "10.0.0.0/8", "127.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16",
		"fd00::/8", "fe80::/10", "::1/128",
	}
	var texts []string
	for _, prefix := range got {
		texts = append(texts, prefix.String())
	}
	if diff := cmp.Diff(want, texts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got[0] = netip.Prefix{} // the caller's own
	if again, _, _ := ParseRanges("private_ranges"); !again[0].IsValid() {
		t.Error("a caller has changed the private ranges of all others")
	}
}

// FuzzParse proves that what is read is an address or a whole range, and that the ways to read one agree.
func FuzzParse(f *testing.F) {
	for text := range good {
		f.Add(text)
	}
	for text := range bad {
		f.Add(text)
	}
	f.Add("private_ranges")
	f.Add("::ffff:203.0.113.0/120")
	f.Fuzz(func(t *testing.T, text string) {
		addr, addrErr := ParseAddr(text)
		if (addrErr == nil) != addr.IsValid() || addr.Zone() != "" || addr.Is4In6() {
			t.Fatalf("ParseAddr(%q) = %v, %v", text, addr, addrErr)
		}
		prefix, err := ParsePrefix(text)
		if (err == nil) != prefix.IsValid() || prefix != prefix.Masked() {
			t.Fatalf("ParsePrefix(%q) = %v, %v", text, prefix, err)
		}
		if addrErr == nil && prefix != netip.PrefixFrom(addr, addr.BitLen()) {
			t.Fatalf("%q is the address %v and the range %v", text, addr, prefix)
		}
		if again, errAgain := ParsePrefix(prefix.String()); err == nil && (errAgain != nil || again != prefix) {
			t.Fatalf("%q is %v, which is read as %v, %v", text, prefix, again, errAgain)
		}
		ranges, ok, rangesErr := ParseRanges(text)
		if ok != (len(ranges) > 0) || ok && rangesErr != nil || slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p != p.Masked() }) {
			t.Fatalf("ParseRanges(%q) = %v, %v, %v", text, ranges, ok, rangesErr)
		}
		if ok && text != "private_ranges" && err != nil {
			t.Fatalf("%q is the range %v, and an error: %v", text, ranges, err)
		}
	})
}

func TestIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "127.0.0.1": true, "127.8.9.1": true, "::1": true,
		"": false, "localhost.example.com": false, "192.0.2.1": false, "0.0.0.0": false, "::": false,
	} {
		if got := IsLoopback(host); got != want {
			t.Errorf("%q: %t", host, got)
		}
	}
}

func TestParseCountry(t *testing.T) {
	for text, want := range map[string]string{
		"DE": "DE", "nl": "NL", "ZZ": "ZZ",
		"": "", "D": "", "DEU": "", "D1": "", "12": "", "\u0131": "", "\u0131a": "", "d\u00df": "", "D ": "",
	} {
		if got, ok := ParseCountry(text); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %t", text, got, ok)
		}
	}
}
