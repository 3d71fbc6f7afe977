package e2e_test

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-cmp/cmp"
)

// checked is the answer to a check, as a program of somebody else reads it.
type checked struct {
	Address, Subject, Status, Sum    string
	Score                            *int
	Percent, Prior, Points, Coverage *float64
	Reasons                          []checkedReason
	Categories                       []string
	Facts                            object
	Reserved                         bool
	Lists                            []struct{ Name, Kind, Source string }
	Overrides                        []struct{ Prefix, Kind, Reason string }
	Providers                        []checkedProvider
	Next                             []string
}

type checkedReason struct {
	Source     string
	Points     float64
	Categories []string
	AgeSeconds *int `json:"age_seconds"`
}

type checkedProvider struct {
	Name    string
	Failed  bool
	Due     time.Time
	Problem string
	Worth   float64
	Price   float64
	Answer  *struct {
		Severity, Confidence float64
		Categories           []string
		Fetched              time.Time
	}
}

func (r *running) check(tb testing.TB, addr string) checked {
	tb.Helper()
	return into[checked](tb, r.ask(tb, http.MethodGet, "check/"+addr, ""))
}

// judged is a configuration with every kind of source.
func judged(t *testing.T) (*running, *standIn) {
	t.Helper()
	s := startStandIn(t)
	s.know("203.0.113.10", 100, 60)
	c := newConfig(t)
	c.ask(s)
	c.app["deny"] = []any{"198.51.100.7"}
	c.app["exempt"] = []any{"203.0.113.200"}
	c.app["feeds"] = []any{object{"name": "mine", "sources": []any{"203.0.113.0/26"}, "category": []any{"scanner"}}}
	return startCaddy(t, c), s
}

func TestCheckAddsUp(t *testing.T) {
	r, s := judged(t)
	before := r.check(t, "203.0.113.10")
	if s.asked() != 0 {
		t.Error("a check without ?fresh asked a provider")
	}
	if p := before.Providers; len(p) != 1 || p[0].Answer != nil || p[0].Failed || len(before.Next) != 1 ||
		!strings.Contains(before.Next[0], "abuseipdb was not asked yet") {
		t.Errorf("before anybody was asked, the check says %+v, next %q", p, before.Next)
	}

	c := r.check(t, "203.0.113.10?fresh")
	if s.asked("203.0.113.10") != 1 {
		t.Errorf("?fresh asked %d times, want 1", s.asked("203.0.113.10"))
	}
	sum := *c.Prior
	var sources []string
	for _, reason := range c.Reasons {
		sum += reason.Points
		sources = append(sources, reason.Source)
	}
	if math.Abs(sum-*c.Points) > 1e-9 || *c.Prior != -20 {
		t.Errorf("prior %v and the points of %+v do not make %v", *c.Prior, c.Reasons, *c.Points)
	}
	if percent := 100 / (1 + math.Pow(10, -sum/10)); math.Abs(percent-*c.Percent) > 1e-9 || math.Round(percent) != float64(*c.Score) {
		t.Errorf("%v points are %v %%, not %v %% and a score of %d", sum, percent, *c.Percent, *c.Score)
	}
	if diff := cmp.Diff([]string{"abuseipdb", "mine"}, sources); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
	const written = "-20 + 28.8 (abuseipdb) + 12 (mine) = 20.8 points; 100 / (1 + 10^(-points/10)) = 99.18 %"
	if c.Sum != written {
		t.Errorf("the sum is %q, want %q", c.Sum, written)
	}
	if c.Status != "fresh" || *c.Coverage != 1 || c.Subject != "203.0.113.10/32" || c.Facts["country"] != "NL" {
		t.Errorf("status %s, coverage %v, subject %s, facts %v", c.Status, *c.Coverage, c.Subject, c.Facts)
	}
	if diff := cmp.Diff([]string{"abuse", "scanner"}, c.Categories); diff != "" {
		t.Errorf("categories (-want +got):\n%s", diff)
	}
	p := c.Providers[0]
	if p.Answer == nil || p.Answer.Severity != 1 || p.Answer.Confidence != .9 || p.Answer.Fetched.IsZero() || !p.Due.After(p.Answer.Fetched) {
		t.Errorf("what the provider said is %+v", p)
	}
	if c.Reasons[0].AgeSeconds == nil {
		t.Error("a reason has no age_seconds")
	}

	r.check(t, "203.0.113.10")
	if s.asked() != 1 {
		t.Error("a check asked although the answer was there")
	}
	r.check(t, "203.0.113.10?fresh")
	if s.asked() != 2 {
		t.Error("?fresh did not ask anew")
	}
}

