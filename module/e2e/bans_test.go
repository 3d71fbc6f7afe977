package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

const spamClient = "198.51.100.77"

// banning lets a site ban scanners for an hour, and who sends spam for three seconds.
func (c *config) banning() {
	c.app["feeds"] = []any{
		object{"name": "scanners", "sources": []any{scannerClient}, "category": []any{"scanner"}},
		object{"name": "spammers", "sources": []any{spamClient}, "category": []any{"spam"}},
	}
	c.handler["rules"] = []any{
		rule("ban", object{"category": []any{"scanner"}, "for": "1h"}), rule("ban", object{"category": []any{"spam"}, "for": "3s"}),
	}
}

// banned is a ban as the admin API shows it.
type banned struct {
	Prefix  string `json:"prefix"`
	Expires string `json:"expires"`
	Why     struct {
		By, Rule  string
		RequestID string `json:"request_id"`
		Times     int
	} `json:"why"`
}

// bans returns the bans that are in force.
func (r *running) bans(tb testing.TB) []banned {
	tb.Helper()
	return into[[]banned](tb, r.ask(tb, http.MethodGet, "bans", ""))
}

// awaitBan waits until a range is banned, and returns its ban.
func (r *running) awaitBan(tb testing.TB, prefix string) (b banned) {
	tb.Helper()
	eventually(tb, prefix+" is banned", func() bool {
		list := r.bans(tb)
		i := slices.IndexFunc(list, func(b banned) bool { return b.Prefix == prefix })
		if i >= 0 {
			b = list[i]
		}
		return i >= 0
	})
	return b
}

// TestRuleBansEverywhere proves that a rule of one instance bans on all, that a reload, a restart and a lost Redis change
// nothing, and that a ban ends by itself.
func TestRuleBansEverywhere(t *testing.T) {
	redis := testenv.Redis(t)
	instances := make([]*process, 3)
	for i := range instances {
		c := newConfig(t)
		c.share(redis.Addr, nil)
		if c.handler["rules"] = nil; i == 0 { // only this one can know by itself
			c.banning()
		}
		instances[i] = startProcess(t, c)
	}
	for _, p := range instances {
		p.awaitRedis(t, 1)
	}
	refused := func(when string) {
		t.Helper()
		for i, p := range instances {
			if got := p.visit(t, scannerClient).status; got != http.StatusForbidden {
				t.Errorf("%s: instance %d answers with status %d", when, i, got)
			}
			if got := p.visit(t, cleanClient).status; got != http.StatusOK {
				t.Errorf("%s: instance %d answers another client with status %d", when, i, got)
			}
		}
	}
	first := instances[0].visit(t, scannerClient)
	if first.status != http.StatusForbidden || instances[0].visit(t, spamClient).status != http.StatusForbidden {
		t.Fatalf("the rules do not refuse: %d", first.status)
	}
	for _, p := range instances {
		p.awaitBan(t, scannerClient+"/32")
	}
	refused("banned")
	for i, p := range instances {
		why := p.bans(t)[0].Why
		if why.By != "rule" || why.Rule != "ban 1h category scanner" || why.RequestID != first.header.Get("X-Request-Id") {
			t.Errorf("instance %d does not say why: %v", i, why)
		}
		eventually(t, "the short ban ends", func() bool { return len(p.bans(t)) == 1 })
		if i != 0 {
			eventually(t, "its client is let in", func() bool { return p.visit(t, spamClient).status == http.StatusOK })
		}
	}

	redis.Stop()
	instances[0].app["memory"] = 1000
	if got := instances[0].load(t); got.status != http.StatusOK {
		t.Fatalf("reloading: %d %s", got.status, got.body)
	}
	instances[1].end(os.Interrupt)
	instances[1] = startProcess(t, instances[1].config)
	refused("without Redis, after a reload and a restart")

	// it offends again, and that it was banned before is known
	if instances[0].visit(t, spamClient).status != http.StatusForbidden {
		t.Error("the rule does not refuse again")
	}
	if e := instances[0].awaitBan(t, spamClient+"/32"); e.Why.Times != 2 {
		t.Errorf("banned %d times", e.Why.Times)
	}
}

// TestBanIsExplained proves that what a rule bans is blocked by the ban from then on, without being prolonged, that each
// place says why, and that an operator can take it back.
func TestBanIsExplained(t *testing.T) {
	c := newConfig(t)
	c.banning()
	r := startCaddy(t, c)
	first := r.visit(t, scannerClient)
	id := first.header.Get("X-Request-Id")
	r.awaitBan(t, scannerClient+"/32")
	before := r.bans(t)
	second := r.visit(t, scannerClient)
	if first.status != http.StatusForbidden || second.status != http.StatusForbidden {
		t.Errorf("status %d, then %d", first.status, second.status)
	}
	for request, want := range map[string]string{
		id:                                `"action":"ban","mode":"enforce","rule":1,"decided_by":"ban 1h category scanner"`,
		second.header.Get("X-Request-Id"): `"action":"block","mode":"enforce","decided_by":"ban"`,
	} {
		if got := r.ask(t, http.MethodGet, "requests/"+request, "").body; !strings.Contains(got, want) {
			t.Errorf("%s: %s", want, got)
		}
	}
	if got := r.ask(t, http.MethodGet, "check/"+scannerClient, "").body; !strings.Contains(got, `"request_id":"`+id+`"`) {
		t.Errorf("check: %s", got)
	}
	if got := r.run(t, "bans"); !strings.Contains(got, `rule "ban 1h category scanner"`) || !strings.Contains(got, id) {
		t.Errorf("bans: %s", got)
	}
	if after := r.bans(t); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("the ban was changed: %v, %v", before, after)
	}
	if got := r.metric(t, `bans_total{by="rule"}`); got < 1 {
		t.Errorf("counted %v bans of rules", got)
	}
	if got := r.ask(t, http.MethodDelete, "bans/"+scannerClient, "").status; got != http.StatusOK {
		t.Errorf("unban: %d", got)
	}
	if len(r.bans(t)) != 0 {
		t.Error("it is still banned")
	}
	r.visit(t, scannerClient)
	if e := r.awaitBan(t, scannerClient+"/32"); e.Why.Times != 1 {
		t.Errorf("what an operator took back counts: %v", e.Why)
	}
}

