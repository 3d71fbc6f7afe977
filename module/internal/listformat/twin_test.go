package listformat

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
)

// A twin reads one line by patterns and netip: slowly, but it can be read at a glance.
type twin struct {
	encoding Encoding
	pieces   [][]string                         // of which lines are made
	read     func(line string) (entries string) // "" for a wrong line, "skip" for one that lists nobody
}

var (
	someAddresses = []string{"203.0.113.7", "203.0.113.0/24", "198.51.100.0", "198.51.100.9/28", "2001:db8::1", "2001:db8::/32",
		"203.0.113.300", "0.0.0.0/1", "1.2.3", "example.org", "", "10.1", "::ffff:203.0.113.9", "01.2.3.4"}
	withRange = regexp.MustCompile(`^([0-9a-fA-F:.]+)-([0-9a-fA-F:.]+)$`)
)

// twinEntry reads an address, a CIDR or A-B. Its result is "first-last".
func twinEntry(text string) string {
	if p, err := netip.ParsePrefix(text); err == nil && !address.TooWide(p) {
		r := address.RangeOf(p)
		return r.From.String() + "-" + r.To.String()
	}
	if a, err := netip.ParseAddr(text); err == nil {
		return fmt.Sprintf("%s-%[1]s", a.Unmap())
	}
	return ""
}

func twinRange(from, to string) string {
	a, err1 := netip.ParseAddr(from)
	b, err2 := netip.ParseAddr(to)
	r := address.Range{From: a.Unmap(), To: b.Unmap()}
	if err1 != nil || err2 != nil || !r.IsValid() || r.TooWide() {
		return ""
	}
	return r.From.String() + "-" + r.To.String()
}

func matched(pattern, line string) []string {
	return regexp.MustCompile(pattern).FindStringSubmatch(line)
}