func TestCheckOfEveryKind(t *testing.T) {
	r, s := judged(t)
	r.ask(t, http.MethodPost, "bans", `{"prefix":"192.0.2.0/24","reason":"a bad place"}`)
	r.ask(t, http.MethodPost, "exemptions", `{"prefix":"192.0.2.8"}`)
	score := func(n int) *int { return &n }
	for _, tc := range []struct {
		name, addr, subject, status string
		score                       *int
		lists                       string
		overrides                   string
		next                        string
	}{
		{"exempt by the configuration", "203.0.113.200", "203.0.113.200/32", "exempt", nil, "exempt exempt values", "", "the address is exempt"},
		{"exempt at run time", "192.0.2.8", "192.0.2.8/32", "exempt", nil, "", "exemption 192.0.2.8/32, ban 192.0.2.0/24 a bad place", "the address is exempt"},
		{"banned", "192.0.2.9", "192.0.2.9/32", "fresh", score(100), "", "ban 192.0.2.0/24 a bad place", "while it is banned"},
		{"denied", "198.51.100.7", "198.51.100.7/32", "fresh", score(100), "deny deny values", "", "while you deny it"},
		{"private", "10.1.2.3", "10.1.2.3/32", "exempt", nil, "", "", "private or reserved"},
		{"on a list", "203.0.113.1", "203.0.113.1/32", "partial", score(14), "mine feed values", "", "not asked yet"},
		{"IPv4-mapped", "::ffff:203.0.113.1", "203.0.113.1/32", "partial", score(14), "mine feed values", "", "not asked yet"},
		{"IPv6", "2001:db8:1:2:3::4", "2001:db8:1:2::/64", "partial", score(1), "", "", "not asked yet"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := r.check(t, tc.addr)
			var lists, overrides []string
			for _, l := range c.Lists {
				lists = append(lists, strings.Join([]string{l.Name, l.Kind, l.Source}, " "))
			}
			for _, o := range c.Overrides {
				overrides = append(overrides, strings.TrimSpace(strings.Join([]string{o.Kind, o.Prefix, o.Reason}, " ")))
			}
			got := []any{c.Subject, c.Status, c.Score, strings.Join(lists, ", "), strings.Join(overrides, ", ")}
			want := []any{tc.subject, tc.status, tc.score, tc.lists, tc.overrides}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("check (-want +got):\n%s", diff)
			}
			if !strings.Contains(strings.Join(c.Next, "; "), tc.next) {
				t.Errorf("next is %q, want it to say %q", c.Next, tc.next)
			}
			if tc.score == nil && (c.Points != nil || c.Percent != nil) {
				t.Error("an address that is not judged has points")
			}
		})
	}
	for _, addr := range []string{"203.0.113.200", "192.0.2.8", "192.0.2.9", "198.51.100.7", "10.1.2.3"} {
		r.check(t, addr+"?fresh")
	}
	if s.asked() != 0 {
		t.Error("?fresh sent an address to a provider that must not be sent to anyone")
	}
}

