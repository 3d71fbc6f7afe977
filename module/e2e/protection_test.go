package e2e_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// protectionOff is the metric of one reason.
func protectionOff(reason string) string { return `protection_off{reason="` + reason + `"}` }

// visits sends requests over one connection, each as a client that a trusted proxy names, or as the test itself.
func (r *running) visits(t *testing.T, n int, client func(i int) string) {
	t.Helper()
	keep := &http.Client{Transport: &http.Transport{}}
	defer keep.CloseIdleConnections()
	for i := range n {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.site+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if client != nil {
			req.Header.Set("X-Forwarded-For", client(i))
		}
		resp, err := keep.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
}

// TestNearlyAllAreExempt proves that a site whose visitors all seem to be one private address says so, though no header
// shows that a proxy is in front; and that it is over when visitors come.
func TestNearlyAllAreExempt(t *testing.T) {
	c := newConfig(t)
	c.app["exempt"], c.app["deny"] = []any{"private_ranges"}, []any{deniedClient}
	r := startCaddy(t, c)
	warned := func() bool {
		return strings.Contains(r.ask(t, http.MethodGet, "status", "").body, `"reason":"clients_exempt"`)
	}
	// One request of eight is sampled, by chance, and 64 are a sample.
	if r.visits(t, 250, nil); warned() {
		t.Error("a few requests are enough for a warning")
	}
	r.visits(t, 1000, nil)
	if status := r.ask(t, http.MethodGet, "status", "").body; !warned() || !strings.Contains(status, "come from 127.0.0.1: private addresses") {
		t.Errorf("status does not say who is exempt: %s", status)
	}
	for _, reason := range []string{"exempt", "one_address"} {
		if r.metric(t, protectionOff(reason)) != 1 {
			t.Errorf("%s is not 1", protectionOff(reason))
		}
	}
	if logs := r.logs(t); strings.Count(logs, "nearly all requests are exempt") != 1 || !strings.Contains(logs, `"address":"127.0.0.1"`) {
		t.Error("the log does not say it once")
	}
	r.visits(t, 2000, func(i int) string { return fmt.Sprint("198.51.100.", i%250) })
	if warned() || r.metric(t, protectionOff("exempt")) != 0 {
		t.Error("it is not over when visitors come")
	}
}

// TestNearlyAllHaveOneAddress proves the same of an address that is judged.
func TestNearlyAllHaveOneAddress(t *testing.T) {
	c := newConfig(t)
	c.app["deny"] = []any{deniedClient}
	r := startCaddy(t, c)
	r.visits(t, 1200, func(int) string { return cleanClient })
	status := r.ask(t, http.MethodGet, "status", "").body
	if !strings.Contains(status, `"reason":"clients_one_address"`) || !strings.Contains(status, "come from "+cleanClient) {
		t.Errorf("status does not say whose address it is: %s", status)
	}
	if r.metric(t, protectionOff("one_address")) != 1 || r.metric(t, protectionOff("exempt")) != 0 {
		t.Error("the metric does not show it")
	}
}

// TestSitesWithoutTheHandler proves that lists and bans which no site uses are a warning, and that status counts the sites.
func TestSitesWithoutTheHandler(t *testing.T) {
	answer := object{"handler": "static_response", "body": "passed"}
	site := func(host string, handlers ...any) any {
		routes := object{"handler": "subroute", "routes": []any{object{"handle": handlers}}}
		return object{"match": []any{object{"host": []any{host}}}, "handle": []any{routes}, "terminal": true}
	}
	handler := object{"handler": "ip_reputation"}
	for name, tc := range map[string]struct {
		routes  []any
		off     bool
		status  []string
		logged  string
		nothing string
	}{
		"none": {
			[]any{site("a.example", answer), site("b.example", answer)}, true,
			[]string{`"sites":{"all":2,"protected":0,"without":["a.example","b.example"]}`, `"reason":"no_site"`},
			"no site has `ip_reputation` in it", "",
		},
		"some": {
			[]any{site("a.example", answer), site("b.example", handler, answer)}, false,
			[]string{`"sites":{"all":2,"protected":1,"without":["a.example"]}`, `"status":"pass"`},
			"some sites have no `ip_reputation` in them", "no site has",
		},
		"all": {
			[]any{site("b.example", handler, answer)}, false,
			[]string{`"sites":{"all":1,"protected":1}`, `"status":"pass"`}, "", "no `ip_reputation` in them",
		},
		"only a matcher": {
			[]any{object{
				"match":  []any{object{"ip_reputation": object{"score": "85"}}},
				"handle": []any{object{"handler": "static_response", "status_code": 403}},
			}, object{"handle": []any{answer}}}, false,
			[]string{`"status":"pass"`}, "", "no site has",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newConfig(t)
			c.app["deny"] = []any{deniedClient}
			c.server = object{"routes": tc.routes}
			r := startCaddy(t, c)
			status := r.ask(t, http.MethodGet, "status", "").body
			for _, want := range tc.status {
				if !strings.Contains(status, want) {
					t.Errorf("status lacks %s: %s", want, status)
				}
			}
			if off := r.metric(t, protectionOff("no_site")) == 1; off != tc.off {
				t.Errorf("the metric is %t", off)
			}
			logs := r.logs(t)
			if !strings.Contains(logs, tc.logged) || tc.nothing != "" && strings.Contains(logs, tc.nothing) {
				t.Errorf("the log lacks %q, or has %q", tc.logged, tc.nothing)
			}
		})
	}
}

