package api

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func (f *fixture) report(token, body string) (status int, answer string) {
	w := f.send(call{method: http.MethodPost, path: "/v1/violations", token: token, body: body})
	return w.Code, w.Body.String()
}

// TestAViolationIsReported proves what reaches the backend of a report, what its sender reads, and what the log keeps.
func TestAViolationIsReported(t *testing.T) {
	f := start(t)
	status, answer := f.report(reportToken,
		` {"address":"::ffff:203.0.113.5","violation":"spam","path":"/comments?token=s3cret#x","request_id":"of-the-visitor"}`)
	want := `{"address":"203.0.113.5","subject":"203.0.113.5/32","violation":"spam","counted":true,"points":15}`
	if status != http.StatusOK || answer != want {
		t.Errorf("%d %s, want %s", status, answer, want)
	}
	if status, answer := f.report(reportToken, `{"address":"2001:db8::5","violation":"trap"}`); status != http.StatusOK ||
		!strings.Contains(answer, `"subject":"2001:db8::/64"`) {
		t.Errorf("%d %s", status, answer)
	}
	reported := []Violation{
		{netip.MustParseAddr("203.0.113.5"), "spam", "/comments", "of-the-visitor", "api.example.com", "api/reporter"},
		{netip.MustParseAddr("2001:db8::5"), "trap", "", "the-request", "api.example.com", "api/reporter"},
	}
	if diff := cmp.Diff(reported, f.fake.violations, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}
	for _, want := range []string{"a violation was reported over the API", "api/reporter", "203.0.113.5/32", "spam", "of-the-visitor"} {
		if !strings.Contains(f.log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, f.log)
		}
	}
	if strings.Contains(f.log.String(), "s3cret") {
		t.Errorf("the log has the query of a path:\n%s", f.log)
	}
}

// TestViolationsAreReported proves that each of a list has its own answer, and a mistake in one spoils no other.
func TestViolationsAreReported(t *testing.T) {
	f := start(t)
	status, answer := f.report(spamToken, `[
		{"address":"203.0.113.5","violation":"spam"},
		{"address":"nobody","violation":"spam"},
		{"address":"fe80::1%eth0","violation":"spam"},
		{"address":"203.0.113.5","violation":"trap"},
		{"address":"10.0.0.1","violation":"spam"},
		{"address":"203.0.113.5"},
		null,
		{"address":"203.0.113.6","violation":"spam"}]`)
	var got struct {
		Results []struct{ Address, Ignored, Error string }
	}
	if err := json.Unmarshal([]byte(answer), &got); err != nil || status != http.StatusOK || len(got.Results) != 8 {
		t.Fatalf("%d %s: %v", status, answer, err)
	}
	for i, want := range []string{
		"", "is not an IP address", "has a zone", `the token may not report "trap": it may report spam`, "", "violation is missing", "is not an IP address", "",
	} {
		if r := got.Results[i]; (r.Error == "") != (want == "") || !strings.Contains(r.Error, want) {
			t.Errorf("%d: %q, want %q", i, r.Error, want)
		}
	}
	if got.Results[4].Ignored != "reserved" || len(f.fake.violations) != 2 {
		t.Errorf("%+v, and %d were counted", got.Results[4], len(f.fake.violations))
	}
}

// TestAViolationWithAMistake proves that what cannot be counted is refused, with the cure.
func TestAViolationWithAMistake(t *testing.T) {
	f := start(t)
	for more, want := range map[string]string{
		`"violation":"spma"`:                                                 `there is no violation \"spma\": use spam, trap`,
		`"violation":"spam","path":"login"`:                                  "does not begin with /",
		`"violation":"spam","path":"/` + strings.Repeat("a", 1024) + `"`:     "send at most 1024",
		`"violation":"spam","path":"/\u001b[2J"`:                             "control characters",
		`"violation":"spam","request_id":"two\nlines"`:                       "request_id",
		`"violation":"spam","request_id":"` + strings.Repeat("a", 129) + `"`: "request_id",
		`"violation":["spam"]`:                                               "must be one JSON object",
		`"violation":"spam"},{"x":"y"`:                                       "must be one JSON object",
	} {
		status, answer := f.report(reportToken, `{"address":"203.0.113.5",`+more+`}`)
		if status != http.StatusBadRequest || !strings.Contains(answer, want) {
			t.Errorf("%.80s: %d %s, want %s", more, status, answer, want)
		}
	}
	if len(f.fake.violations) != 0 {
		t.Errorf("counted: %v", f.fake.violations)
	}
}

// TestReportsAreCountedByTheLimit proves that a list is as many questions of the token's limit, and no way around it.
func TestReportsAreCountedByTheLimit(t *testing.T) {
	left := 3
	f := start(t, func(f *fixture) {
		f.o.Tokens[3].Limit = func(_ *http.Request, n int) Allowance { left -= n; return Allowance{Allowed: left >= 0} }
		f.o.Tokens[3].MaxAddresses = 3
	})
	four := "[" + spam("") + "," + spam("") + "," + spam("") + "," + spam("") + "]"
	if status, answer := f.report(reportToken, four); status != http.StatusBadRequest || !strings.Contains(answer, "up to 3") {
		t.Errorf("more than ever pass: %d %s", status, answer)
	}
	if status, _ := f.report(reportToken, "["+spam("")+","+spam("")+"]"); status != http.StatusOK { // the refused one counted, too
		t.Errorf("two: %d", status)
	}
	if status, _ := f.report(reportToken, spam("")); status != http.StatusTooManyRequests {
		t.Errorf("one more: %d", status)
	}
	if len(f.fake.violations) != 2 {
		t.Errorf("%d were counted", len(f.fake.violations))
	}
}

// FuzzViolations proves that no body makes the API fail, or count more than the limit.
func FuzzViolations(f *testing.F) {
	for _, seed := range []string{spam(""), "[" + spam("") + "]", "[null]", "[[", `{"address":1}`, "[]", " ", "{}{}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		x := start(t)
		status, answer := x.report(reportToken, body)
		if status >= http.StatusInternalServerError || !json.Valid([]byte(answer)) || len(x.fake.violations) > MaxAddresses {
			t.Errorf("%d %s, %d counted", status, answer, len(x.fake.violations))
		}
	})
}
