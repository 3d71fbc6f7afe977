package rest

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name, after, reset string
		want               time.Duration
	}{
		{"seconds", "29241", "1", 29241 * time.Second},
		{"none", "", "", 0},
		{"zero", "0", "1795437000", 0},
		{"date", "Mon, 23 Nov 2026 14:30:00 GMT", "", 150 * time.Minute},
		{"past date", "Mon, 23 Nov 2026 11:00:00 GMT", "", 0},
		{"reset", "", "1795437000", 30 * time.Minute},
		{"past reset", "", "1545973200", 0},
		{"reset in seconds", "", "90", 90 * time.Second},
		{"negative reset", "", "-90", 0},
		{"negative", "-5", "1795437000", 30 * time.Minute},
		{"words", "soon", "later", 0},
		{"a hundred years", "3155760000", "", 24 * time.Hour},
		{"more than 64 bits", "99999999999999999999", "", 0},
		{"the largest number", "9223372036854775807", "", 24 * time.Hour},
		{"reset at the largest number", "", "9223372036854775807", 24 * time.Hour},
	} {
		t.Run(tc.name, func(t *testing.T) {
			header := http.Header{"Retry-After": {tc.after}, "X-Ratelimit-Reset": {tc.reset}}
			if got := retryAfter(header, "X-RateLimit-Reset", now); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

// A pause is as long as the service means it, also where our clock is wrong by hours.
func TestRetryAfterByTheClockOfTheService(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for name, header := range map[string]http.Header{
		"date":  {"Retry-After": {"Mon, 23 Nov 2026 12:02:00 GMT"}},
		"reset": {"X-Ratelimit-Reset": {strconv.FormatInt(now.Add(2*time.Minute).Unix(), 10)}},
	} {
		header.Set("Date", now.Format(http.TimeFormat))
		for _, wrong := range []time.Duration{-7 * time.Hour, 0, 7 * time.Hour} {
			if got := retryAfter(header, "X-RateLimit-Reset", now.Add(wrong)); got != 2*time.Minute {
				t.Errorf("%s, with a clock that is %s ahead: got %s, want 2m", name, wrong, got)
			}
		}
	}
}

// An answer of a few MiB must not become gigabytes of values.
func TestDecodeBoundsElements(t *testing.T) {
	list := func(element string, n int) string { return "[" + strings.Repeat(element+",", n-1) + element + "]" }
	for name, tc := range map[string]struct {
		body string
		into any
		want string
	}{
		"a long list":            {list("0", maxElements), new([]int), ""},
		"one that is too long":   {list("0", maxElements+1), new([]int), "a list of more than 50000 elements"},
		"in a member":            {`{"a":[],"b":{"c":` + list("{}", maxElements+1) + `}}`, new(any), "a list of more"},
		"commas in a text":       {`["` + strings.Repeat(",", 2*maxElements) + `"]`, new([]string), ""},
		"many lists":             {list(list("0", 300), 300), new([][]int), ""},
		"closed more than open":  {strings.Repeat("]", 100) + strings.Repeat(",", maxElements), new(any), "not JSON"},
		"entries":                {list("{}", maxEntries), new(Entries[verdict]), ""},
		"too many entries":       {list("{}", maxEntries+1), new(Entries[verdict]), "more than 1100 entries"},
		"too many members":       {"{" + strings.Repeat(`"":0,`, maxEntries) + `"":0}`, new(Members[verdict]), "more than 1100 entries"},
		"no entries":             {"null", new(Entries[verdict]), ""},
		"entries that are words": {`"many"`, new(Entries[verdict]), "another type"},
	} {
		t.Run(name, func(t *testing.T) {
			switch err := Decode([]byte(tc.body), tc.into); {
			case tc.want == "" && err != nil:
				t.Error(err)
			case tc.want != "" && (!errors.Is(err, reputation.ErrBadAnswer) || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("the error is %v, want %q", err, tc.want)
			}
		})
	}
}

func TestFacts(t *testing.T) {
	for text, want := range map[string]string{"DE": "DE", "de": "", "DEU": "", "D\n": "", "": "", "XX": "", "ZZ": "", "XK": "XK"} {
		if got := Country(text); got != want {
			t.Errorf("country %q became %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]uint32{
		"AS64500": 64500, "64500": 64500, "as64500 Example Ltd": 64500, " AS64500": 64500, "AS": 0, "": 0, "AS-1": 0,
		"AS4294967295": 4294967295, "AS4294967296": 0, "ASAS1": 0, "Example 64500": 0,
	} {
		if got := ASN(text); got != want {
			t.Errorf("ASN %q became %d, want %d", text, got, want)
		}
	}
	for text, want := range map[string]bool{
		"2001:DB8:1:2:0:0:0:7": true, "2001:db8:1:2::7": true, "2001:db8:1:2::8": false, "": false, "2001:db8:1:2::7%eth0": false,
	} {
		if got := SameAddr(text, asked6); got != want {
			t.Errorf("%q is the address: %t", text, got)
		}
	}
	for text, want := range map[string]string{
		"203.0.113.0/24": "203.0.113.0/24", "203.0.113.10/24": "203.0.113.0/24", "198.51.100.0/24": "", "2001:db8::/32": "",
		"203.0.113.10": "", "203.0.113.0/33": "", "": "",
	} {
		if got := Network(text, asked); got.IsValid() != (want != "") || got.IsValid() && got.String() != want {
			t.Errorf("network %q became %s, want %q", text, got, want)
		}
	}
	yes, no := true, false
	nature := Flag(Flag(Flag(reputation.Nature{}, reputation.NatureTor, &yes), reputation.NatureVPN, &no), reputation.NatureProxy, nil)
	if want := (reputation.Nature{}).With(reputation.NatureTor, true).With(reputation.NatureVPN, false); nature != want {
		t.Errorf("the flags became %v", nature)
	}
	for name, want := range map[string]string{
		"Example Ltd": "Example Ltd", "": "", " Telef\u00f3nica\r\n\tde \x1b[31mEspa\u00f1a\u202e\x00": "Telef\u00f3nica de [31mEspa\u00f1a",
		"a\xff\xfe": "a", strings.Repeat("\u00e9", 5000): strings.Repeat("\u00e9", maxName),
	} {
		if asn, got := System(64500, name); asn != 64500 || got != want {
			t.Errorf("the name %.20q became %q, want %q", name, got, want)
		}
	}
	if asn, name := System(0, "Example Ltd"); asn != 0 || name != "" {
		t.Errorf("a name without a number became AS%d %q", asn, name)
	}
	if !SameAddr("::ffff:203.0.113.10", asked) {
		t.Error("a mapped address is the same")
	}
}

func TestTime(t *testing.T) {
	for text, want := range map[string]string{
		"2026-11-20T10:00:00Z": "2026-11-20T10:00:00Z", "2026-11-20T12:00:00+02:00": "2026-11-20T10:00:00Z",
		"2026-11-20T10:00:00.5": "2026-11-20T10:00:00.5Z", "2026-11-20 10:00:00": "2026-11-20T10:00:00Z",
		"2026-11-20": "2026-11-20T00:00:00Z", "": "", "yesterday": "", "2026-13-40": "", "1969-12-31": "", "0001-01-01T00:00:00Z": "",
		"9999-12-31T23:59:59-01:00": "", "1796000000": "",
	} {
		if got := Time(text); got.IsZero() != (want == "") || want != "" && got.Format(time.RFC3339Nano) != want {
			t.Errorf("the time %q became %s, want %q", text, got, want)
		}
	}
	for seconds, want := range map[int64]int{0: 1, -1: 1, 1: 1970, 1796000000: 2026, 253402300799: 9999, 253402300800: 1, 1 << 62: 1} {
		if got := Unix(seconds).Year(); got != want {
			t.Errorf("second %d is in the year %d, want %d", seconds, got, want)
		}
	}
}

func TestOwnNetwork(t *testing.T) {
	for host, want := range map[string]bool{
		"10.0.0.5": true, "192.168.1.1": true, "fd00::5": true, "fe80::5": true, "iprepd": true, "iprepd.internal": true,
		"iprepd.default.svc.cluster.local": true, "203.0.113.10": false, "2001:db8::5": false, "iprepd.example.com": false,
	} {
		if got := ownNetwork(host); got != want {
			t.Errorf("%s is on the operator's own network: %t", host, got)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("29241", "1545973200", uint32(1795435200))
	f.Add("Mon, 23 Nov 2026 14:30:00 GMT", "", uint32(0))
	f.Add("", "9223372036854775807", uint32(1))
	f.Fuzz(func(t *testing.T, after, reset string, now uint32) {
		header := http.Header{"Retry-After": {after}, "X-Ratelimit-Reset": {reset}}
		if got := retryAfter(header, "X-RateLimit-Reset", time.Unix(int64(now), 0)); got < 0 || got > maxRetryAfter {
			t.Errorf("%q, %q: %s", after, reset, got)
		}
	})
}

// TestQuoteOfEncodedSecrets: a path that the service repeats holds the key, however it is encoded, and in part.
// TestReadable: what an operator is warned of.
func TestReadable(t *testing.T) {
	keyed, keyless := API{}, API{Profile: reputation.Profile{Key: reputation.KeyNone}}
	optional := API{Profile: reputation.Profile{Key: reputation.KeyOptional}}
	for _, tc := range []struct {
		base string
		api  API
		want bool
	}{
		{"https://api.example.com", keyed, false},
		{"http://127.0.0.1:8080", keyed, false},
		{"http://api.example.com", keyed, true},
		{"http://api.example.com", optional, true},
		{"http://api.example.com", keyless, true}, // the addresses of visitors
		{"http://10.0.0.5:8080", keyed, true},
		{"http://10.0.0.5:8080", keyless, false},
		{"http://10.0.0.5:8080", API{SelfHosted: true}, false},
		{"http://api.example.com", API{SelfHosted: true}, true},
	} {
		base, err := url.Parse(tc.base)
		if err != nil {
			t.Fatal(err)
		}
		if got := readable(base, &tc.api); got != tc.want {
			t.Errorf("%s, key %v, self-hosted %t: %t", tc.base, tc.api.Profile.Key, tc.api.SelfHosted, got)
		}
	}
}

func TestQuoteOfEncodedSecrets(t *testing.T) {
	const key = "s3cr3t/k3y+for=tests"
	s := open(t, "https://gateway.example/base/path", nil)
	a := Response{question: question{key, []netip.Addr{asked6}}, endpoint: &s.Endpoint}
	for _, text := range []string{
		"no such page: /json/ip/" + key, "no such page: /json/ip/" + url.PathEscape(key), "?key=" + url.QueryEscape(key),
		"?key=" + url.QueryEscape(url.QueryEscape(key)), "%73%33cr3t%2fk3y+for=tests", "the key s3cr3t/k... is wrong",
		"ip=2001%3Adb8%3A1%3A2%3A0%3A0%3A0%3A7", "2001%253Adb8%253A1%253A2%253A%253A7", "/base%2Fpath", "%25252525252525",
	} {
		if got := a.Quote(text); got != "" {
			t.Errorf("%q is quoted: %q", text, got)
		}
	}
	for _, text := range []string{"You are within 10% of your limit", "100%25 used", "s3cr3t keys only", "%zz", "%"} {
		if got := a.Quote(text); got != ": "+text {
			t.Errorf("%q is quoted as %q", text, got)
		}
	}
}

// FuzzQuote: what is quoted is one short printable line without a secret in it.
func FuzzQuote(f *testing.F) {
	const key = "account7:s3cr3tk3y"
	f.Add("bad key s3cr3tk3y")
	f.Add(strings.Repeat("x", 195) + "s3cr3tk3y for 203.0.113.10")
	f.Add("s3cr\x003tk3y")
	f.Add("ip=203.0.113.10:443.")
	f.Add("Basic " + base64.StdEncoding.EncodeToString([]byte(key)))
	f.Add("see https://gateway.example/base/path")
	f.Add("/base/path/s3cr3t%6b3y")
	f.Add("%2573%33cr3tk3y")
	s := open(f, "https://gateway.example/base/path", nil)
	f.Fuzz(func(t *testing.T, words string) {
		a := Response{question: about(reputation.Query{Addr: asked, Key: key}), endpoint: &s.Endpoint}
		got := a.Quote(words)
		if len(got) > maxQuote+2 || strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("not one short printable line: %q", got)
		}
		for _, secret := range []string{"s3cr3tk3y", "account7", base64.StdEncoding.EncodeToString([]byte(key)), asked.String(), "gateway.example", "base/path"} {
			if strings.Contains(strings.ToLower(got), strings.ToLower(secret)) {
				t.Errorf("%q holds %q", got, secret)
			}
		}
	})
}

// FuzzDecode: what is decoded is one document of bounded depth; every error is of a class, and quotes nothing foreign.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{
		`{"ip":"203.0.113.10","risk":0.5}`, `{"risk":"1"}`, `[]`, `{"a":{"b":[1,2,{"c":null}]}}`, `"\"[[["`, "", `{}{}`,
		strings.Repeat("[", 65) + strings.Repeat("]", 65), strings.Repeat(`{"":`, 64) + "1" + strings.Repeat("}", 64), `{"risk":1e999}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var v verdict
		err := Decode(body, &v)
		if err == nil {
			if !json.Valid(body) || depthOf(t, body) > maxDepth {
				t.Fatalf("%q was decoded", body)
			}
			return
		}
		if !errors.Is(err, reputation.ErrBadAnswer) {
			t.Fatalf("unclassified error %v", err)
		}
		if text := err.Error(); len(text) > 150 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("the error is %q", text)
		}
	})
}

// depthOf returns how deep a document is nested, the slow way.
func depthOf(t *testing.T, body []byte) int {
	t.Helper()
	d, depth, most := json.NewDecoder(strings.NewReader(string(body))), 0, 0
	for {
		token, err := d.Token()
		if err != nil {
			return most
		}
		switch token {
		case json.Delim('['), json.Delim('{'):
			depth++
			most = max(most, depth)
		case json.Delim(']'), json.Delim('}'):
			depth--
		}
	}
}

func FuzzFacts(f *testing.F) {
	for _, text := range []string{"DE", "AS64500 Example Ltd", "64500", "2001:db8::1", "", "as"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if c := Country(text); c != "" && (len(c) != 2 || strings.ToUpper(c) != c) {
			t.Errorf("country %q", c)
		}
		if n := ASN(text); n != 0 && !strings.ContainsAny(text, "123456789") {
			t.Errorf("AS%d in %q", n, text)
		}
		if SameAddr(text, asked) {
			if addr, err := netip.ParseAddr(text); err != nil || addr.Unmap() != asked {
				t.Errorf("%q is not %s", text, asked)
			}
		}
	})
}

// FuzzTarget: no key and no address leaves its place in the URL.
func FuzzTarget(f *testing.F) {
	for _, text := range []string{"key", "../..", "a/b", "a?b#c", "%2e%2e", "ä", "\x00", "", "."} {
		f.Add(text)
	}
	s := open(f, "https://gateway.example/base", nil)
	f.Fuzz(func(t *testing.T, key string) {
		u, err := s.Target(&Request{Path: []string{"ip", key, "x"}, Params: url.Values{"key": {key}}})
		if err != nil {
			return
		}
		again, err := url.Parse(u.String())
		if err != nil || again.Host != "gateway.example" || strings.Count(again.EscapedPath(), "/") != 4 || again.Fragment != "" ||
			!strings.HasPrefix(again.EscapedPath(), "/base/ip/") || again.Query().Get("key") != key {
			t.Errorf("%q became %s (%v)", key, u, err)
		}
	})
}

func TestMessage(t *testing.T) {
	for _, tc := range []struct {
		body, want string
		path       []string
	}{
		{`{"error":"no such plan","code":[7]}`, "no such plan", []string{"error"}},
		{`{"error":{"message":"no such token"}}`, "no such token", []string{"error", "message"}},
		{`{"error":"no such token"}`, "", []string{"error", "message"}},
		{`{"error":{"message":"no such token"}}`, "", []string{"error"}},
		{`{"error":null}`, "", []string{"error"}}, {`[1]`, "", []string{"error"}}, {`{}`, "", []string{"error", "message"}},
		{`<html>`, "", []string{"error"}}, {`{"error":"cut sh`, "", []string{"error"}},
	} {
		if got := Message(tc.path...)([]byte(tc.body)); got != tc.want {
			t.Errorf("%s of %s is %q, want %q", tc.path, tc.body, got, tc.want)
		}
	}
}

// FuzzFailure: whatever comes back with a status that is no answer becomes an error of one line without a secret.
func FuzzFailure(f *testing.F) {
	const key = "s3cr3tk3y"
	f.Add(403, "text/html; charset=utf-8", "", `{"message":"bad key s3cr3tk3y"}`)
	f.Add(429, "application/json", "120", `{"message":"slow down"}`)
	f.Add(302, "", "", "")
	f.Add(422, "application/json", "Mon, 23 Nov 2026 14:30:00 GMT", `{"message":"203.0.113.10?"}`)
	s := open(f, "https://gateway.example/base/path", nil)
	f.Fuzz(func(t *testing.T, status int, media, after, body string) {
		a := Response{
			Status: status, Header: http.Header{"Content-Type": {media}, "Retry-After": {after}}, body: []byte(body),
			question: about(reputation.Query{Addr: asked, Key: key}), endpoint: &s.Endpoint,
		}
		err := a.failure()
		text := err.Error()
		if len(text) > 400 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("not one printable line: %q", text)
		}
		for _, secret := range []string{key, asked.String(), "gateway.example"} {
			if strings.Contains(text, secret) {
				t.Errorf("%q holds %q", text, secret)
			}
		}
		if got := reputation.ResultOf(err); (status == 429) != (got == reputation.ResultThrottled) {
			t.Errorf("status %d is %s", status, got)
		}
		_ = a.check()
	})
}
