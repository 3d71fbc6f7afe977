package load_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/google/go-cmp/cmp"

	// plugged in
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-ip-reputation/caddy-ip-reputation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// What follows is about the load test itself, and takes no load.

// adapted returns the JSON of a Caddyfile in testdata.
func adapted(t *testing.T, name string) (config map[string]any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	body, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(text, map[string]any{"filename": name})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range warnings {
		t.Errorf("%s: %s", name, w)
	}
	if err := json.Unmarshal(body, &config); err != nil {
		t.Fatal(err)
	}
	return config
}

// TestPlainIsTheSame proves that the two Caddys differ by us and by nothing else.
func TestPlainIsTheSame(t *testing.T) {
	for name, value := range map[string]string{
		"ADMIN": "127.0.0.1:1", "SITE": "127.0.0.1:2", "FOLDER": "/folder", "STANDINS": "http://127.0.0.1:3", "REDIS": "127.0.0.1:4",
	} {
		t.Setenv(name, value)
	}
	with := adapted(t, "Caddyfile")
	apps := with["apps"].(map[string]any)
	if apps["ip_reputation"] == nil {
		t.Error("we are not there")
	}
	delete(apps, "ip_reputation")
	for _, server := range apps["http"].(map[string]any)["servers"].(map[string]any) {
		for _, route := range server.(map[string]any)["routes"].([]any) {
			removeUs(route.(map[string]any))
		}
	}
	if diff := cmp.Diff(adapted(t, "plain.Caddyfile"), with); diff != "" {
		t.Errorf("with us, the rest is another (-plain +with us):\n%s", diff)
	}
}

// removeUs removes our handler from a route, and the routes in it.
func removeUs(route map[string]any) {
	handlers, _ := route["handle"].([]any)
	route["handle"] = slices.DeleteFunc(handlers, func(h any) bool {
		handler := h.(map[string]any)
		routes, _ := handler["routes"].([]any)
		for _, inner := range routes {
			removeUs(inner.(map[string]any))
		}
		return handler["handler"] == "ip_reputation"
	})
}

// TestTargets proves that requests are mixed as is said, that an unknown client comes once, also over several runs, and that
// the stand-in tells the clients apart.
func TestTargets(t *testing.T) {
	const runs, requests = 2, 5000
	counts, seen, newcomer := map[kind]int{}, map[netip.Addr]kind{}, 0
	for range runs {
		all := newTargets("127.0.0.1:80", newcomer)
		lines := bufio.NewScanner(all)
		for range requests {
			lines.Scan()
			var target struct {
				Method, URL string
				Header      map[string][]string
			}
			if err := json.Unmarshal(lines.Bytes(), &target); err != nil {
				t.Fatal(err)
			}
			address, err := url.Parse(target.URL)
			if err != nil {
				t.Fatal(err)
			}
			client := netip.MustParseAddr(target.Header["X-Forwarded-For"][0])
			k := kind(path.Base(address.Path))
			counts[k]++
			if other, again := seen[client]; again && (k == unknown || other != k) {
				t.Errorf("%s comes as %s and as %s", client, other, k)
			}
			seen[client] = k
			if reputation.IsReserved(client) {
				t.Errorf("%s is not judged", client)
			}
			if got := kindOf(client); got != k {
				t.Errorf("%s is %s for the stand-in, want %s", client, got, k)
			}
		}
		newcomer = all.newcomer
	}
	for k, share := range shares {
		if counts[k] != share*runs*requests/100 {
			t.Errorf("%d requests are %s, want %d %%", counts[k], k, share)
		}
	}
}

// TestLists proves that a tenth of the known clients is on lists, and nobody else, and that no two entries are alike.
func TestLists(t *testing.T) {
	entries := map[netip.Prefix]bool{}
	for list := range lists {
		for line := range strings.Lines(string(listText(list))) {
			line = strings.TrimSpace(line)
			p, err := netip.ParsePrefix(line)
			if err != nil {
				p = netip.PrefixFrom(netip.MustParseAddr(line), 32)
			}
			if entries[p] || reputation.IsReserved(p.Addr()) {
				t.Errorf("%s is there twice, or is reserved", p)
			}
			entries[p] = true
		}
	}
	if len(entries) != lists*prefixes {
		t.Errorf("%d prefixes are on lists, want %d", len(entries), lists*prefixes)
	}
	for _, k := range kinds {
		on := 0
		for i := range 10_000 {
			client := k.client(i)
			if p, _ := client.Prefix(24); entries[p] || entries[netip.PrefixFrom(client, client.BitLen())] {
				on++
			}
		}
		if want := map[kind]int{known: 1000}[k]; on != want {
			t.Errorf("%d of 10000 clients are on lists that are %s, want %d", on, k, want)
		}
	}
}

