package httpjson_test

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/httpjson"
)

func read(text string) (*httpjson.HTTPJSON, error) {
	h := new(httpjson.HTTPJSON)
	return h, h.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text))
}

func TestCaddyfile(t *testing.T) {
	got, err := read(`http_json acme {
		url https://api.example.com/{ip}?k={key}
		header X-Tenant {env.TENANT}
		body ` + "`" + `{"a": "{ip}"}` + "`" + `
		content_type text/plain application/x-json
		max_size 128KiB
		reset_header X-Reset
		covers ipv4
		severity body.risk == "high" ? 0.75 : 0.25
		confidence 0.5
		refused "body.e == 'key'"
		category spam ` + "`body.a\n\t\t\t|| body.b`" + `
		nature tor body.?tor
		weight 12.5
		good_weight 1
		group vendor
		self_aged
		clear_text
		terms "by contract"
	}`)
	want := &httpjson.HTTPJSON{
		Name: "acme", URL: "https://api.example.com/{ip}?k={key}", Header: map[string]string{"X-Tenant": "{env.TENANT}"},
		Body: []byte(`{"a": "{ip}"}`), ContentTypes: []string{"text/plain", "application/x-json"}, MaxSize: 128 << 10,
		ResetHeader: "X-Reset", Covers: "ipv4", Severity: `body.risk == "high" ? 0.75 : 0.25`, Confidence: "0.5",
		Refused: "body.e == 'key'", Categories: map[string]string{"spam": "body.a\n\t\t\t|| body.b"},
		Natures: map[string]string{"tor": "body.?tor"}, Weight: 12.5, GoodWeight: 1, Group: "vendor", SelfAged: true,
		ClearText: true, Terms: "by contract",
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(httpjson.HTTPJSON{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestMistakes: every mistake has an error that says where it is and how to mend it, and repeats no text that may be secret.
func TestMistakes(t *testing.T) {
	const url, severity = "url https://api.example.com/{ip}", "severity body.risk"
	for _, tc := range []struct{ lines, want string }{
		{"", "acme: no url is given: write one such as https://api.example.com/v1/ip/{ip}"},
		{url,
			"acme: no severity is given: write an expression such as `severity body.score / 100.0`, a number from -1 (good) to 1 (abusive)"},
		{"url ftp://hunter2/{ip}", "the url must begin with https://, or with a placeholder that does"},
		{"url hunter2/{ip}", "the url must begin with https://, or with a placeholder that does"},
		{"url https://hunter2/\n" + severity,
			"acme: {ip} is missing: without it the service does not learn which address is meant; " +
				"write it in the url, or in the body"},
		{"url https://hunter2/{ip}#x", "the url has a '#': end it before that, or write it as %23"},
		{"url https://{ip}.example.com/",
			"the url has {ip} or {key} in its host: write them in the path or behind '?'"},
		{"url https://hunter2/{addr}",
			"the url: unknown placeholder {addr}: use {ip}, {key}, {env.NAME} or {file./path}"},
		{"url https://hunter2/{ip", "the url: it has a { without a }"},
		{"url https://hunter2/ip}", "the url: it has a } without a {"},
		{"url https://hunter2/%zz{ip}", "the path of the url: it has a '%' that begins no %XX: write it as %25"},
		{"url https://hunter2/../{ip}",
			"the path of the url: it has an element that is empty or made of dots: remove it"},
		{"url https://hunter2//{ip}",
			"the path of the url: it has an element that is empty or made of dots: remove it"},
		{"url https://hunter2/?{ip}=1",
			"the query of the url: it has a parameter without a name, or with a placeholder in its name"},
		{"url https://hunter2/?ip={ip}&&a=1",
			"the query of the url: it has a parameter without a name, or with a placeholder in its name"},
		{`url "https://hunter2/a b/{ip}"`, "the url has a character that no URL has: write it as %20 and the like"},
		{"url https://:99999/{ip}\n" + severity,
			"acme: the url does not begin with the address of a host, such as https://api.example.com"},
		{"url http://api.example.com/{ip}\n" + severity,
			"acme: the url begins with http://, so that everybody on the way can read " +
				"who visits you, and change the answers: use https://, or write clear_text if you accept that"},
		{"header Host hunter2", "header Host is set by the client itself: remove it"},
		{"header X-Key {kee}", "header X-Key: unknown placeholder {kee}: use {ip}, {key}, {env.NAME} or {file./path}"},
		{`header "X Key" hunter2`, `header "X Key" is no name of a header field`},
		{"header X-Key \"hunter2\nx\"", "header X-Key has a control character, such as a line break"},
		{"basic_auth\nheader Authorization hunter2\n" + url + "\n" + severity,
			"acme: basic_auth and a header Authorization contradict each other: remove one"},
		{"body hunter2", "the body: it is not JSON: write an object such as `{\"ip\": \"{ip}\"}`, between backticks"},
		{"body `\"hunter2\"`",
			"the body: it is neither an object nor a list: write one such as `{\"ip\": \"{ip}\"}`, between backticks"},
		{"url https://hunter2/\nbody `{\"hosts\": {\"{ip}\": {}}}`\n" + severity,
			"the body: the name of a member has a {: write placeholders into values"},
		{"body `{} hunter2`", "the body: it has more after its end: write one object or list"},
		{"body `{\"a\": \"{x}\"}`", "the body: unknown placeholder {x}: use {ip}, {key}, {env.NAME} or {file./path}"},
		{"content_type Text/HTML",
			`content_type "Text/HTML" is none: write it in lower case without parameters, such as text/plain`},
		{"max_size 2MiB", "max_size 2097152 is out of range: use up to 1MiB"},
		{"reset_header a:b", `reset_header "a:b" is no name of a header field`},
		{"covers ipv5", `covers "ipv5" is not one of ipv4, ipv6, both`},
		{"weight 41", `weight "41" is not a number of points above 0 to 40`},
		{"good_weight 0", `good_weight "0" is not a number of points above 0 to 40`},
		{"group Vendor", `group "Vendor": use at most 64 lower-case letters, digits, _ and -, the first a letter`},
		{"terms ümlaut",
			"terms is too long, or has characters that do not print: use one line of at most 200 printable ASCII characters"},

		{"severity", "severity takes an expression between backticks, such as `body.severity`: it has none"},
		{"severity bdy.risk",
			"the expression of severity, `bdy.risk`, has an error at column 1: undeclared reference to 'bdy': " +
				"use body, status, header, ip and now, and the functions of docs/services.md"},
		{"severity body.risk ==",
			"the expression of severity, `body.risk ==`, has an error at column 13: Syntax error: it ends too early: " +
				"check quotes and brackets, and put the expression between backticks"},
		{"severity `body.risk ==\n\t'x' ? 1.0 : lib(1)`",
			"the expression of severity, `body.risk == 'x' ? 1.0 : lib(1)`, " +
				"has an error at line 2, column 17: undeclared reference to 'lib': use body, status, header, ip and now, and the functions of docs/services.md"},
		{"severity body.risk == 'high'",
			"the expression of severity, `body.risk == 'high'`, returns bool: it must return a number"},
		{"severity body.score / 100", "the expression of severity, `body.score / 100`, has an error at column 12: " +
			"it calculates with a number of the answer and a whole number: write 100.0 for 100, and double(…) around other whole numbers"},
		{"severity `0.1 * size(body.l)`",
			"the expression of severity, `0.1 * size(body.l)`, has an error at column 5: " +
				"found no matching overload for '_*_' applied to '(double, int)': write all numbers with a decimal point, such as 1.0"},
		{"severity `body.a ? 0.5 : 1`", "the expression of severity, `body.a ? 0.5 : 1`, has an error at column 8: " +
			"found no matching overload for '_?_:_' applied to '(dyn, double, int)': write all numbers with a decimal point, such as 1.0"},
		{"severity 5", "the expression of severity, `5`, is not a number from -1 to 1"},
		{"severity `-1.5`", "the expression of severity, `-1.5`, is not a number from -1 to 1"},
		{"confidence 70", "the expression of confidence, `70`, is not a number from 0 to 1"},
		{"confidence `math.least(70, 80)`", "is not a number from 0 to 1"},
		{"severity `int(body.score) / 100`", "the expression of severity, `int(body.score) / 100`, has an error at column 17: " +
			"it divides whole numbers, which leaves out the rest: write double(…) for int(…), and 100.0 for 100"},
		{"country `upperAscii(body.cc)`", "found no matching overload for 'upperAscii' applied to '(dyn)': " +
			"write it behind its value, as in body.name.upperAscii()"},
		{"error `if body.x then 1 else 0`", "reserved identifier: if: write `condition ? value : other value`"},
		{"error `body.a and body.b`", "mismatched input 'and': write &&, || and !"},
		{"error `body.a === 'x'`", "token recognition error at: '= ': compare with =="},
		{"error `body.a = 'x'`", "token recognition error at: '= ': compare with =="},
		{"error `body?.a`", "it ends too early: write .? before a member that may be missing"},
		{"severity `double(body.s.replace('%', ''))`",
			"the expression of severity, `double(body.s.replace('%', ''))`, has an error at column 22: " +
				"replace is not available, since its result has no bound: use split, substring or lowerAscii"},
		{"not_found `'x'.matches(body.s)`",
			"the expression of not_found, `'x'.matches(body.s)`, has an error at column 12: " +
				"the pattern of matches is not written out: write it between quotes, since services must not choose it"},
		{"not_found `body.s.matches('(ab?c*d{1,9}){1,9}$')`",
			"has an error at column 15: the pattern of matches has more than 200 instructions: make it shorter"},
		{"not_found `body.s.indexOf(body.t) == 0`",
			"has an error at column 15: the text that indexOf looks for is not written out: write it between quotes, or use contains"},
		{"not_found `body.s.matches('(a')`",
			"the expression of not_found, `body.s.matches('(a')`, has an error at column 16: invalid matches argument"},
		{"country 49", "the expression of country, `49`, returns int: it must return a string"},
		{"asn true",
			"the expression of asn, `true`, returns bool: it must return a number, or a string such as AS64500"},
		{"last_seen `duration('1h')`", "the expression of last_seen, `duration('1h')`, returns duration: " +
			"it must return a timestamp, a date as a string, or seconds since 1970"},
		{"valid_for now",
			"the expression of valid_for, `now`, returns timestamp: it must return a duration, or a number of seconds"},
		{"error optional.of(1)",
			"the expression of error, `optional.of(1)`, returns optional_type(int): it must return true or false"},
		{"category evil body.x", `unknown category "evil": use one of abuse, `},
		{"category spam", "category takes a word and an expression, such as `category abuse body.is_abuser`"},
		{"category spam body.x\ncategory spam body.y", "category spam is given twice: join the expressions by ||"},
		{"category spam 1", "the expression of category spam, `1`, returns int: it must return true or false"},
		{"nature shady body.x", `unknown nature "shady": use one of tor, `},
		{"severity " + strings.Repeat("body.risk+", 500) + "body.risk", "expression code point size exceeds limit"},
	} {
		_, err := read("http_json acme {\n" + tc.lines + "\n}")
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%.80q: the error is\n%v, want\n%s", tc.lines, err, tc.want)
		}
	}
	for text, want := range map[string]string{
		"http_json":        "http_json needs a name for the source: write one such as `provider http_json acme { … }`",
		"http_json Acme":   `name "Acme": use at most 64 lower-case letters, digits, _ and -, the first a letter`,
		"http_json deny":   `name "deny" stands for your own lists: use another one`,
		"http_json acme x": `unexpected "x" after http_json`,
	} {
		if _, err := read(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the error is %v, want %s", text, err, want)
		}
	}
}

// TestPatterns: what may look odd and is none of the mistakes.
func TestPatterns(t *testing.T) {
	for _, expression := range []string{
		"body.s.matches('^[0-9]{1,3}$')", "matches(body.s, '(ab|c{2,}){0,5}')", "body.s.indexOf('x') > 0", "body.s.lastIndexOf(ip) >= 0",
		"body.s.contains(body.t)",
	} {
		if _, err := read("http_json acme {\n url https://api.example.com/{ip}\n severity 0.5\n not_found `" + expression + "`\n}"); err != nil {
			t.Errorf("%s: %v", expression, err)
		}
	}
}

// TestNotTooDear: CEL has no estimate of what these cost, which is no reason to refuse them.
func TestNotTooDear(t *testing.T) {
	for _, line := range []string{"asn `int(body.as.substring(2))`", "confidence `body.a.substring(1) == 'x' ? 1.0 : 0.0`"} {
		if _, err := read("http_json acme {\nurl https://api.example.com/{ip}\nseverity 0\n" +
			line + "\n}"); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// TestJSONMistakes: what a Caddyfile cannot express, or is known only when the configuration is loaded.
func TestJSONMistakes(t *testing.T) {
	t.Setenv("TEST_EMPTY", "")
	t.Setenv("TEST_LINES", "hunter2\nx")
	t.Setenv("TEST_HTTP", "http://hunter2.example.com")
	t.Setenv("TEST_WORD", "hunter2")
	for _, tc := range []struct {
		set  func(h *httpjson.HTTPJSON)
		want string
	}{
		{func(h *httpjson.HTTPJSON) { h.Name = "" }, "http_json has no name: name the source that it stands for, such as acme"},
		{func(h *httpjson.HTTPJSON) { h.Severity = "" }, "acme: no severity is given"},
		{func(h *httpjson.HTTPJSON) { h.Severity = "x" },
			"acme: the expression of severity, `x`, has an error at column 1"},
		{func(h *httpjson.HTTPJSON) { h.Weight = -1 }, "weight -1 is out of range: use a number of points above 0 to 40"},
		{func(h *httpjson.HTTPJSON) { h.Covers = "all" }, `unknown covers "all": use ipv4, ipv6 or both`},
		{func(h *httpjson.HTTPJSON) { h.Categories = map[string]string{"evil": "true"} },
			`acme: unknown category "evil"`},
		{func(h *httpjson.HTTPJSON) { h.Natures = map[string]string{"tor": ""} },
			"acme: nature tor has no expression: write when it holds, such as `nature tor body.is_tor`"},
		{func(h *httpjson.HTTPJSON) { h.URL = "{env.TEST_EMPTY}/{ip}" },
			"acme: the url: {env.TEST_EMPTY} is empty: check that the variable is set, or that the file can be read, where Caddy runs"},
		{func(h *httpjson.HTTPJSON) { h.URL = "{env.TEST_WORD}/{ip}" },
			"acme: the url does not begin with the address of a host, such as https://api.example.com"},
		{func(h *httpjson.HTTPJSON) { h.URL = "{env.TEST_HTTP}/{ip}" }, "acme: the url begins with http://"},
		{func(h *httpjson.HTTPJSON) { h.URL += "?k={env.TEST_LINES}" },
			"acme: the url: the value of {env.TEST_LINES} has a control character, such as a line break"},
		{func(h *httpjson.HTTPJSON) { h.Header = map[string]string{"X-Key": "{file./nowhere/key}"} },
			"acme: header X-Key: {file./nowhere/key} is empty"},
		{func(h *httpjson.HTTPJSON) { h.Header = map[string]string{"x-key": "a", "X-Key": "b"} },
			"acme: header X-Key is given twice: remove one"},
	} {
		h := acme("https://api.example.com")
		tc.set(h)
		if _, err := tryLoad(t, h); err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error is %v, want %s", err, tc.want)
		}
	}
}
