package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// reporting is a site that enforces, with the API below /rep: a token that may report, and one that may report spam.
func reporting(t *testing.T) *running {
	t.Helper()
	t.Setenv("TEST_API_REPORT", apiTokens["report"])
	t.Setenv("TEST_API_FORUM", apiTokens["forum"])
	return startOwn(t, "exempt 203.0.113.0/24", "block score 60", `
	handle_path /rep/* {
		ip_reputation_api {
			token {env.TEST_API_REPORT} violations {
				name report
			}
			token {env.TEST_API_FORUM} violations {
				name       forum
				violations spam
				limit      6/1h
			}
		}
	}
	respond "score {http.ip_reputation.score} for {http.ip_reputation.reasons}"
`)
}

// TestTheAPIIsToldOfViolations proves that what an application reports counts at the next request of the client, bans where
// the violation bans, and that a token makes nobody guilty of what it may not report.
func TestTheAPIIsToldOfViolations(t *testing.T) {
	r := reporting(t)
	report := func(token, body string, status int, want ...string) {
		t.Helper()
		got := r.look(t, token, http.MethodPost, "/rep/v1/violations", body, nil)
		for _, part := range want {
			if got.status != status || !strings.Contains(got.body, part) {
				t.Errorf("%s by %s: %d %s, want %d %s", body, token, got.status, got.body, status, part)
			}
		}
	}
	spam := func(client string) string { return `{"address":"` + client + `","violation":"spam"}` }

	before := r.metric(t, `violations_total{violation="spam"}`)
	report("report", spam("198.51.100.1"), 200, `"counted":true,"points":15}`)
	if got := r.visit(t, "198.51.100.1"); got.status != 200 || got.body != "score 24 for own.spam;points=15.0" {
		t.Errorf("after one spam: %d %s", got.status, got.body)
	}
	report("report", spam("198.51.100.1"), 200, `"points":30}`)
	if got := r.visit(t, "198.51.100.1"); got.status != 403 {
		t.Errorf("after two: %d %s", got.status, got.body)
	}
	report("report", `{"address":"2001:db8:5::1","violation":"trap","request_id":"of-the-visitor"}`, 200,
		`"subject":"2001:db8:5::/64","violation":"trap","counted":true,"points":60}`)
	if got := r.visit(t, "2001:db8:5::ffff"); got.status != 403 {
		t.Errorf("a neighbour in the /64 that was reported for a trap: %d %s", got.status, got.body)
	}
	if why := r.awaitBan(t, "2001:db8:5::/64").Why; why.RequestID != "of-the-visitor" {
		t.Errorf("the ban names the request %q", why.RequestID)
	}

	report("report", "["+spam("203.0.113.7")+","+spam("10.0.0.1")+","+spam("nobody")+"]", 200,
		`"ignored":"exempt"`, `"ignored":"reserved"`, `is not an IP address`)
	report("report", `{"address":"198.51.100.2","violation":"spma"}`, 400, `use login_failed, not_found, probe, spam, trap`)
	report("forum", `{"address":"198.51.100.2","violation":"trap"}`, 403, `the token may not report`)
	report("forum", "["+strings.Repeat(spam("198.51.100.3")+",", 5)+spam("198.51.100.3")+"]", 429, "too_many_requests") // one was spent
	report("", spam("198.51.100.2"), 401, "missing_token")
	for _, client := range []string{"203.0.113.7", "198.51.100.2", "198.51.100.3"} {
		if got := r.visit(t, client); got.status != 200 || strings.Contains(got.body, "own.") {
			t.Errorf("%s: %d %s", client, got.status, got.body)
		}
	}
	if n := r.metric(t, `violations_total{violation="spam"}`) - before; n != 2 {
		t.Errorf("%v spam was counted", n)
	}
	log := r.logs(t)
	for _, want := range []string{"a violation was reported over the API", `"token":"api/report"`, `"visitor_request_id":"of-the-visitor"`} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s", want)
		}
	}
	for name, token := range apiTokens {
		if strings.Contains(log, token) {
			t.Errorf("the log has the token %s", name)
		}
	}
}

// TestReportsAddUp proves that each report of the same path counts, and that the free ones do and cost nothing.
func TestReportsAddUp(t *testing.T) {
	r := reporting(t)
	for n := 1; n <= 6; n++ { // four are free
		got := r.look(t, "report", http.MethodPost, "/rep/v1/violations", `{"address":"198.51.100.1","violation":"login_failed","path":"/login"}`, nil)
		if want := fmt.Sprintf(`"counted":true,"points":%d}`, max(n-4, 0)*3); !strings.HasSuffix(got.body, want) {
			t.Errorf("report %d: %s, want %s", n, got.body, want)
		}
	}
}