// TestParse proves that vegeta's results are read, and that what is none of ours is an error.
func TestParse(t *testing.T) {
	const text = `1700000000000000001,200,1500000,0,23,,,with-1,0,GET,http://127.0.0.1:80/known,U2VydmVyOiBDYWRkeQ==
1700000000000000002,0,2500000,0,0,"Get ""http://127.0.0.1:80/new"": EOF",,with-1,1,GET,http://127.0.0.1:80/new,
`
	got, err := parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []result{
		{known, 0, time.Unix(0, 1700000000000000001), 1500 * time.Microsecond, 200, ""},
		{unknown, 1, time.Unix(0, 1700000000000000002), 2500 * time.Microsecond, 0, `Get "http://127.0.0.1:80/new": EOF`},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(result{})); diff != "" {
		t.Error(diff)
	}
	for _, wrong := range []string{
		strings.Replace(text, "/known", "/else", 1), strings.Replace(text, ",200,", ",ok,", 1), "1,2,3\n",
	} {
		if got, err := parse(strings.NewReader(wrong)); err == nil {
			t.Errorf("%q is read as %v", wrong, got)
		}
	}
}

// made is a run with 1000 requests at a rate: all took a millisecond, but for 2 % that took slow, and so many have no answer.
func made(plain bool, rate int, slow time.Duration, unanswered int) *run {
	r := &run{plain: plain}
	for i := range 1000 {
		res := result{known, uint64(i), time.Unix(0, 0).Add(time.Duration(i) * time.Second / time.Duration(rate)), time.Millisecond, 200, ""}
		if i%50 == 0 {
			res.took = slow
		}
		if i < unanswered {
			res.status, res.failure = 0, "EOF"
		}
		r.results = append(r.results, res)
	}
	return r
}

// TestJudge proves that the load test fails when a promise is broken, and only then.
func TestJudge(t *testing.T) {
	const second = time.Second
	none := time.Duration(0)
	for name, tc := range map[string]struct {
		promise func(*stage) []verdict
		with    []*run
		plain   time.Duration // p99 of it
		want    string        // the beginnings of what fails
	}{
		"first, good":          {quick, []*run{made(false, 100, 1900*time.Millisecond, 9)}, none, ""},
		"first, slow":          {quick, []*run{made(false, 100, 2*second, 0)}, none, "100/s, with us: p99 is 2000 ms"},
		"first, wrong":         {quick, []*run{made(false, 100, none, 10)}, none, "100/s, with us: 1.000 % of 1000 answers are wrong, such as known: 0 EOF"},
		"first, not sent":      {quick, []*run{made(false, 90, none, 0)}, none, "100/s, with us: 90 requests a second"},
		"second, good":         {addsLittle, []*run{made(false, 100, second, 0), made(false, 100, 14*time.Millisecond, 0), made(false, 100, 14*time.Millisecond, 0)}, 10 * time.Millisecond, ""},
		"second, slow":         {addsLittle, []*run{made(false, 100, none, 0), made(false, 100, 15*time.Millisecond, 0), made(false, 100, 15*time.Millisecond, 0)}, 10 * time.Millisecond, "100/s: 5.00 ms are added"},
		"second, one is wrong": {addsLittle, []*run{made(false, 100, none, 0), made(false, 100, none, 40), made(false, 100, none, 0)}, none, "100/s, with us: 1.333 % of 3000"},
		"limit, good":          {nil, []*run{made(false, 100, second, 0)}, none, ""},
		"limit, wrong":         {nil, []*run{made(false, 100, none, 20)}, none, "100/s, with us: 2.000 %"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &stage{name: "100/s", rate: 100, runs: []*run{made(true, 100, tc.plain, 0)}}
			for _, r := range tc.with {
				s.runs = append(s.runs, r, made(true, 100, tc.plain, 0))
			}
			var failed []string
			for _, v := range s.judge(tc.promise) {
				if !v.ok {
					failed = append(failed, v.what)
				}
			}
			if got := strings.Join(failed, "\n"); !strings.HasPrefix(got, tc.want) || len(failed) > 1 || (tc.want == "") != (got == "") {
				t.Errorf("it fails with %q, want %q", got, tc.want)
			}
		})
	}
}