// TestObserveBansNobody proves that a site which observes only says so.
func TestObserveBansNobody(t *testing.T) {
	c := newConfig(t)
	c.banning()
	c.handler["mode"] = "observe"
	c.next = []any{object{"handler": "static_response", "body": "{http.request.header.X-IP-Reputation-Action}"}}
	r := startCaddy(t, c)
	for range 3 {
		if got := r.visit(t, scannerClient); got.status != http.StatusOK || got.body != "ban;mode=observe" {
			t.Errorf("status %d, %q", got.status, got.body)
		}
	}
	if list := r.bans(t); len(list) != 0 {
		t.Errorf("banned: %v", list)
	}
}

// TestRuleSparesWhoMayBeForged proves that visitors who choose their own address cannot have others banned.
func TestRuleSparesWhoMayBeForged(t *testing.T) {
	c := newConfig(t)
	c.banning()
	c.server = object{"trusted_proxies_strict": nil}
	r := startCaddy(t, c)
	spared := r.metric(t, `bans_spared_total{reason="forwarded"}`)
	if got := r.visit(t, scannerClient+", "+cleanClient).status; got != http.StatusForbidden { // the proxy added the second one
		t.Errorf("status %d", got)
	}
	if n := r.metric(t, `bans_spared_total{reason="forwarded"}`) - spared; n != 1 || len(r.bans(t)) != 0 {
		t.Errorf("spared %v, banned %v", n, r.bans(t))
	}
	if !strings.Contains(r.logs(t), "visitors can choose their address") {
		t.Error("nobody is told")
	}
}

// TestViolationBans proves that a violation bans where no rule does, and that an operator who ends the ban forgets the
// violation, too.
func TestViolationBans(t *testing.T) {
	c := newConfig(t)
	c.handler["violations"] = []any{object{"name": "trap", "path": []any{"/.env"}}}
	r := startCaddy(t, c)
	r.request(t, cleanClient, "/.env")
	if why := r.awaitBan(t, cleanClient+"/32").Why; why.By != "violation" || why.Rule != "violation trap" {
		t.Errorf("%v", why)
	}
	if got := r.visit(t, cleanClient).status; got != http.StatusForbidden {
		t.Errorf("banned: status %d", got)
	}
	if got := r.run(t, "forget", cleanClient); !strings.Contains(got, "is still banned by "+cleanClient+"/32") {
		t.Errorf("what is forgotten does not end the ban, and nobody says so: %s", got)
	}
	if got := r.run(t, "check", cleanClient); !strings.Contains(got, "unban "+cleanClient+"` ends the ban and forgets") {
		t.Errorf("how is it undone? %s", got)
	}
	if got := r.run(t, "unban", cleanClient); !strings.Contains(got, "has ended") {
		t.Errorf("%s", got)
	}
	if got := r.visit(t, cleanClient).status; got != http.StatusOK {
		t.Errorf("unbanned: status %d", got)
	}
}

// TestUnbanSaysWhatBecomesOfThePoints: those that led to the ban of a violation go with it, those of somebody whom an
// operator has banned stay.
func TestUnbanSaysWhatBecomesOfThePoints(t *testing.T) {
	c := newConfig(t)
	c.handler["violations"] = []any{object{"name": "trap", "path": []any{"/.env"}}}
	r := startCaddy(t, c)
	r.run(t, "ban", cleanClient)
	r.run(t, "unban", cleanClient)
	r.request(t, cleanClient, "/.env")
	r.awaitBan(t, cleanClient+"/32")
	if got := r.run(t, "unban", cleanClient); !strings.Contains(got, "note: its violations are forgotten") {
		t.Errorf("%s", got)
	}
	r.request(t, cleanClient, "/.env")
	r.awaitBan(t, cleanClient+"/32")
	r.run(t, "ban", cleanClient, "--ttl", "1h")
	if got := r.run(t, "unban", cleanClient); !strings.Contains(got, "forget "+cleanClient+"` takes them back") {
		t.Errorf("%s", got)
	}
	if got := r.run(t, "check", cleanClient); !strings.Contains(got, "forget "+cleanClient+"` takes back the points") {
		t.Errorf("how is it undone? %s", got)
	}
}
