package e2e_test

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
)

// behindUs is the beginning of a Caddyfile for a site behind a trusted proxy, which is the test.
const behindUs = `{
	servers {
		trusted_proxies static 127.0.0.0/8
		trusted_proxies_strict
	}
	ip_reputation {
		%s
	}
}
http://%s {
	ip_reputation {
		mode enforce
		%s
		block score 85
	}
	%s
}
`

// startOwn runs a site that enforces: with global options, with options of the site, and with what answers behind it.
func startOwn(t *testing.T, global, site, next string) *running {
	t.Helper()
	c := newConfig(t)
	return startCaddyfile(t, c, fmt.Sprintf(behindUs, global, c.siteAddr, site, next))
}

// scoreOf is the score of a client, which sends no request for it; -1 if it has none.
func (r *running) scoreOf(t *testing.T, client string) int {
	t.Helper()
	checked := into[struct{ Score *int }](t, r.ask(t, http.MethodGet, "check/"+client, ""))
	if checked.Score == nil {
		return -1
	}
	return *checked.Score
}

// recording reads a list of requests, one a line.
func recording(t *testing.T, name string) (lines []string) {
	t.Helper()
	file, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	scanner := bufio.NewScanner(file)
	for scanner.Scan() {
		if line := scanner.Text(); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	if err := scanner.Err(); err != nil || len(lines) == 0 {
		t.Fatalf("%s: %v", name, err)
	}
	return lines
}

// application answers as the path says: /404/… with 404 and so on, others with 200.
const application = `
	@coded path_regexp code ^/(404|401|500)/
	handle @coded {
		respond "" {re.code.1}
	}
	@pages path / /robots.txt /sitemap.xml /products /products/1 /products/2 /products/4 /about /contact /blog /blog/1 /blog/3
	handle @pages {
		respond "score {http.ip_reputation.score} for {http.ip_reputation.reasons}"
	}
	respond 404
`

// TestAScannerIsRefused proves that a scanner is refused within its first few requests, by what is built in, and that a
// crawler that follows a few dead links never is, however often it comes.
func TestAScannerIsRefused(t *testing.T) {
	r := startOwn(t, "", "violations default", application)
	const scanner, crawler = "198.51.100.1", "198.51.100.2"
	refusedAt := 0
	for i, path := range recording(t, "scan.txt") {
		if got := r.request(t, scanner, path); got.status == 403 && refusedAt == 0 {
			refusedAt = i + 1
		} else if got.status != 403 && refusedAt > 0 {
			t.Errorf("request %d for %s is answered with %d again", i+1, path, got.status)
		}
	}
	if refusedAt == 0 || refusedAt > 8 {
		t.Errorf("the scanner is refused at request %d", refusedAt)
	}
	for range 5 {
		for _, line := range recording(t, "crawl.txt") {
			status, path, _ := strings.Cut(line, " ")
			if got := r.request(t, crawler, path); fmt.Sprint(got.status) != status {
				t.Errorf("the crawler gets %d for %s", got.status, path)
			}
		}
	}
	for n := range 200 { // another one, with an old list of links
		if got := r.request(t, "198.51.100.3", fmt.Sprintf("/404/%d", n)); got.status != 404 {
			t.Fatalf("missing page %d is answered with %d: these alone refuse nobody", n, got.status)
		}
	}
	if score := r.scoreOf(t, "198.51.100.3"); score < 3 || score > 15 {
		t.Errorf("two hundred missing pages are a score of %d", score)
	}
}

// TestNobodyIsMadeGuiltyByOthers proves that what a client, a foreign page or another site can write counts against nobody
// else.
func TestNobodyIsMadeGuiltyByOthers(t *testing.T) {
	const (
		victim, attacker = "198.51.100.10", "198.51.100.66"
		word             = "X-IP-Reputation-Violation"
	)
	r := startOwn(t, "", "violation trap path /.env\nviolation login_failed path /401/* status 401\nviolations from_application", `
	@said path /said
	handle @said {
		header `+word+` "spam, no_such_name"
		respond "said"
	}
	@echo path /echo
	handle @echo {
		respond "{header.`+word+`}|"
	}
`+application)
	innocent := func(what string) {
		t.Helper()
		if got := r.request(t, victim, "/"); got.status != 200 || strings.Contains(got.body, "own.") {
			t.Errorf("%s: the victim gets %d %s", what, got.status, got.body)
		}
	}
	// The proxy appends the client's address: all before it is what the client wrote.
	if got := r.request(t, victim+", "+attacker, "/.env"); got.status != 403 {
		t.Errorf("the attacker who names a victim gets %d", got.status)
	}
	innocent("a forged X-Forwarded-For")

	foreign := r.metric(t, `violations_ignored_total{reason="foreign"}`)
	for _, page := range [][]string{
		{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Dest: image", "Sec-Fetch-Mode: no-cors"},
		{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Dest: iframe", "Sec-Fetch-Mode: navigate"},
		{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Dest: script"},
		{"Sec-Purpose: prefetch"},
		{"Purpose: prefetch"},
		{"Referer: https://evil.example.net/page"},
	} {
		if got := r.request(t, victim, "/.env", page...); got.status == 403 {
			t.Errorf("%q: the reader of a foreign page is refused", page)
		}
		innocent(strings.Join(page, ", "))
	}
	if n := r.metric(t, `violations_ignored_total{reason="foreign"}`) - foreign; n != 6 {
		t.Errorf("%v were ignored as foreign", n)
	}

	// What the client says of itself, or repeats, is no word of the application, and does not reach it.
	if got := r.request(t, victim, "/echo", word+": trap", strings.ToLower(word)+": spam", "X_IP_Reputation_Violation: trap"); got.body != "|" {
		t.Errorf("the application reads what a client wrote: %q", got.body)
	}
	innocent("the client's own header")

	said := r.request(t, attacker+"7", "/said") // what is no address is none
	if said.header.Get(word) != "" {
		t.Errorf("the visitor sees the application's word: %v", said.header)
	}
	said = r.request(t, "198.51.100.11", "/said")
	if got := r.request(t, "198.51.100.11", "/"); said.header.Get(word) != "" || got.body != "score 24 for own.spam;points=15.0" {
		t.Errorf("after the application's word: %v %s", said.header, got.body)
	}
	innocent("the word of the application about another")
	eventually(t, "the unknown name is logged", func() bool { return strings.Contains(r.logs(t), "no_such_name") })
}

// TestOnlyTheApplicationIsBelieved proves that a site that does not listen to its upstream removes the header, and counts
// nothing.
func TestOnlyTheApplicationIsBelieved(t *testing.T) {
	names := "spam, " + strings.Repeat("trap, ", 10_000) + "spam"
	for option, want := range map[string]int{"": 200, "violation probe path /probe": 200, "violations from_application": 403} {
		r := startOwn(t, "", option, `
	@said path /said
	handle @said {
		header X-IP-Reputation-Violation "`+names+`"
		respond "said"
	}
`+application)
		reason := map[int]string{200: "untrusted", 403: "excess"}[want]
		ignored := r.metric(t, `violations_ignored_total{reason="`+reason+`"}`)
		if got := r.request(t, "198.51.100.1", "/said"); got.status != 200 || got.header.Get("X-IP-Reputation-Violation") != "" {
			t.Errorf("%q: %d %v", option, got.status, got.header)
		}
		if got := r.request(t, "198.51.100.1", "/"); got.status != want || want == 200 && got.body != "score  for " {
			t.Errorf("%q: %d %s", option, got.status, got.body)
		}
		if n := r.metric(t, `violations_ignored_total{reason="`+reason+`"}`); n == ignored {
			t.Errorf("%q: nothing was ignored as %s", option, reason)
		}
		r.stop(t)
	}
}

// TestAFloodOfViolators proves that memory does not grow with the number of clients that do wrong, and that others are
// served meanwhile.
func TestAFloodOfViolators(t *testing.T) {
	r := startOwn(t, "", "violation trap path /.env", application)
	kept := &http.Client{Timeout: client.Timeout}
	defer kept.CloseIdleConnections()
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	flood := func(round int) {
		for n := range 3000 {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.site+"/.env", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Forwarded-For", fmt.Sprintf("198.%d.%d.%d", 20+round, n/250, n%250))
			resp, err := kept.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		if got := r.request(t, "192.0.2.1", "/"); got.status != 200 {
			t.Errorf("a client that did nothing gets %d", got.status)
		}
	}
	flood(0)
	flood(1)
	before := heap()
	flood(2)
	eventually(t, "the heap does not grow by 3000 violators", func() bool { return heap() <= before+4<<20 })
}

// TestUnusedViolations proves that a violation that nobody can ever count is warned of, such as one that is misspelt.
func TestUnusedViolations(t *testing.T) {
	const warning = "a violation is never counted"
	for name, tc := range map[string]struct {
		handler object
		warned  bool
	}{
		"no site counts it":         {object{"violations": []any{object{"name": "trap", "path": []any{"/.env"}}}}, true},
		"no site counts any":        {object{}, true},
		"a site counts it":          {object{"violations": []any{object{"name": "login_fialed", "path": []any{"/login"}}}}, false},
		"the application may do so": {object{"violations_from_application": true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := newConfig(t)
			c.app["violations"] = []any{object{"name": "login_fialed", "points": 3}}
			maps.Copy(c.handler, tc.handler)
			r := startCaddy(t, c)
			log := r.logs(t)
			if got := strings.Contains(log, warning) && strings.Contains(log, `"violation":"login_fialed"`); got != tc.warned {
				t.Errorf("warned: %v\n%s", got, log)
			}
		})
	}
}