func TestCheckNamesTroubleOfProviders(t *testing.T) {
	r, s := judged(t)
	for _, tc := range []struct {
		name      string
		behaviour http.HandlerFunc
		next      string
	}{
		{"garbage", garbage, "abuseipdb gave no answer last time and is asked again"},
		{"throttled", throttle, "abuseipdb is not asked now: it asked to be left alone until "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s.behave(tc.behaviour)
			c := r.check(t, "203.0.113.77?fresh")
			if len(c.Providers) != 1 || !c.Providers[0].Failed || c.Providers[0].Answer != nil {
				t.Errorf("providers are %+v", c.Providers)
			}
			if len(c.Next) != 1 || !strings.Contains(c.Next[0], tc.next) {
				t.Errorf("next is %q, want %q", c.Next, tc.next)
			}
		})
	}
	type status struct{ Warnings []string }
	w := into[status](t, r.ask(t, http.MethodGet, "status", "")).Warnings
	if len(w) != 1 || !strings.Contains(w[0], "provider abuseipdb is not asked: it asked to be left alone") {
		t.Errorf("the status warns %q", w)
	}
}

func TestRefusedRequests(t *testing.T) {
	r, _ := judged(t)
	for _, tc := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"GET", "", "", 404, "below /ip_reputation/ there are bans, bans/"},
		{"GET", "nothing", "", 404, "nothing is at /ip_reputation/nothing"},
		{"GET", "check", "", 404, "check/"},
		{"POST", "status", "", 405, "use GET"},
		{"PUT", "bans", "{}", 405, "use GET, POST"},
		{"POST", "bans/203.0.113.5", "{}", 405, "use DELETE, GET"},
		{"GET", "records/203.0.113.5", "", 405, "use DELETE"},
		{"GET", "check/203.0.113.256", "", 400, `"203.0.113.256" is not an IP address: write one such as`},
		{"GET", "check/203.0.113.0/24", "", 400, "is not an IP address"},
		{"GET", "check/fe80::1%25eth0", "", 400, "has a zone"},
		{"GET", "check/203.0.113.5?fresh=maybe", "", 400, "fresh takes no value"},
		{"DELETE", "records/x", "", 400, `"x" is not an IP address`},
		{"DELETE", "bans/x/y", "", 400, `"x/y" is not a CIDR range`},
		{"DELETE", "bans/203.0.113.5", "", 404, "there is no ban of 203.0.113.5/32: `caddy ip-reputation check 203.0.113.5` says"},
		{"GET", "exemptions/203.0.113.5%2F32", "", 404, "there is no exemption of 203.0.113.5/32"},
		{"POST", "bans", "", 400, `send {"prefix": "203.0.113.5/32"`},
		{"POST", "bans", `{}`, 400, `"" is not an IP address`},
		{"POST", "bans", `{"prefix":"203.0.113.5"} {}`, 400, "something follows"},
		{"POST", "bans", `{"prefix":"203.0.113.5","until":"x"}`, 400, `unknown field "until"`},
		{"POST", "bans", `{"prefix":"203.0.113.5","ttl":3600}`, 400, "cannot unmarshal number"},
		{"POST", "bans", `{"prefix":"203.0.113.5","ttl":"soon"}`, 400, `ttl "soon" is not a duration`},
		{"POST", "bans", `{"prefix":"203.0.113.5","ttl":"-1h"}`, 400, `ttl "-1h"`},
		{"POST", "bans", `{"prefix":"203.0.113.5","ttl":"1ms"}`, 400, "it would end at once"},
		{"POST", "bans", `{"prefix":"202.0.0.0/7"}`, 400, "too broad"},
		{"POST", "bans", `{"prefix":"203.0.113.5","reason":"a\u001b[31mb"}`, 400, "do not print"},
		{"POST", "exemptions", `{"prefix":"0.0.0.0/0"}`, 400, "too broad"},
		{"POST", "bans", `{"reason":"` + strings.Repeat("x", 64<<10) + `"}`, 413, "more than 65536 bytes"},
		{"POST", "feeds/nope/refresh", "", 404, "no such list: there are exempt, deny, mine"},
		{"POST", "feeds/mine", "", 404, "use /ip_reputation/feeds/mine/refresh"},
	} {
		t.Run(tc.method+" "+tc.path+" "+tc.body[:min(len(tc.body), 60)], func(t *testing.T) {
			got := r.ask(t, tc.method, tc.path, tc.body)
			type refusal struct{ Error string }
			text := into[refusal](t, got).Error
			if got.status != tc.status || !strings.Contains(text, tc.says) {
				t.Errorf("%d %q, want %d and %q", got.status, text, tc.status, tc.says)
			}
			if allow := got.header.Get("Allow"); tc.status == 405 && !strings.HasSuffix(tc.says, allow) || allow == "" && tc.status == 405 {
				t.Errorf("Allow is %q", allow)
			}
		})
	}
	if list := r.ask(t, http.MethodGet, "bans", ""); strings.TrimSpace(list.body) != "[]" {
		t.Errorf("after nothing but refused requests, the bans are %s", list.body)
	}
}

