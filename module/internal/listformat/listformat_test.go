package listformat

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/jsonstream"
)

// collected is a list with what was read of it.
type collected struct {
	List
	Prefixes []netip.Prefix
}

// parse reads a whole list.
func parse(body string, f Format, own bool) (*collected, error) {
	c := new(collected)
	c.Add = func(p netip.Prefix) error {
		c.Prefixes = append(c.Prefixes, p)
		return nil
	}
	err := f.Complete()
	if err == nil {
		err = c.Read(strings.NewReader(body), f, Options{Own: own, Strict: own})
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
	long := strings.Repeat("x", 3*MaxLine)
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
		{name: "the publisher's data", body: "192.0.2.1 GB host.example.org 2026-11-10 09:11:03 56 /login\n192.0.2.2,GB-EN,London,\n192.0.2.3\t-\t-\n192.0.2.4 \"x\" ::\n", want: []string{"192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32"}, wrong: 1},
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
		{name: "JSON named array", format: Format{Encoding: JSON, Members: []string{"hooks"}}, body: `{"hooks":["192.0.2.0/25"],"actions":["198.51.100.0/24"],"keys":[{"id":1}]}`, want: []string{"192.0.2.0/25"}},
		{name: "JSON array in a member", format: Format{Encoding: JSON, Members: []string{"ips"}}, body: `[{"ips":["192.0.2.0/31",7]},{"ips":[]},{"urls":["192.0.2.9"]},{"ips":"192.0.2.5"}]`, want: []string{"192.0.2.0/31", "192.0.2.5/32"}, wrong: 2},
		{name: "JSON nested", format: Format{Encoding: JSON, Members: []string{"properties.addressPrefixes"}}, body: `{"values":[{"id":"192.0.2.9","properties":{"region":"192.0.2.8","addressPrefixes":["192.0.2.0/28"]}},{"properties":{}}]}`, want: []string{"192.0.2.0/28"}, wrong: 1},
		{name: "JSON nested from the document", format: Format{Encoding: JSON, Members: []string{"values.properties.addressPrefixes", "data.ip"}}, body: `{"values":[{"properties":{"addressPrefixes":["192.0.2.0/28"]}},{}],"data":{"ip":"192.0.2.77"},"others":[{}]}`, want: []string{"192.0.2.0/28", "192.0.2.77/32"}, wrong: 1},
		{name: "JSON deep array", format: Format{Encoding: JSON, Members: []string{"a.b.ip"}}, body: `{"a":{"b":[{"ip":"192.0.2.1"},{"x":"192.0.2.2"},[{"ip":"192.0.2.3"}]],"c":[{}]}}`, want: []string{"192.0.2.1/32", "192.0.2.3/32"}, wrong: 1},
		{name: "JSON dot in a name", format: Format{Encoding: JSON, Members: []string{"ip.addr"}}, body: `[{"ip.addr":"192.0.2.1"},{"ip":{"addr":"192.0.2.2"}}]`, want: []string{"192.0.2.1/32", "192.0.2.2/32"}},
		{name: "JSON object in a named array", format: Format{Encoding: JSON, Members: []string{"hooks"}}, body: `{"hooks":["192.0.2.1",{"ip":"192.0.2.2"},["192.0.2.3"],null]}`, want: []string{"192.0.2.1/32"}, wrong: 3},
		{name: "JSON escapes", format: json, body: `[{"ipv4\u0050refix":"192\u002e0.2.1"},{"x":"\"]}[{","ipv4Prefix":"192.0.2.2"}]`, want: []string{"192.0.2.1/32", "192.0.2.2/32"}},
		{name: "NDJSON nested", format: Format{Encoding: NDJSON, Members: []string{"net.cidr"}}, body: `{"net":{"cidr":["192.0.2.1"]}}` + "\n" + `{"net":{"cidr":"192.0.2.2"}} x` + "\n" + `{"net":{"cidr":"192.0.2.3"}}{}`, want: []string{"192.0.2.1/32"}, wrong: 2},
		{name: "JSON empty", format: json, body: ` [ ] `, want: []string{}},

		{name: "CSV", format: csv, body: "# c\n\"first\",\"DST_IP\"\n\"x,y\",\"192.0.2.1\"\nz, 192.0.2.2\n# end", want: []string{"192.0.2.1/32", "192.0.2.2/32"}},
		{name: "CSV quotes", format: csv, body: "a,dst_ip,b\n5\" disk,192.0.2.1,\"x \"\"y\"\" z\"\n\"a \"word\" b\" , \"192.0.2.2\" ,\n\"open,192.0.2.3,\n,192.0.2.4,\"open", want: []string{"192.0.2.1/32", "192.0.2.2/32"}, wrong: 2},
		{name: "CSV with a field of several lines", format: csv, body: "dst_ip,b\n192.0.2.1,\"what a visitor wrote\n192.0.2.2,x\n\n# 192.0.2.3,\"\"y\n192.0.2.4,z\",\n192.0.2.5,x\n", want: []string{"192.0.2.5/32"}, wrong: 5},
		{name: "CSV with two such fields", format: csv, body: "b,dst_ip\n\"a\nb\",\"c\n192.0.2.2,192.0.2.2\n\nd\"\nx,192.0.2.5\n", want: []string{"192.0.2.5/32"}, wrong: 5},
		{name: "CSV by its header, though its first record is wrong", body: "dst_ip,b\n192.0.2.1,\"what a visitor wrote\n192.0.2.2,x\"\n192.0.2.5,x\n", want: []string{"192.0.2.5/32"}, wrong: 2},
		{name: "CSV more fields than columns", format: csv, body: "dst_ip,b\n192.0.2.1, 192.0.2.2,x\n192.0.2.3,x,,\n192.0.2.4 - 192.0.2.9,x\n\"192.0.2.5, 192.0.2.6\",x", want: []string{"192.0.2.3/32"}, wrong: 3},
		{name: "iptables, what one machine sends", format: Format{Encoding: IPTables}, body: "-A OUTPUT -s 192.0.2.1 -j DROP\n-A POSTROUTING -s 192.0.2.2 -j DROP\n-A INPUT -s 192.0.2.3 -j DROP\n", want: []string{"192.0.2.3/32"}, wrong: 2},
		{name: "iptables, twice", format: Format{Encoding: IPTables}, body: "-A x -s 192.0.2.1 -s 192.0.2.2 -j DROP\n-A x -s 192.0.2.3 -j ACCEPT -j DROP\n-A x -j DROP\n", want: []string{}, wrong: 2, skipped: 1},
		{name: "CSV short row", format: csv, body: "a,dst_ip\nx\nx,y\nx,192.0.2.1", want: []string{"192.0.2.1/32"}, wrong: 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := parse(test.body, test.format, false)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, prefixStrings(c.Prefixes)); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
			if c.Wrong != test.wrong || c.Skipped != test.skipped {
				t.Errorf("%d wrong, %d skipped, want %d and %d; first: %v", c.Wrong, c.Skipped, test.wrong, test.skipped, c.FirstWrong)
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
		want   error
		says   string
	}{
		{name: "HTML", body: "<!DOCTYPE html><html>", want: ErrHTML},
		{name: "HTML after BOM and space", body: "\ufeff \r\n<html>", want: ErrHTML},
		{name: "HTML as JSON", format: Format{Encoding: JSON}, body: "<html>", want: ErrHTML},
		{name: "binary", body: "\x1f\x8b\x08\x00", want: ErrNotText, says: "0x1f"},
		{name: "UTF-16", body: "1\x009\x002\x00", want: ErrNotText},
		{name: "own list", own: true, body: "192.0.2.1\n::1\n10.0.0.0/8\n192.0.2.300 # x\n", want: ErrUnparsable, says: `line 4: "192.0.2.300" is not an address or a CIDR`},
		{name: "JSON breaks off", format: Format{Encoding: JSON}, body: `["192.0.2.1", `, want: ErrUnparsable, says: "breaks off"},
		{name: "JSON nothing", format: Format{Encoding: JSON}, body: ``, want: ErrUnparsable, says: "breaks off"},
		{name: "JSON syntax", format: Format{Encoding: JSON}, body: `["192.0.2.1" "x"]`, want: ErrUnparsable, says: "byte"},
		{name: "JSON scalar", format: Format{Encoding: JSON}, body: `"rate limited"`, want: ErrUnparsable},
		{name: "JSON without array", format: Format{Encoding: JSON}, body: `{"error":"x"}`, want: ErrUnparsable, says: "no array"},
		{name: "NDJSON as JSON", format: Format{Encoding: JSON, Members: []string{"a"}}, body: "[]\n[]", want: ErrUnparsable, says: "ndjson"},
		{name: "JSON without the member", format: Format{Encoding: JSON, Members: []string{"hooks"}}, body: `{"actions":["192.0.2.1"]}`, want: ErrUnparsable, says: "no member hooks"},
		{name: "JSON several arrays", format: Format{Encoding: JSON}, body: `{"hooks":["192.0.2.0/25"],"actions":["198.51.100.0/24"],"n":1}`, want: ErrUnparsable, says: "name one with `field`: \"hooks[]\", \"actions[]\""},
		{name: "JSON deep", format: Format{Encoding: JSON}, body: strings.Repeat("[", jsonstream.MaxDepth+1), want: ErrUnparsable, says: "deeper than 32"},
		{name: "JSON wrong literal", format: Format{Encoding: JSON}, body: `[nul]`, want: ErrUnparsable, says: "byte"},
		{name: "JSON comma", format: Format{Encoding: JSON}, body: `["192.0.2.1",]`, want: ErrUnparsable, says: "comma"},
		{name: "JSON name", format: Format{Encoding: JSON}, body: `{1:[]}`, want: ErrUnparsable, says: "name"},
		{name: "JSON escape", format: Format{Encoding: JSON}, body: `["\x"]`, want: ErrUnparsable, says: "byte"},
		{name: "nginx, exceptions first", body: "allow 192.0.2.1;\ndeny 192.0.2.0/24;\ndeny all;\n", want: ErrUnparsable, says: "line 2 denies, and lines before it allow"},
		{name: "Apache, exceptions first", body: "Allow from 192.0.2.1\nDeny from 192.0.2.0/24\n", want: ErrUnparsable, says: "line 2 denies, and lines before it allow"},
		{name: "CSV column", format: Format{Encoding: CSV, Members: []string{"ip"}}, body: "a,b\n1,2", want: ErrUnparsable, says: `no CSV column is named "ip"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := parse(test.body, test.format, test.own)
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want %v saying %q", err, test.want, test.says)
			}
		})
	}
}

// An own list may name what is reserved, and a list of others may: it is removed later.
func TestOwnListsMayNameReservedRanges(t *testing.T) {
	c, err := parse("10.0.0.0/8\n::1\nfd00::/8\nfe80::/10\n224.0.0.0/4\n", Format{}, true)
	if err != nil || len(c.Prefixes) != 5 {
		t.Errorf("got %v, %v", c.Prefixes, err)
	}
}

// TestHalfUnderstoodLines: none of these is taken for the address at its beginning, whoever wrote it.
func TestHalfUnderstoodLines(t *testing.T) {
	for line, why := range map[string]string{
		"203.0.113.0 - 203.0.113.255":      "a range from one address to another",
		"203.0.113.0-203.0.113.255":        "a range from one address to another",
		"203.0.113.0 -203.0.113.255":       "a range from one address to another",
		"203.0.113.0 - 203.0.113":          "a range from one address to another",
		"203.0.113.0 \u2013 203.0.113.255": "a range from one address to another",
		"2001:db8::1 - 2001:db8::9":        "a range from one address to another",
		"203.0.113.1 203.0.113.9":          "more than one address",
		"80.94.92.0\t80.94.92.255\t24":     "more than one address",
		"203.0.113.1\t7\t203.0.113.0/24":   "more than one address",
		"203.0.113.1 (203.0.113.9)":        "more than one address",
		"198.51.100.7, 198.51.100.8":       "more than one address",
		"198.51.100.7,scanner,2001:db8::1": "more than one address",
		"10.0.0.0 255.0.0.0":               "write 10.0.0.0/8",
		"203.0.113.0,255.255.255.128":      "write 203.0.113.0/25",
		"203.0.113.0/24 255.255.255.0":     "more than one address",
		"198.51.100.0 /24":                 "a space before the length",
		"198.51.100.0 / 24":                "a space before the length",
		"203.0.113.7/3":                    "is too wide",
		"0.0.0.0/0":                        "is too wide",
		"::/0":                             "is too wide",
		"64.0.0.0/7":                       "is too wide",
		"2600::/12":                        "is too wide",
		",203.0.113.7":                     "not an address",
		"203.0.113.*":                      "not an address",
	} {
		t.Run(line, func(t *testing.T) {
			for _, own := range []bool{false, true} {
				list := collected{}
				list.Add = func(p netip.Prefix) error { return fmt.Errorf("%s was taken", p) }
				err := list.Read(strings.NewReader("# ours\n"+line+" # note\n"), Format{Encoding: Text}, Options{Own: own})
				if err != nil || list.Wrong != 1 || !strings.Contains(list.FirstWrong.Error(), why) || !strings.HasPrefix(list.FirstWrong.Error(), "line 2: ") {
					t.Errorf("own %v: %d wrong, %v, %v, want %q", own, list.Wrong, list.FirstWrong, err, why)
				}
			}
		})
	}
}

// TestOwnLines: a line of an own list is an address or a range and nothing else, and a mistake names its cure.
func TestOwnLines(t *testing.T) {
	for line, why := range map[string]string{
		"203.0.113.7 scanner":        "begin a comment with #",
		"203.0.113.7 -":              "begin a comment with #",
		"203.0.113.7,scanner":        "begin a comment with #",
		"203.0.113.7\t12":            "begin a comment with #",
		"203.0.113.7 203.0.113.9":    "`format ranges`",
		"AS64500":                    "`format asn`",
		"203.0.113.7/24":             "write 203.0.113.7 for the address, or 203.0.113.0/24 for the range",
		"2001:db8::7/64":             "write 2001:db8::7 for the address",
		"198.51.100.7//24":           "is not an address",
		"203.0.113.7 # scanner":      "",
		"203.0.113.7 // it":          "",
		"//203.0.113.9\n203.0.113.7": "",
		" 203.0.113.7 , ":            "",
		"203.0.113.0/24;2026":        "",
	} {
		c, err := parse(line, Format{}, true)
		if why == "" && (err != nil || len(c.Prefixes) != 1) || why != "" && (err == nil || !strings.Contains(err.Error(), why)) {
			t.Errorf("%q: %v, %v, want %q", line, c.Prefixes, err, why)
		}
	}
}