// TestRulesThatNeverHold proves that a rule and a matcher which ask for what no source says are named, with the cure.
func TestRulesThatNeverHold(t *testing.T) {
	c := newConfig(t)
	c.app["feeds"] = []any{object{"sources": []any{deniedClient}, "name": "mine", "category": []any{"scanner"}}}
	c.handler["rules"] = []any{
		object{"action": "drop", "category": []any{"ddos"}},
		object{"action": "block", "category": []any{"spam", "scanner"}},
		object{"action": "block", "asn": []any{64500}},
		object{"action": "block", "source": []any{"mine", "ban"}},
		object{"action": "block", "score": "85"},
	}
	c.next = []any{object{"handler": "subroute", "routes": []any{
		object{
			"match":  []any{object{"ip_reputation": object{"country": []any{"AT"}}}},
			"handle": []any{object{"handler": "static_response", "status_code": 451}},
		},
		object{"match": []any{object{"expression": "ip_reputation('nature tor')"}}, "handle": []any{object{"handler": "static_response"}}},
		// said once, however many sites import the same rules
		object{"match": []any{object{"expression": "ip_reputation('nature tor')"}}, "handle": []any{object{"handler": "static_response"}}},
	}}}
	r := startCaddy(t, c)
	want := []string{
		"rule 1 (drop category ddos) can never hold: category ddos: ", "rule 3 (block asn 64500) can never hold: asn 64500: ",
		"a matcher can never hold: country AT: ", "a matcher can never hold: nature tor: ",
		"rule 5 (block score 85) can never hold: score 85: ",
	}
	status := r.ask(t, http.MethodGet, "status", "").body
	for _, text := range want {
		if !strings.Contains(status, text) {
			t.Errorf("status lacks %q: %s", text, status)
		}
	}
	logs := strings.Split(r.logs(t), "\n")
	logs = slices.DeleteFunc(logs, func(line string) bool { return !strings.Contains(line, `"msg":"a rule can never hold"`) })
	if len(logs) != len(want) || strings.Count(status, "can never hold:") != len(want) {
		t.Errorf("want %d warnings: %s\n%s", len(want), logs, status)
	}
	if r.metric(t, protectionOff("rule")) != 1 {
		t.Error("the metric does not show it")
	}
}

// TestRulesForCleanClients proves that a rule which refuses whom a service finds clean is named, once, and that such a
// rule acts as the warning says.
func TestRulesForCleanClients(t *testing.T) {
	s := startStandIn(t)
	s.know(deniedClient, 0, 0)
	c := newConfig(t)
	c.ask(s)
	c.app["wait"] = "10s"
	c.app["feeds"] = []any{object{"sources": []any{badClient}, "name": "mine"}}
	c.handler["rules"] = []any{
		object{"action": "pass", "source": []any{"abuseipdb"}, "score": "90"},
		object{"action": "block", "source": []any{"mine"}},
		object{"action": "block", "source": []any{"abuseipdb"}, "category": []any{"abuse"}},
		object{"action": "block", "source": []any{"mine", "abuseipdb"}, "path": []any{"/login"}},
		object{"action": "pass", "source": []any{"abuseipdb"}},
	}
	r := startCaddy(t, c)
	const warning = `"a rule holds for clients that a service finds clean"`
	if log := r.logs(t); strings.Count(log, warning) != 1 || !strings.Contains(log, `"rule":"rule 4 (block source mine,abuseipdb path /login)"`) {
		t.Errorf("logged %s", log)
	}
	if got := r.visit(t, deniedClient).status; got != http.StatusOK {
		t.Errorf("elsewhere, status %d", got)
	}
	if got := r.request(t, deniedClient, "/login").status; got != http.StatusForbidden {
		t.Errorf("a clean client is answered with status %d: the warning is wrong", got)
	}
}

// TestTheRecipeForEveryHost proves of docs/cookbook.md's recipe that redirects and unknown hosts are protected, and counted.
func TestTheRecipeForEveryHost(t *testing.T) {
	plain, encrypted := testenv.FreeAddr(t), testenv.FreeAddr(t)
	port := func(addr string) string { return addr[strings.LastIndex(addr, ":")+1:] }
	r := startRecipe(t, "Every host and every redirect",
		"{\n\tauto_https", "{\n\tdefault_bind 127.0.0.1\n\tlocal_certs\n\tskip_install_trust\n"+
			"\thttp_port "+port(plain)+"\n\thttps_port "+port(encrypted)+"\n\tauto_https",
		"feed spamhaus_drop", "deny 127.0.0.1", ":443", ":"+port(encrypted), "reverse_proxy localhost:3000", "respond passed",
	)
	for _, host := range []string{"app.example.com", "unknown.example"} {
		answer := speak(t, "tcp", plain, lines("GET / HTTP/1.1", "Host: "+host, "Connection: close", ""))
		if !strings.HasPrefix(answer, "HTTP/1.1 403 ") {
			t.Errorf("%s: %s", host, answer)
		}
	}
	if status := r.ask(t, http.MethodGet, "status", "").body; !strings.Contains(status, `"sites":{"all":3,"protected":3}`) {
		t.Errorf("the sites are others: %s", status)
	}
}