type entry struct {
	Prefix, Kind, Reason, Note, Warning string
	Created, Expires                    time.Time
}

func TestBanActsAndLasts(t *testing.T) {
	const client = "203.0.113.99"
	r, _ := judged(t)
	expect := func(when string, status int) {
		t.Helper()
		if got := r.visit(t, client); got.status != status {
			t.Errorf("%s, the client gets %d, want %d", when, got.status, status)
		}
	}
	expect("before the ban", 200)
	added := r.ask(t, http.MethodPost, "bans", `{"prefix":"203.0.113.99","ttl":"1h","reason":"a test"}`)
	if e := into[entry](t, added); added.status != 201 || e.Prefix != "203.0.113.99/32" || e.Kind != "ban" || e.Reason != "a test" ||
		e.Expires.Sub(e.Created) < time.Hour || e.Note != "" || e.Warning != "" {
		t.Errorf("%d %s", added.status, added.body)
	}
	expect("when banned", 403)
	if again := r.ask(t, http.MethodPost, "bans", `{"prefix":"203.0.113.99/32","reason":"another"}`); again.status != 200 {
		t.Errorf("banning again is answered with %d", again.status)
	}
	if e := into[[]entry](t, r.ask(t, http.MethodGet, "bans", "")); len(e) != 1 || e[0].Reason != "another" || !e[0].Expires.IsZero() {
		t.Errorf("the bans are %+v", e)
	}
	if e := into[entry](t, r.ask(t, http.MethodGet, "bans/"+client, "")); e.Reason != "another" {
		t.Errorf("the ban is %+v", e)
	}

	r.reload(t)
	expect("after a reload", 403)
	r.handler["mode"] = "nonsense"
	if err := r.tryReload(t); err == nil {
		t.Error("nonsense was accepted")
	}
	r.handler["mode"] = "enforce"
	expect("after a failed reload", 403)
	r.stop(t)
	r.reload(t)
	expect("after a stop and a start", 403)

	if half := r.ask(t, http.MethodDelete, "bans/203.0.113.98", ""); half.status != 404 {
		t.Errorf("ending a ban that is not there is answered with %d", half.status)
	}
	for _, path := range []string{"bans/203.0.113.99%2F32", "bans/203.0.113.99/32", "bans/203.0.113.99"} {
		expect("before "+path, 403)
		if gone := r.ask(t, http.MethodDelete, path, ""); gone.status != 200 || into[entry](t, gone).Prefix != "203.0.113.99/32" {
			t.Errorf("%s: %d %s", path, gone.status, gone.body)
		}
		expect("after "+path, 200)
		r.ask(t, http.MethodPost, "bans", `{"prefix":"203.0.113.99"}`)
	}
	for _, want := range []string{
		`"msg":"added by an operator","kind":"ban","prefix":"203.0.113.99/32","reason":"a test","remote_addr":"127.0.0.1:`,
		`"ttl":"1h"`, `"ttl":"forever"`,
		`"msg":"removed by an operator","kind":"ban","prefix":"203.0.113.99/32"`,
	} {
		if !strings.Contains(r.logs(t), want) {
			t.Errorf("the log lacks %s", want)
		}
	}
}