var twins = []twin{
	{Ranges, [][]string{someAddresses, {" - ", "-", "- ", " -", " ", "\t", " – ", ","}, someAddresses, {"", " x", " # 192.0.2.1", " 192.0.2.1", " , 000 , x"}}, func(line string) string {
		line, _, _ = strings.Cut(line, "#")
		const a = `([0-9a-fA-F:.]+)`
		rest := func(text string) bool { return !regexp.MustCompile(`(^|[\s,])192\.0\.2\.1`).MatchString(text) }
		if m := matched(`^\s*`+a+`\s*[-–]\s*`+a+`(?:[\s,](.*))?$`, line); m != nil && twinEntry(m[1]) != "" && twinEntry(m[2]) != "" {
			if !rest(m[3]) {
				return ""
			}
			return twinRange(m[1], m[2])
		}
		if m := matched(`^\s*`+a+`[\s,]\s*`+a+`(?:[\s,](.*))?$`, line); m != nil && twinEntry(m[1]) != "" && twinEntry(m[2]) != "" {
			if !rest(m[3]) {
				return ""
			}
			return twinRange(m[1], m[2])
		}
		m := matched(`^\s*`+a+`((?:/\d+)?)(?:[\s,](.*))?$`, line)
		if m == nil || !rest(m[3]) {
			return ""
		}
		for field := range strings.FieldsFuncSeq(m[3], func(r rune) bool { return r == ' ' || r == '\t' || r == ',' }) {
			if field = strings.Trim(field, "-"); twinEntry(field) != "" || field == "0.0.0.0/1" {
				return ""
			}
		}
		if matched(`^\s*[-–]\s*[\d.]*\.[\d.]*\.[\d.]*(\s|,|$)`, m[3]) != nil || matched(`^/`, strings.TrimSpace(m[3])) != nil {
			return ""
		}
		return twinEntry(m[1] + m[2])
	}},
	{IPSet, [][]string{{"add ", "create ", "add -exist ", "del ", ""}, {"a "}, append([]string{"203.0.113.4-203.0.113.9", "203.0.113.9-203.0.113.4", "203.0.113.7,tcp:80"}, someAddresses...), {"", " timeout 9", ` comment "a b"`, ` comment "a`, " nomatch", " timeout", " 203.0.113.9"}}, func(line string) string {
		if strings.HasPrefix(line, "create ") {
			return "none"
		}
		m := matched(`^add (?:-exist )?\s*\S+\s+(\S+)((?: timeout \d+| comment "[^"]*")*)$`, line)
		if m == nil {
			return ""
		}
		if r := withRange.FindStringSubmatch(m[1]); r != nil {
			return twinRange(r[1], r[2])
		}
		return twinEntry(m[1])
	}},
	{IPTables, [][]string{{"-A x ", "[1:2] -A x ", "-D x ", ":x - [0:0]", "*"}, {"-s ", "! -s ", "-p tcp -s ", "", "-m comment --comment \"-s 192.0.2.1\" -s "}, someAddresses, {" -j DROP", " -j REJECT --reject-with x", " -j ACCEPT", " -p tcp -j DROP", ""}}, func(line string) string {
		switch {
		case line == ":x - [0:0]":
			return "none"
		case !strings.Contains(line, "-A"):
			return ""
		case !regexp.MustCompile(` -s\b`).MatchString(strings.ReplaceAll(line, `"-s 192.0.2.1"`, "")):
			return "skip"
		}
		m := matched(`^(?:\[\d+:\d+\] )?-A x (?:-m comment --comment "[^"]*" )?-s (\S+) -j (?:DROP|REJECT --reject-with x)$`, line)
		if m == nil {
			return ""
		}
		return twinEntry(m[1])
	}},
	{Nginx, [][]string{{"deny ", "deny\t ", "proxy_pass ", ""}, append([]string{"all", "unix:"}, someAddresses...), {";", "; # x", "", " ;", " 1;", " 0;", "; deny 192.0.2.1;"}}, func(line string) string {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if matched(`^deny\s+unix:\s*;$`, line) != nil {
			return "skip"
		}
		if m := matched(`^deny\s+(\S+?)\s*;$`, line); m != nil {
			return twinEntry(m[1])
		}
		if m := matched(`^(\S+) ([01])\s*;$`, line); m != nil && (twinEntry(m[1]) != "" || m[1] == "0.0.0.0/1") {
			if m[2] == "0" {
				return "skip"
			}
			return twinEntry(m[1])
		}
		return ""
	}},
	{Apache, [][]string{{"Deny from ", "deny  FROM ", "Require not ip ", "Require not host ", "Order ", ""}, someAddresses, {"", " ", " # x", " 203.0.113.300", " all"}}, func(line string) string {
		line, _, _ = strings.Cut(line, " #")
		if strings.HasPrefix(line, "Order ") {
			return "none"
		}
		m := matched(`^(?i:deny\s+from|require\s+not\s+ip)\s+(\S+)\s*$`, line)
		if m == nil {
			return ""
		}
		if short := matched(`^(\d+\.\d+)(\.\d+)?$`, m[1]); short != nil {
			if short[2] == "" {
				return twinEntry(m[1] + ".0.0/16")
			}
			return twinEntry(m[1] + ".0/24")
		}
		return twinEntry(m[1])
	}},
	{Hosts, [][]string{append([]string{"127.0.0.1", "::1", "0.0.0.0"}, someAddresses...), {" ", "\t"}, {"", "localhost", "example.org", "a b # c", "a 192.0.2.1"}}, func(line string) string {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0:
			return "none"
		case fields[0] == "127.0.0.1" || fields[0] == "::1" || fields[0] == "0.0.0.0":
			if len(fields) == 2 && fields[1] == "localhost" {
				return "skip"
			}
			return ""
		case len(fields) < 2 || strings.Contains(line, "192.0.2.1"):
			return ""
		}
		return twinEntry(fields[0])
	}},
	{DShield, [][]string{{"203.0.113.0", "2001:db8::", "198.51.100.0"}, {"\t", " "}, {"203.0.113.255", "203.0.113.127", "2001:db8::ff", "198.51.100.0"}, {"\t", " "}, {"24", "25", "120", "32", "x", ""}, {"", "\tx\ty"}}, func(line string) string {
		m := matched(`^([^\t ]+)\t([^\t ]+)\t(\d+)(?:\t.*)?$`, line)
		if m == nil || twinEntry(m[1]+"/"+m[3]) == "" || twinEntry(m[1]+"/"+m[3]) != twinRange(m[1], m[2]) {
			return ""
		}
		return twinRange(m[1], m[2])
	}},
}

// TestLinesAgreeWithTheirTwins reads lines that are made of pieces, of which many are wrong.
func TestLinesAgreeWithTheirTwins(t *testing.T) {
	for _, twin := range twins {
		t.Run(string(twin.encoding), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				var line string
				for _, pieces := range twin.pieces {
					line += rapid.SampledFrom(pieces).Draw(rt, "piece")
				}
				c, err := parse(line, Format{Encoding: twin.encoding}, false)
				if err != nil {
					rt.Fatal(err)
				}
				got := span4(c.Prefixes)
				switch {
				case c.Wrong > 0 && len(c.Prefixes) == 0:
					got = ""
				case c.Skipped > 0 && len(c.Prefixes)+c.Wrong == 0:
					got = "skip"
				case len(c.Prefixes) == 0:
					got = "none"
				}
				want := twin.read(line)
				if twin.encoding == Ranges || twin.encoding == Text { // without any field
					line = strings.Trim(line, ",")
				}
				if isBlank := strings.TrimSpace(line) == "" || isComment([]byte(strings.TrimSpace(line))); isBlank {
					want = "none"
				}
				if got != want {
					rt.Errorf("%q: got %q, want %q; %v", line, got, want, c.FirstWrong)
				}
			})
		})
	}
}

// span4 returns the first and the last address of neighbours.
func span4(prefixes []netip.Prefix) string {
	if len(prefixes) == 0 {
		return ""
	}
	first, last := address.RangeOf(prefixes[0]), address.RangeOf(prefixes[len(prefixes)-1])
	return first.From.String() + "-" + last.To.String()
}