// TestBusyMachine proves that what was measured beside plain runs that differ much proves nothing.
func TestBusyMachine(t *testing.T) {
	s := &stage{name: "100/s", rate: 100, runs: []*run{
		made(true, 100, 2*time.Millisecond, 0), made(false, 100, 4*time.Millisecond, 0), made(true, 100, 7*time.Millisecond, 0),
	}}
	if got := addsLittle(s); !got[0].ok || got[1].ok || !got[2].ok {
		t.Errorf("it says %v", got)
	}
	s.runs[2].others = 0.06
	if got := addsLittle(s); got[2].ok {
		t.Errorf("it says %v", got)
	}
}

// TestOthers proves that the work of others is told from ours: that of processes that we have started, or that these have.
func TestOthers(t *testing.T) {
	const before = "cpu  100 10 50 1000 5 7 8 2 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n"
	const after = "cpu  160 10 70 1100 5 9 9 12 0 0\n"
	processes := func(ours, grandchild, foreign int) []string {
		const stat = "%d (a (b) c) S %d 1 1 0 -1 4194560 1 0 0 0 %d 10 1 1 20 0 1 0 100 1 1\n"
		return []string{
			fmt.Sprintf(stat, 40, 1, ours), fmt.Sprintf(stat, 41, 40, 5), fmt.Sprintf(stat, 42, 41, grandchild), fmt.Sprintf(stat, 50, 1, foreign), "",
		}
	}
	from, err := totals(before)
	if err != nil {
		t.Fatal(err)
	}
	to, err := totals(after)
	if err != nil {
		t.Fatal(err)
	}
	from.own, to.own = family(40, processes(10, 20, 30)), family(40, processes(20, 50, 90))
	if want := 10.0 + 5 + 20 + 3*12; from.own != want {
		t.Errorf("ours is %v, want %v", from.own, want)
	}
	// of 193 ticks 90 were used, 40 by us
	if got, known := others(from, to); !known || got != 50.0/193 {
		t.Errorf("others took %v", got)
	}
	if _, known := others(moment{}, to); known {
		t.Error("others are known where the system says nothing")
	}
	for _, wrong := range []string{"", "intr 1 2 3 4 5 6 7 8 9", "cpu a b c d e f g h"} {
		if m, err := totals(wrong); err == nil {
			t.Errorf("%q is %v", wrong, m)
		}
	}
}

// TestRightAnswers proves what counts as an error.
func TestRightAnswers(t *testing.T) {
	for _, k := range kinds {
		var right, plain []int
		for _, status := range []int{0, 200, 403, 429, 500, 502} {
			if k.right(status, false) {
				right = append(right, status)
			}
			if k.right(status, true) {
				plain = append(plain, status)
			}
		}
		want := map[kind]string{known: "[200]", unknown: "[200]", suspicious: "[200 429]", reported: "[403]", denied: "[403]"}[k]
		if got := fmt.Sprint(right); got != want || fmt.Sprint(plain) != "[200]" {
			t.Errorf("%s: %s with us and %v from plain Caddy are right, want %s and 200", k, got, plain, want)
		}
	}
}

// TestReport pins how results are written.
func TestReport(t *testing.T) {
	s := &stage{name: "100/s", rate: 100, runs: []*run{
		made(true, 100, 2*time.Millisecond, 0), made(false, 100, 12*time.Millisecond, 1), made(true, 100, 4*time.Millisecond, 0),
	}}
	s.runs[1].cpu = 50 * time.Millisecond
	got := table([]*stage{s})
	want := `| | | requests/s | wrong | p50, ms | p99, ms | p99.9, ms | longest, ms | CPU a request, µs |
|---|---|---|---|---|---|---|---|---|
| 100/s | plain | 100 | 0 | 1.00 | 3.00 (2.00 to 4.00) | 3.00 (2.00 to 4.00) | 3.00 (2.00 to 4.00) | 0 |
| 100/s | with us | 100 | 1 | 1.00 | 12.0 | 12.0 | 12.0 | 50 |
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, want := crowdTable(s), "| known | 1000 | 200: 999, 0: 1 | 1.00 | 12.0 |\n"; !strings.Contains(got, want) {
		t.Errorf("%s\nhas not\n%s", got, want)
	}
	if got, want := histogram(s), "to 20ms        0.0000 %                           2.0000 % █\n"; !strings.Contains(got, want) {
		t.Errorf("%s\nhas not\n%s", got, want)
	}
	got = drawing(s)
	if shares := shareOfBins(s, false); shares[20] != 0.98 || shares[30] != 0.02 || !strings.Contains(got, outline(shares)) {
		t.Errorf("the shares are %v, in\n%s", shares, got)
	}
}