func TestBanEnds(t *testing.T) {
	r, _ := judged(t)
	e := into[entry](t, r.ask(t, http.MethodPost, "bans", `{"prefix":"203.0.113.99","ttl":"1s"}`))
	if status := r.visit(t, "203.0.113.99").status; status != 403 && time.Now().Before(e.Expires) {
		t.Error("the ban does not act")
	}
	eventually(t, "the ban ends", func() bool { return r.visit(t, "203.0.113.99").status == 200 })
}

// TestBanSurvivesTheProcess proves that a ban is on disk when its request is answered: the process is killed at once.
func TestBanSurvivesTheProcess(t *testing.T) {
	c := newConfig(t)
	p := startProcess(t, c)
	if got := p.ask(t, http.MethodPost, "bans", `{"prefix":"203.0.113.99"}`); got.status != 201 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	p.end(os.Kill)
	if again := startProcess(t, c).visit(t, "203.0.113.99"); again.status != 403 {
		t.Errorf("after the restart the client gets %d", again.status)
	}
}

func TestNotes(t *testing.T) {
	r, _ := judged(t)
	r.ask(t, http.MethodPost, "exemptions", `{"prefix":"198.51.100.64/26"}`)
	for _, tc := range []struct{ prefix, note string }{
		{"203.0.113.99", ""},
		{"203.0.113.200", "still let through by the list exempt"},
		{"198.51.100.65", "still let through by the exemption of 198.51.100.64/26"},
		{"198.51.100.0/24", "still let through by the exemption of 198.51.100.64/26"},
		{"2001:db8:1:2:3::4", "ban 2001:db8:1:2::/64 to keep it out"},
		{"2001:db8:1:2::/64", ""},
		{"::ffff:192.0.2.1", ""},
	} {
		e := into[entry](t, r.ask(t, http.MethodPost, "bans", fmt.Sprintf(`{"prefix":%q}`, tc.prefix)))
		if !strings.Contains(e.Note, tc.note) || tc.note == "" && e.Note != "" {
			t.Errorf("banning %s notes %q, want %q", tc.prefix, e.Note, tc.note)
		}
	}
	type refusal struct{ Error string }
	part := into[refusal](t, r.ask(t, http.MethodDelete, "bans/198.51.100.1", "")).Error
	if !strings.Contains(part, "198.51.100.1 is banned by 198.51.100.0/24") {
		t.Errorf("ending the ban of a part says %q", part)
	}
	e := into[entry](t, r.ask(t, http.MethodDelete, "bans/198.51.100.65", ""))
	if e.Note != "198.51.100.65 is still banned by 198.51.100.0/24" {
		t.Errorf("ending one of two bans notes %q", e.Note)
	}
}

func TestExemptionBeatsEverything(t *testing.T) {
	r, s := judged(t)
	r.ask(t, http.MethodPost, "bans", `{"prefix":"198.51.100.7"}`)
	if r.visit(t, "198.51.100.7").status != 403 || r.visit(t, "203.0.113.10").status != 403 {
		t.Fatal("the clients are not blocked to begin with")
	}
	asked := s.asked()
	for _, prefix := range []string{"198.51.100.7", "203.0.113.10"} {
		if got := r.ask(t, http.MethodPost, "exemptions", fmt.Sprintf(`{"prefix":%q}`, prefix)); got.status != 201 {
			t.Errorf("%d %s", got.status, got.body)
		}
		r.ask(t, http.MethodDelete, "records/"+prefix, "")
		if got := r.visit(t, prefix); got.status != 200 {
			t.Errorf("%s is exempt and gets %d", prefix, got.status)
		}
	}
	if s.asked() != asked {
		t.Error("an exempt address was sent to a provider")
	}
	if got := r.ask(t, http.MethodDelete, "exemptions/203.0.113.10%2F32", ""); got.status != 200 || r.visit(t, "203.0.113.10").status != 403 {
		t.Errorf("the exemption has not ended: %d %s", got.status, got.body)
	}
}