// jsonPlaces returns each string of a document with its path, in which arrays are named.
func jsonPlaces(value any, path string, add func(path, text string)) {
	switch v := value.(type) {
	case string:
		add(path, v)
	case []any:
		for _, e := range v {
			jsonPlaces(e, path+"[]", add)
		}
	case map[string]any:
		for name, e := range v {
			jsonPlaces(e, strings.TrimPrefix(path+"."+name, "."), add)
		}
	}
}

func drawJSON(rt *rapid.T, depth int) any {
	kinds := []string{"address", "address", "text", "null", "array", "object", "object"}
	if depth == 0 {
		kinds = kinds[:4]
	}
	switch rapid.SampledFrom(kinds).Draw(rt, "kind") {
	case "address":
		return rapid.SampledFrom([]string{"192.0.2.1", "192.0.2.0/24", "2001:db8::1", " 192.0.2.2"}).Draw(rt, "address")
	case "text":
		return rapid.SampledFrom([]string{"", "x", "192.0.2.300"}).Draw(rt, "text")
	case "array":
		list := make([]any, rapid.IntRange(0, 3).Draw(rt, "length"))
		for i := range list {
			list[i] = drawJSON(rt, depth-1)
		}
		return list
	case "object":
		members := make(map[string]any)
		for range rapid.IntRange(0, 3).Draw(rt, "members") {
			members[rapid.SampledFrom([]string{"a", "b", "7", "ipv4", "ipv6"}).Draw(rt, "name")] = drawJSON(rt, depth-1)
		}
		return members
	}
	return nil
}

func drawDocument(rt *rapid.T) (body string, value any) {
	for {
		value = drawJSON(rt, 4)
		switch value.(type) {
		case []any, map[string]any:
			text, err := json.Marshal(value)
			if err != nil {
				rt.Fatal(err)
			}
			return string(text), value
		}
	}
}

// TestJSONPathsAgreeWithTheirTwin compares with encoding/json, and paths that are patterns.
func TestJSONPathsAgreeWithTheirTwin(t *testing.T) {
	patterns := map[string]string{
		"a[].b": `^a\[\]\.b(\[\])?$`, "a[]": `^a(\[\])?$`, "[]": `^\[\]$`, "[].a": `^\[\]\.a(\[\])?$`, "*.a": `^[^.\[]+\.a(\[\])?$`,
		"*[].a": `^[^.\[]+\[\]\.a(\[\])?$`, "a.*[]": `^a\.[^.\[]+(\[\])?$`, "a[].*.b[]": `^a\[\]\.[^.\[]+\.b(\[\])?$`, "*.*": `^[^.\[]+\.[^.\[]+(\[\])?$`,
		"[][]": `^\[\]\[\]$`,
	}
	for member, pattern := range patterns {
		t.Run(member, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				body, value := drawDocument(rt)
				var want []string
				jsonPlaces(value, "", func(path, text string) {
					if p, ok := ParsePrefix([]byte(strings.TrimSpace(text))); ok && matched(pattern, path) != nil {
						want = append(want, p.String())
					}
				})
				c, err := parse(body, Format{Encoding: JSON, Members: []string{member}}, false)
				got := prefixStrings(c.Prefixes)
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) && (err == nil || len(want) > 0) {
					rt.Errorf("%s of %s: got %s, want %s, %v", member, body, got, want, err)
				}
			})
		})
	}
}

// TestJSONSearchAgreesWithItsTwin: addresses of one place are taken all, and of several none.
func TestJSONSearchAgreesWithItsTwin(t *testing.T) {
	digits := regexp.MustCompile(`(^|\.)\d+\b`)
	family := regexp.MustCompile(`ipv[46]`)
	rapid.Check(t, func(rt *rapid.T) {
		body, value := drawDocument(rt)
		places := make(map[string][]string)
		jsonPlaces(value, "", func(path, text string) {
			path = digits.ReplaceAllString(path, "$1*")
			if p, ok := ParsePrefix([]byte(strings.TrimSpace(text))); ok && strings.ContainsAny(path, "[*") {
				path = family.ReplaceAllString(path, "")
				places[path] = append(places[path], p.String())
			}
		})
		c, err := parse(body, Format{Encoding: JSON}, false)
		switch {
		case len(places) > 1:
			if err == nil || !strings.Contains(err.Error(), "several places") {
				rt.Errorf("%s: addresses in %v, got %v", body, places, err)
			}
		case len(places) == 0:
			if len(c.Prefixes) > 0 {
				rt.Errorf("%s: got %v", body, c.Prefixes)
			}
		default:
			for _, want := range places {
				got := prefixStrings(c.Prefixes)
				slices.Sort(got)
				slices.Sort(want)
				if err != nil || !slices.Equal(got, want) {
					rt.Errorf("%s: got %s, want %s, %v", body, got, want, err)
				}
			}
		}
	})
}
