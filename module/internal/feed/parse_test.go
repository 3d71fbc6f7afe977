package feed

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// parse reads a whole list the way a fetched one is read.
func parse(body string, f Format, own bool) (*content, error) {
	err := f.complete("test")
	c := newContent(&Spec{Own: own, Format: f}, 0)
	c.strict = own
	if err == nil {
		err = readGuarded(strings.NewReader(body), c)
	}
	return c, err
}

func prefixStrings(prefixes []netip.Prefix) []string {
	s := make([]string, len(prefixes))
	for i, p := range prefixes {
		s[i] = p.String()
	}
	return s
}

func TestParse(t *testing.T) {
	long := strings.Repeat("x", 3*maxLine)
	json := Format{Encoding: JSON, Members: []string{"ipv4Prefix", "ipv6Prefix"}}
	ndjson := Format{Encoding: NDJSON, Members: []string{"cidr"}}
	csv := Format{Encoding: CSV, Members: []string{"dst_ip"}}
	counted := Format{MinCount: 3}
	for _, test := range []struct {
		name    string
		format  Format
		body    string
		want    []string
		wrong   int
		skipped int
	}{
		{name: "address", body: "192.0.2.1\n", want: []string{"192.0.2.1/32"}},
		{name: "no newline at the end", body: "192.0.2.1\n192.0.2.2", want: []string{"192.0.2.1/32", "192.0.2.2/32"}},
		{name: "CIDR", body: "192.0.2.0/24\n2001:db8::/32", want: []string{"192.0.2.0/24", "2001:db8::/32"}},
		{name: "host bits", body: "192.0.2.77/24\n2001:db8::7/32", want: []string{"192.0.2.0/24", "2001:db8::/32"}},
		{name: "mapped", body: "::ffff:192.0.2.1\n::ffff:192.0.2.0/120", want: []string{"192.0.2.1/32", "192.0.2.0/24"}},
		{name: "upper case", body: "2001:DB8::A", want: []string{"2001:db8::a/128"}},
		{name: "blank lines", body: "\n  \n\t\n192.0.2.1\n\n", want: []string{"192.0.2.1/32"}},
		{name: "comments", body: "# a\n; b\n// c\n  # d\n192.0.2.1", want: []string{"192.0.2.1/32"}},
		{name: "comments after", body: "192.0.2.1 # a\n192.0.2.2;b\n192.0.2.3//c\n192.0.2.4#d\n192.0.2.0/24//e", want: []string{"192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32", "192.0.2.4/32", "192.0.2.0/24"}},
		{name: "first field", body: "192.0.2.1 x\n192.0.2.2\tx\n192.0.2.3,x\n 192.0.2.4", want: []string{"192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32", "192.0.2.4/32"}},
		{name: "CRLF", body: "192.0.2.1\r\n\r\n192.0.2.2\r\n", want: []string{"192.0.2.1/32", "192.0.2.2/32"}},
		{name: "BOM", body: "\ufeff192.0.2.1\n", want: []string{"192.0.2.1/32"}},
		{name: "wrong lines", body: "192.0.2.1\nhello\n192.0.2.256\n192.0.2.1/33\n192.0.2.1/\n192.0.2\n01.2.3.4\nfe80::1%eth0", want: []string{"192.0.2.1/32"}, wrong: 7},
		{name: "long line", body: "192.0.2.1\n" + long + "\n192.0.2.2\n" + long, want: []string{"192.0.2.1/32", "192.0.2.2/32"}, wrong: 2},
		{name: "NUL later", body: strings.Repeat("#\n", sniffed) + "192.0.2.1\x00\n192.0.2.2\n", want: []string{"192.0.2.2/32"}, wrong: 1},
		{name: "the whole world", body: "0.0.0.0/0\n::/0\n128.0.0.0/1\n2000::/3\n::ffff:0:0/96\n192.0.2.0/24", want: []string{"192.0.2.0/24"}, wrong: 5},
		{name: "wide but reserved", body: "0.0.0.0/8\n224.0.0.0/3\nfc00::/7\n224.0.0.0/4", want: []string{"0.0.0.0/8", "224.0.0.0/3", "fc00::/7", "224.0.0.0/4"}},
		{name: "widest", body: "203.0.0.0/8\n2001::/16", want: []string{"203.0.0.0/8", "2001::/16"}},

		{name: "count", format: counted, body: "192.0.2.1\t3\n192.0.2.2\t2\n192.0.2.3 10 x\n192.0.2.4\n192.0.2.5\tx", want: []string{"192.0.2.1/32", "192.0.2.3/32"}, wrong: 2, skipped: 1},

		{name: "NDJSON", format: ndjson, body: `{"cidr":"192.0.2.0/24","sblid":"SBL1"}` + "\r\n\n" + `{"type":"metadata","records":1}`, want: []string{"192.0.2.0/24"}},
		{name: "NDJSON wrong", format: ndjson, body: "{\"cidr\":\"x\"}\n{\"cidr\":7}\n{}\n[]\nnull\nx\n{\"cidr\":null}\n" + `{"cidr":"192.0.2.1"}` + "\n" + long, want: []string{"192.0.2.1/32"}, wrong: 8},

		{name: "JSON strings", format: Format{Encoding: JSON}, body: `["192.0.2.1", " 192.0.2.2 "]`, want: []string{"192.0.2.1/32", "192.0.2.2/32"}},
		{name: "JSON objects", format: json, body: `[{"ipv4Prefix":"192.0.2.0/24"},{"ipv6Prefix":"2001:db8::/32","ipv4Prefix":null}]`, want: []string{"192.0.2.0/24", "2001:db8::/32"}},
		{name: "JSON both members", format: json, body: `[{"ipv4Prefix":"192.0.2.1","ipv6Prefix":"2001:db8::1"}]`, want: []string{"192.0.2.1/32", "2001:db8::1/128"}},
		{name: "JSON object", format: json, body: `{"a":{"b":[{"c":1}]},"prefixes":[{"ipv4Prefix":"192.0.2.1"}],"d":"x","e":[{"ipv6Prefix":"2001:db8::1"}]}`, want: []string{"192.0.2.1/32", "2001:db8::1/128"}},
		{name: "JSON wrong elements", format: json, body: `[1, null, true, [], {}, {"ipv4Prefix":1}, "192.0.2.1"]`, want: []string{"192.0.2.1/32"}, wrong: 6},
		{name: "JSON empty", format: json, body: ` [ ] `, want: []string{}},

		{name: "CSV", format: csv, body: "# c\n\"first\",\"DST_IP\"\n\"x,y\",\"192.0.2.1\"\nz, 192.0.2.2\n# end", want: []string{"192.0.2.1/32", "192.0.2.2/32"}},
		{name: "CSV short row", format: csv, body: "a,dst_ip\nx\nx,y\nx,192.0.2.1", want: []string{"192.0.2.1/32"}, wrong: 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := parse(test.body, test.format, false)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, prefixStrings(c.prefixes)); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
			if c.wrong != test.wrong || c.skipped != test.skipped {
				t.Errorf("%d wrong, %d skipped, want %d and %d; first: %v", c.wrong, c.skipped, test.wrong, test.skipped, c.first)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, test := range []struct {
		name   string
		format Format
		body   string
		own    bool
		want   Result
		says   string
	}{
		{name: "HTML", body: "<!DOCTYPE html><html>", want: ResultHTML},
		{name: "HTML after BOM and space", body: "\ufeff \r\n<html>", want: ResultHTML},
		{name: "HTML as JSON", format: Format{Encoding: JSON}, body: "<html>", want: ResultHTML},
		{name: "binary", body: "\x1f\x8b\x08\x00", want: ResultNotText, says: "0x1f"},
		{name: "UTF-16", body: "1\x009\x002\x00", want: ResultNotText},
		{name: "own list", own: true, body: "192.0.2.1\n0.0.0.0/0\n10.0.0.0/8\n192.0.2.300 # x\n", want: ResultUnparsable, says: `line 4: "192.0.2.300" is not an address or a CIDR`},
		{name: "JSON breaks off", format: Format{Encoding: JSON}, body: `["192.0.2.1", `, want: ResultUnparsable, says: "breaks off"},
		{name: "JSON nothing", format: Format{Encoding: JSON}, body: ``, want: ResultUnparsable, says: "breaks off"},
		{name: "JSON syntax", format: Format{Encoding: JSON}, body: `["192.0.2.1" "x"]`, want: ResultUnparsable, says: "byte"},
		{name: "JSON scalar", format: Format{Encoding: JSON}, body: `"rate limited"`, want: ResultUnparsable},
		{name: "JSON without array", format: Format{Encoding: JSON}, body: `{"error":"x"}`, want: ResultUnparsable, says: "no array"},
		{name: "NDJSON as JSON", format: Format{Encoding: JSON, Members: []string{"a"}}, body: "[]\n[]", want: ResultUnparsable, says: "ndjson"},
		{name: "CSV column", format: Format{Encoding: CSV, Members: []string{"ip"}}, body: "a,b\n1,2", want: ResultUnparsable, says: `no CSV column is named "ip"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := parse(test.body, test.format, test.own)
			var f *failure
			if !errors.As(err, &f) || f.result != test.want || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want %s saying %q", err, test.want, test.says)
			}
		})
	}
}

func TestOwnListsMayNameAnything(t *testing.T) {
	c, err := parse("0.0.0.0/0\n10.0.0.0/8\n::1\n", Format{}, true)
	if err != nil || len(c.prefixes) != 3 {
		t.Errorf("got %v, %v", c.prefixes, err)
	}
}

// slowPrefix is what parsePrefix must agree with.
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
	got, ok := parsePrefix([]byte(s))
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

// checkContent holds for whatever was read: nothing in it could block the world, and nothing is unmasked.
func checkContent(t *testing.T, c *content) {
	for _, p := range c.prefixes {
		if !p.IsValid() || p != p.Masked() || tooWide(p) || p.Addr().Is4In6() && p.Bits() >= 96 {
			t.Errorf("%v was accepted", p)
		}
	}
}

func fuzzFormat(f *testing.F, format Format, seeds ...string) {
	for _, name := range seeds {
		f.Add([]byte(read(f, "testdata", name)))
	}
	f.Add([]byte("\ufeff192.0.2.1,x\r\n"))
	f.Add([]byte(`{"a":[{"ip":"::1"}],"b":{}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := parse(string(body), format, false)
		if err == nil || len(c.prefixes) > 0 {
			checkContent(t, c)
		}
	})
}

func FuzzText(f *testing.F) {
	fuzzFormat(f, Format{}, "firehol_level1.netset", "bruteforceblocker.txt")
}

func FuzzCounted(f *testing.F) { fuzzFormat(f, Format{MinCount: 3}, "ipsum.txt") }

func FuzzNDJSON(f *testing.F) {
	fuzzFormat(f, Format{Encoding: NDJSON, Members: []string{"cidr"}}, "spamhaus_drop_v4.json", "spamhaus_drop_v6.json")
}

func FuzzJSON(f *testing.F) {
	fuzzFormat(f, Format{Encoding: JSON, Members: []string{"ip_address", "ipv4Prefix", "ipv6Prefix"}}, "feodo.json", "google_crawlers.json", "aws.json")
}

func FuzzCSV(f *testing.F) {
	fuzzFormat(f, Format{Encoding: CSV, Members: []string{"dst_ip"}}, "feodo.csv")
}

// TestEachLine compares with a twin that splits a string.
func TestEachLine(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		parts := rapid.SliceOfN(rapid.SampledFrom([]string{"", "a", "b\r", strings.Repeat("c", maxLine-1), strings.Repeat("d", maxLine+1), "\r"}), 1, 8).Draw(rt, "lines")
		var want []string
		for i, p := range parts {
			if len(p) > maxLine {
				want = append(want, "long")
			} else if p = strings.TrimSuffix(p, "\r"); p != "" || i < len(parts)-1 {
				want = append(want, p)
			}
		}
		var got []string
		err := eachLine(strings.NewReader(strings.Join(parts, "\n")), func(number int, line []byte) error {
			if number != len(got)+1 {
				rt.Errorf("line %d is numbered %d", len(got)+1, number)
			}
			if line == nil {
				got = append(got, "long")
			} else {
				got = append(got, string(line))
			}
			return nil
		})
		if err != nil || !slices.Equal(got, want) {
			rt.Errorf("got %d lines, want %d, %v", len(got), len(want), err)
		}
	})
}

// millionLines is a list as it comes: shuffled addresses and ranges of the whole of IPv4 that is not reserved.
func millionLines(n int) string {
	random := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for range n {
		v := random.Uint32N(100<<24) + 110<<24 // 110.0.0.0 to 209.255.255.255
		fmt.Fprintf(&b, "%d.%d.%d.%d", v>>24, v>>16&255, v>>8&255, v&255)
		if v%8 == 0 {
			b.WriteString("/24")
		}
		b.WriteByte('\n')
	}
	return b.String()
}