// TestBanWithoutADisk proves that a ban acts although it cannot be kept, and that its operator learns so.
func TestBanWithoutADisk(t *testing.T) {
	r, _ := judged(t)
	file := filepath.Join(r.dataDir, "caddy", "ip_reputation", "bans.json")
	if err := os.MkdirAll(filepath.Join(file, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	e := into[entry](t, r.ask(t, http.MethodPost, "bans", `{"prefix":"203.0.113.99"}`))
	if !strings.Contains(e.Warning, "not on disk") || !strings.Contains(e.Warning, "a restart undoes it") {
		t.Errorf("the warning is %q", e.Warning)
	}
	if got := r.visit(t, "203.0.113.99"); got.status != 403 {
		t.Errorf("the client gets %d", got.status)
	}
	if err := os.RemoveAll(file); err != nil {
		t.Fatal(err)
	}
	e = into[entry](t, r.ask(t, http.MethodDelete, "bans/203.0.113.99", ""))
	if e.Warning != "" || r.visit(t, "203.0.113.99").status != 200 {
		t.Errorf("with the disk back, ending the ban warns %q", e.Warning)
	}
}

func TestForget(t *testing.T) {
	r, s := judged(t)
	for range 2 {
		r.visit(t, "203.0.113.10")
	}
	if s.asked() != 1 {
		t.Fatalf("asked %d times to begin with", s.asked())
	}
	for _, want := range []string{`{"subject":"203.0.113.10/32","forgotten":true}`, `{"subject":"203.0.113.10/32","forgotten":false}`} {
		if got := r.ask(t, http.MethodDelete, "records/203.0.113.10", ""); got.status != 200 || strings.TrimSpace(got.body) != want {
			t.Errorf("%d %s, want %s", got.status, got.body, want)
		}
	}
	r.visit(t, "203.0.113.10")
	if s.asked() != 2 {
		t.Errorf("asked %d times, want once more after forgetting", s.asked())
	}
}

func TestRefresh(t *testing.T) {
	publisher := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "198.51.100.1")
	}))
	t.Cleanup(publisher.Close)
	c := newConfig(t)
	file := filepath.Join(c.dataDir, "deny.txt")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("198.51.100.7\n")
	c.app["feeds"] = []any{
		object{"name": "ours", "sources": []any{file}},
		object{"name": "partner", "sources": []any{publisher.URL}},
	}
	c.handler["rules"] = []any{rule("block", object{"score": "20"})} // which two lists can give
	r := startCaddy(t, c)
	type status struct {
		Lists []struct {
			Name, Role string
			Entries    int
			Loaded     bool
			LastError  string `json:"last_error"`
		}
		Warnings []string
	}
	eventually(t, "the partner's list is fetched", func() bool {
		return into[status](t, r.ask(t, http.MethodGet, "status", "")).Lists[1].Loaded
	})

	write("198.51.100.7\n198.51.100.9\n")
	got := r.ask(t, http.MethodPost, "feeds/ours/refresh", "")
	if got.status != 200 || !strings.Contains(got.body, `"entries":2`) {
		t.Errorf("%d %s", got.status, got.body)
	}
	if lists := r.check(t, "198.51.100.9").Lists; len(lists) != 1 || lists[0].Name != "ours" {
		t.Errorf("after the refresh the new address is on %v", lists)
	}
	if got := r.ask(t, http.MethodPost, "feeds/partner/refresh", ""); got.status != 429 || !strings.Contains(got.body, "ask again in") || !strings.Contains(got.body, "ago") {
		t.Errorf("asking a publisher twice in a minute: %d %s", got.status, got.body)
	}
	write("<html>\nnot\na\nlist\n")
	if got := r.ask(t, http.MethodPost, "feeds/ours/refresh", ""); got.status != 502 || !strings.Contains(got.body, "stays in force") {
		t.Errorf("refreshing a broken list: %d %s", got.status, got.body)
	}
	if len(r.check(t, "198.51.100.9").Lists) != 1 {
		t.Error("a broken list replaced a good one")
	}
	answer := r.ask(t, http.MethodGet, "status", "")
	w := into[status](t, answer).Warnings
	if len(w) != 1 || !strings.Contains(w[0], "list ours is not the newest") || !strings.Contains(w[0], "a web page came") {
		t.Errorf("the status warns %q", w)
	}
	type judged struct {
		Health struct {
			Status   string
			Warnings []struct{ Reason, Component, Text string }
		}
	}
	h := into[judged](t, answer).Health
	if h.Status != "warn" || len(h.Warnings) != 1 || h.Warnings[0].Reason != "list_failing" || h.Warnings[0].Component != "ours" ||
		strings.Contains(h.Warnings[0].Text, "web page") {
		t.Errorf("with a warning, health is %+v", h)
	}
	if page := r.run(t, "status"); !strings.Contains(page, "health       warn\n") || !strings.Contains(page, "\nWARNINGS     list ours ") {
		t.Errorf("the page says\n%s", page)
	}
}

