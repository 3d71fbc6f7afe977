package e2e_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestTheFirstRuleDecides proves that rules are tried in the order written.
func TestTheFirstRuleDecides(t *testing.T) {
	block := rule("block", object{"category": []any{"scanner"}})
	pass := rule("pass", object{"score": "5-20"})
	teapot := rule("block", object{"score": "5", "status_code": http.StatusTeapot})
	never := rule("block", object{"score": "5", "country": []any{"SE"}}) // nobody has said which country
	for _, tc := range []struct {
		name   string
		rules  []any
		status int
	}{
		{"block before pass", []any{block, pass}, 403},
		{"pass before block", []any{pass, block}, 200},
		{"the first block's status", []any{teapot, block}, 418},
		{"the other block's status", []any{block, teapot}, 403},
		{"all conditions must hold", []any{never, teapot}, 418},
		{"no rule decides", []any{never}, 200},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newConfig(t)
			c.app["feeds"] = []any{object{"name": "scanners", "sources": []any{scannerClient}, "category": []any{"scanner"}}}
			c.handler["rules"] = tc.rules
			r := startCaddy(t, c)
			if got := r.visit(t, scannerClient).status; got != tc.status {
				t.Errorf("status %d, want %d", got, tc.status)
			}
			if got := r.visit(t, cleanClient).status; got != http.StatusOK {
				t.Errorf("another client: status %d", got)
			}
		})
	}
}

// TestBlockWithAStatus proves that a block answers with the status of its rule, on error pages too.
func TestBlockWithAStatus(t *testing.T) {
	b := startBackend(t)
	c := newConfig(t)
	c.app["deny"] = []any{deniedClient}
	c.handler["rules"] = []any{rule("block", object{"source": []any{"deny"}, "status_code": http.StatusUnavailableForLegalReasons})}
	c.next = []any{proxyTo(b.Server)}
	r := startCaddy(t, c)
	if got := r.visit(t, deniedClient).status; got != http.StatusUnavailableForLegalReasons {
		t.Errorf("status %d, want 451", got)
	}
	b.none(t)
}

// TestObserveChangesNothingForTheVisitor proves promise 9: the visitor gets what he would get without the handler, whatever
// is known of him, while the application learns what would have happened.
func TestObserveChangesNothingForTheVisitor(t *testing.T) {
	b := startBackend(t)
	without := newConfig(t)
	without.app, without.handler = nil, nil
	with := tellingConfig(t, b)
	with.handler["rules"] = []any{
		rule("block", object{"score": "85-99"}),
		rule("drop", object{"score": "100"}),
	}
	next := []any{
		object{"handler": "headers", "response": object{"set": object{"X-Site": []any{"the site's own"}}}},
		proxyTo(b.Server),
	}
	without.next, with.next = next, next
	with.siteAddr, with.adminAddr = without.siteAddr, without.adminAddr

	clients := []string{cleanClient, badClient, shadyClient, torClient, deniedClient, exemptClient, reservedClient}
	methods := []string{http.MethodGet, http.MethodHead, http.MethodPost, "BREW"}
	ask := func(r *running) (all []reply) {
		for _, client := range clients {
			for _, method := range methods {
				all = append(all, send(t, method, r.site+"/page?q=1", "", http.Header{"X-Forwarded-For": {client}}))
			}
		}
		return all
	}
	plain := ask(startCaddy(t, without))
	b.forget()
	r := startCaddy(t, with)
	observed := ask(r)
	for i := range plain {
		same(t, plain[i], observed[i], "X-Request-Id")
	}
	b.forget()

	for client, want := range map[string]string{
		cleanClient: "pass;mode=observe", badClient: "block;mode=observe", deniedClient: "block;mode=observe", // a drop behind a proxy
	} {
		got := r.visit(t, client)
		a := b.only(t)
		if diff := cmp.Diff([]string{want}, a.header["X-Ip-Reputation-Action"]); diff != "" {
			t.Errorf("%s: the application was told another action (-want +got):\n%s", client, diff)
		}
		if id := got.header.Get("X-Request-Id"); len(id) != 32 || id != a.header.Get("X-Request-Id") {
			t.Errorf("%s: the answer has the request ID %q, the application was given %q", client, id, a.header.Get("X-Request-Id"))
		}
		for name := range got.header {
			if strings.HasPrefix(name, "X-Ip-Reputation") {
				t.Errorf("%s: the visitor was told %s", client, name)
			}
		}
	}
}

// TestAccessLog proves that every line of the access log says what was found and decided.
func TestAccessLog(t *testing.T) {
	c := tellingConfig(t, startBackend(t))
	c.handler["mode"] = "enforce"
	c.server = object{"logs": object{}}
	r := startCaddy(t, c)
	for client, want := range map[string]string{
		badClient: `"ip_reputation":{"score":88,"status":"fresh","action":"block","mode":"enforce","rule":1,` +
			`"reasons":"abuseipdb;points=28.8","decided_by":"block score 85"},"request_id":"id-`,
		exemptClient: `"ip_reputation":{"status":"exempt","action":"pass","mode":"enforce"},"request_id":"id-`,
	} {
		id := "id-" + strings.ReplaceAll(client, ".", "-")
		send(t, http.MethodGet, r.site+"/", "", http.Header{"X-Forwarded-For": {client}, "X-Request-Id": {id}})
		want = strings.TrimSuffix(want, "id-") + id + `"`
		eventually(t, want+" is logged", func() bool { return strings.Contains(age.ReplaceAllString(r.logs(t), ""), want) })
	}
}
