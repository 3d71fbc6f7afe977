package e2e_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// TestWhyWasThisOneRefused proves that whoever has the ID of a refused request learns from the log, the admin API and the
// command line what decided, in the operator's own words: the rule's text, the deny list, the reason of the ban.
func TestWhyWasThisOneRefused(t *testing.T) {
	const denied, banned = "203.0.113.66", "198.51.100.66"
	list := filepath.Join(t.TempDir(), "badlist.txt")
	if err := os.WriteFile(list, []byte(denied+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startStandIn(t)
	s.know(badClient, 100, 60)
	c := newConfig(t)
	c.ask(s)
	c.app["wait"], c.app["deny"] = "10s", []any{list}
	c.server = object{"logs": object{}}
	r := startCaddy(t, c)
	r.run(t, "ban", banned, "--reason", "asked us for it")
	for client, want := range map[string]struct{ by, log, page string }{
		badClient: {"block score 85", `"decided_by":"block score 85"`, "rule 1 of the site"},
		denied:    {"block score 85", `"list":"deny_badlist (` + list + `)"`, "deny_badlist (" + list + ")"},
		banned:    {"block score 85", `"ban_reason":"asked us for it"`, "asked us for it"},
	} {
		id := "id-of-" + strings.ReplaceAll(client, ".", "-")
		resp := send(t, http.MethodGet, r.site+"/", "", http.Header{"X-Forwarded-For": {client}, "X-Request-Id": {id}})
		if resp.status != http.StatusForbidden {
			t.Errorf("%s: status %d", client, resp.status)
		}
		var answer struct {
			Decision *struct {
				DecidedBy             string `json:"decided_by"`
				Address, Mode, Action string
			}
		}
		reply := r.ask(t, http.MethodGet, "requests/"+id, "")
		if err := json.Unmarshal([]byte(reply.body), &answer); err != nil || answer.Decision == nil {
			t.Fatalf("%s: %v in %s", client, err, reply.body)
		}
		if d := answer.Decision; d.DecidedBy != want.by || d.Address != client || d.Mode != "enforce" || d.Action != "block" {
			t.Errorf("%s: %+v", client, d)
		}
		if page := r.run(t, "check", id); !strings.Contains(page, want.by) || !strings.Contains(page, want.page) {
			t.Errorf("%s: no %q and %q in\n%s", client, want.by, want.page, page)
		}
		eventually(t, "the log says why "+client+" was refused", func() bool {
			lines := 0
			for line := range strings.Lines(r.logs(t)) {
				if strings.Contains(line, id) && strings.Contains(line, want.log) {
					lines++
				}
			}
			return lines == 2 // the decision and the access
		})
	}
	r.reload(t)
	if out := r.run(t, "check", "id-of-"+strings.ReplaceAll(denied, ".", "-")); !strings.Contains(out, "deny_badlist") {
		t.Errorf("after a reload:\n%s", out)
	}
}

// TestARequestThatIsNotRemembered proves what an operator sees of a request that passed, and of one that is in the history only.
func TestARequestThatIsNotRemembered(t *testing.T) {
	r := startCaddy(t, newConfig(t))
	if reply := r.ask(t, http.MethodGet, "requests/nobody-knows-it", ""); reply.status != http.StatusNotFound ||
		!strings.Contains(reply.body, "look for the ID in the log") {
		t.Errorf("without history: %d %s", reply.status, reply.body)
	}
	if reply := r.ask(t, http.MethodGet, "requests/a%20b", ""); reply.status != http.StatusBadRequest {
		t.Errorf("not an ID: %d %s", reply.status, reply.body)
	}

	r, reader := remembered(t)
	if reply := r.ask(t, http.MethodGet, "requests/nobody-knows-it", ""); reply.status != http.StatusNotFound ||
		!strings.Contains(reply.body, "the first of the equal requests") {
		t.Errorf("with history: %d %s", reply.status, reply.body)
	}
	reader.decisions = []history.Decision{{RequestID: "it-does-know", Rule: "block score 85", Action: "block", Mode: "enforce", Count: 7}}
	for _, args := range [][]string{{"check", "it-does-know"}, {"history", "--request", "it-does-know"}} {
		if out := r.run(t, args...); !strings.Contains(out, "block score 85") || !strings.Contains(out, "7 equal ones") {
			t.Errorf("%q:\n%s", args, out)
		}
	}
}