func TestStatus(t *testing.T) {
	r, _ := judged(t)
	r.visit(t, "203.0.113.10")
	r.ask(t, http.MethodPost, "bans", `{"prefix":"203.0.113.99"}`)
	type status struct {
		Version    map[string]string
		DataFolder string `json:"data_folder"`
		Providers  []struct {
			Name    string
			Up      bool
			Windows []struct {
				Window      string
				Limit, Used int
			}
		}
		Lists []struct {
			Name, Role, Kind string
			Entries          int
		}
		Memory           struct{ Records, Capacity, Evictions int }
		Bans, Exemptions int
		Warnings         []string
	}
	raw := r.ask(t, http.MethodGet, "status", "")
	if strings.Contains(raw.body, keyText) {
		t.Error("the status holds the key")
	}
	s := into[status](t, raw)
	if s.Version["plugin"] == "" || s.Version["go"] == "" || s.DataFolder != filepath.Join(r.dataDir, "caddy", "ip_reputation") {
		t.Errorf("version %v, data folder %s", s.Version, s.DataFolder)
	}
	if p := s.Providers; len(p) != 1 || p[0].Name != "abuseipdb" || !p[0].Up || len(p[0].Windows) != 1 ||
		p[0].Windows[0].Window != "1000/day" || p[0].Windows[0].Used != 1 {
		t.Errorf("providers are %+v", p)
	}
	if len(s.Lists) != 3 || s.Lists[0].Role != "exempt" || s.Lists[1].Role != "deny" || s.Lists[2].Role != "feed" || s.Lists[2].Entries != 1 {
		t.Errorf("lists are %+v", s.Lists)
	}
	if s.Memory.Records != 1 || s.Memory.Capacity < 200_000 || s.Bans != 1 || s.Exemptions != 0 || len(s.Warnings) != 0 {
		t.Errorf("memory %+v, %d bans, %d exemptions, warnings %q", s.Memory, s.Bans, s.Exemptions, s.Warnings)
	}

	r.server = object{"trusted_proxies_strict": 0}
	r.reload(t)
	eventually(t, "a sampled request shows that visitors can choose their address", func() bool {
		r.visit(t, "203.0.113.99")
		w := into[status](t, r.ask(t, http.MethodGet, "status", "")).Warnings
		return len(w) == 1 && strings.Contains(w[0], "visitors of server site can choose the address")
	})
}

func TestNotConfigured(t *testing.T) {
	c := newConfig(t)
	c.app, c.handler = nil, nil
	r := startCaddy(t, c)
	for _, path := range []string{"status", "check/203.0.113.5", "bans"} {
		if got := r.ask(t, http.MethodGet, path, ""); got.status != 503 || !strings.Contains(got.body, "ip_reputation is not configured") {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
}

// TestFailedReload proves that a configuration that is refused takes neither the admin API nor the metrics of the running
// one with it.
func TestFailedReload(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(c *config)
	}{
		{"the handler is wrong", func(c *config) { c.handler["mode"] = "nonsense" }},
		{"the app is wrong", func(c *config) { c.app["deny"] = []any{"nonsense"} }},
		{"another app is wrong and ours is not there", func(c *config) {
			c.app, c.handler = nil, nil
			c.server = object{"listen": []any{"nonsense/nonsense"}}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, s := judged(t)
			const series = `requests_total{action="block",mode="enforce",status="fresh"}`
			r.visit(t, "203.0.113.10")
			before := r.metric(t, series)
			if before < 1 {
				t.Fatalf("%s is %v to begin with", series, before)
			}

			bad := *r.config
			bad.app, bad.handler = maps.Clone(r.app), maps.Clone(r.handler)
			tc.spoil(&bad)
			if err := caddy.Load(bad.json(t), true); err == nil {
				t.Fatal("the configuration was accepted")
			}

			if got := r.visit(t, "203.0.113.10"); got.status != 403 {
				t.Errorf("the client gets %d", got.status)
			}
			if after := r.metric(t, series); after != before+1 {
				t.Errorf("%s is %v, want %v", series, after, before+1)
			}
			for name, want := range map[string]float64{
				`provider_up{provider="abuseipdb"}`:                           1,
				`provider_quota_remaining{provider="abuseipdb",window="day"}`: float64(1000 - s.asked()),
				`memory_records`: 1,
			} {
				if got := r.metric(t, name); got != want {
					t.Errorf("%s is %v, want %v", name, got, want)
				}
			}
			if c := r.check(t, "203.0.113.10"); c.Score == nil || *c.Score != 99 || s.asked() != 1 {
				t.Errorf("the check says %+v, asked %d times", c, s.asked())
			}
			if got := r.ask(t, http.MethodPost, "bans", `{"prefix":"203.0.113.99"}`); got.status != 201 || r.visit(t, "203.0.113.99").status != 403 {
				t.Errorf("a ban does not act: %d %s", got.status, got.body)
			}
		})
	}
}

// TestAdminDuringReloads proves, under the race detector, that operators can work while configurations come and go.
func TestAdminDuringReloads(t *testing.T) {
	r, _ := judged(t)
	stop := make(chan struct{})
	var working sync.WaitGroup
	var answered atomic.Int64
	for _, request := range []struct{ method, path, body string }{
		{http.MethodGet, "status", ""},
		{http.MethodGet, "check/203.0.113.10?fresh", ""},
		{http.MethodPost, "bans", `{"prefix":"203.0.113.99","ttl":"1m"}`},
		{http.MethodDelete, "records/203.0.113.10", ""},
		{http.MethodPost, "feeds/mine/refresh", ""},
	} {
		working.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				url := r.admin + "/ip_reputation/" + request.path
				req, err := http.NewRequestWithContext(t.Context(), request.method, url, strings.NewReader(request.body))
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := client.Do(req)
				if err != nil {
					continue // Caddy replaces the admin server, too
				}
				_ = resp.Body.Close()
				answered.Add(1)
				if resp.StatusCode >= 300 {
					t.Errorf("%s %s is answered with %d", request.method, request.path, resp.StatusCode)
					return
				}
			}
		})
	}
	for range 20 {
		before := answered.Load()
		r.reload(t)
		eventually(t, "requests are answered", func() bool { return answered.Load() > before || t.Failed() })
	}
	close(stop)
	working.Wait()
}
