package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// withHealth lets the site answer /live, /ready and /detail.
func (c *config) withHealth() *config {
	var routes []any
	for _, form := range []string{"live", "ready", "detail"} {
		routes = append(routes, object{
			"match":  []any{object{"path": []any{"/" + form}}},
			"handle": []any{object{"handler": "ip_reputation_health", "form": form}},
		})
	}
	c.next = []any{object{"handler": "subroute", "routes": routes}, object{"handler": "static_response", "body": "passed"}}
	return c
}

// health asks one of the health routes, as the probe of a load balancer does.
func (r *running) health(tb testing.TB, form string) reply {
	tb.Helper()
	return send(tb, http.MethodGet, r.site+"/"+form, "", nil)
}

// healthDetail is the answer of the detailed form, as far as the tests look at it.
type healthDetail struct {
	Status, Output string
	Checks         map[string][]struct {
		ComponentID   string `json:"componentId"`
		ObservedValue any
		Status        string
		Provider      string
	}
}

// state returns what a check says of a component.
func (d healthDetail) state(check, id string) string {
	for _, c := range d.Checks[check] {
		if c.ComponentID == id {
			return fmt.Sprint(c.Status, " ", c.ObservedValue)
		}
	}
	return ""
}

// TestHealth proves that a Caddy which can serve is ready, whatever is down around it, while the detailed form says what is,
// without anything that is nobody's business.
func TestHealth(t *testing.T) {
	redis := testenv.Redis(t)
	s := startStandIn(t)
	c := newConfig(t)
	c.ask(s)
	c.withHealth()
	keyFile := filepath.Join(c.dataDir, "a-key-file")
	if err := os.WriteFile(keyFile, []byte(keyText), 0o600); err != nil {
		t.Fatal(err)
	}
	c.app["providers"].([]any)[0].(object)["keys"] = []any{object{"value": "{file." + keyFile + "}"}}
	c.app["redis"] = object{"addresses": []any{redis.Addr}}
	c.app["feeds"] = []any{object{"name": "mine", "sources": []any{"203.0.113.0/26"}, "category": []any{"scanner"}}}
	r := startCaddy(t, c)

	detail := func() healthDetail {
		t.Helper()
		got := r.health(t, "detail")
		if got.status != http.StatusOK || got.header.Get("Content-Type") != "application/health+json" ||
			got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("detail is %d, %v", got.status, got.header)
		}
		wantNone(t, "the detail", got.body, append(c.secrets(s), redis.Addr, keyFile, "127.0.0.1", "refused:", "dial")...)
		return into[healthDetail](t, got)
	}
	serves := func(when string) {
		t.Helper()
		for _, form := range []string{"live", "ready"} {
			if got := r.health(t, form); got.status != http.StatusOK || got.body != `{"status":"pass"}` {
				t.Errorf("%s, %s is %d %s", when, form, got.status, got.body)
			}
		}
	}
	eventually(t, "redis is up, and nothing is wrong", func() bool { return detail().Status == "pass" })
	serves("at first")
	if d := detail(); d.Output != "" || d.state("lists:entries", "mine") != "pass 1" || d.state("providers:state", "abuseipdb") != "pass not_asked_yet" ||
		d.state("redis:connection", "") != "pass up" || d.state("providers:quota", "abuseipdb") != "pass 1000" {
		t.Errorf("the detail is %+v", d)
	}

	redis.Stop()
	s.behave(refuse)
	r.visit(t, badClient)
	c.app["feeds"] = append(c.app["feeds"].([]any), object{"name": "gone", "sources": []any{"http://" + testenv.FreeAddr(t) + "/list"}, "category": []any{"scanner"}})
	r.reload(t)
	eventually(t, "the detail says what is down", func() bool {
		d := detail()
		return d.Status == "warn" && d.state("providers:state", "abuseipdb") == "warn refused" &&
			d.state("redis:connection", "") == "warn away" && d.state("lists:entries", "gone") == "warn 0"
	})
	serves("with everything down")
	d := detail()
	for _, want := range []string{"provider abuseipdb refuses the key", "redis is away since", "list gone has no contents yet"} {
		if !strings.Contains(d.Output, want) {
			t.Errorf("the output %q lacks %q", d.Output, want)
		}
	}
	type status struct {
		Health struct {
			Status   string
			Warnings []struct{ Reason, Component, Text string }
		}
	}
	var texts []string
	told := into[status](t, r.ask(t, http.MethodGet, "status", "")).Health
	for _, w := range told.Warnings {
		texts = append(texts, w.Text)
	}
	if told.Status != "warn" || strings.Join(texts, "; ") != d.Output {
		t.Errorf("the status says %s, %q; the detail %q", told.Status, texts, d.Output)
	}
	if page := r.run(t, "status"); !strings.Contains(page, "health       warn\n") {
		t.Errorf("the page does not say it:\n%s", page)
	}
	if log := r.logs(t); strings.Contains(log, "panic") {
		t.Errorf("something panicked:\n%s", log)
	}
}

// TestHealthMethods proves that health is for reading, and that its answer is not kept.
func TestHealthMethods(t *testing.T) {
	r := startCaddy(t, newConfig(t).withHealth())
	for _, form := range []string{"live", "ready", "detail"} {
		get := r.health(t, form)
		head := send(t, http.MethodHead, r.site+"/"+form, "", nil)
		if head.status != get.status || head.body != "" || head.header.Get("Content-Length") != fmt.Sprint(len(get.body)) ||
			!strings.Contains(head.header.Get("Content-Type"), "health+json") {
			t.Errorf("HEAD of %s is %d %v %q", form, head.status, head.header, head.body)
		}
		for _, method := range []string{http.MethodPost, http.MethodDelete, http.MethodOptions} {
			if got := send(t, method, r.site+"/"+form, "", nil); got.status != http.StatusMethodNotAllowed || got.header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s of %s is %d, Allow %q", method, form, got.status, got.header.Get("Allow"))
			}
		}
	}
	if got := r.health(t, "detail"); !strings.Contains(got.body, "no list and no provider is configured") {
		t.Errorf("the detail does not say that nothing is configured: %s", got.body)
	}
	if got := r.visit(t, "198.51.100.1"); got.body != "passed" {
		t.Errorf("another page is answered with %q", got.body)
	}
}

// TestReadyEndsFirst proves that a Caddy which was told to stop is not ready any more while it still serves, for as long as
// shutdown_delay says, so that load balancers take it out in time; and that it is alive until then.
func TestReadyEndsFirst(t *testing.T) {
	c := newConfig(t).withHealth()
	c.apps = httpApp(t, c, object{"shutdown_delay": "60s"})
	p := startProcess(t, c)
	eventually(t, "it is ready", func() bool { return p.health(t, "ready").status == http.StatusOK })
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is not ready", func() bool { return p.health(t, "ready").status == http.StatusServiceUnavailable })
	if got := p.health(t, "ready").body; got != `{"status":"fail","output":"caddy is starting or stopping"}` {
		t.Errorf("ready says %s", got)
	}
	if got := p.health(t, "detail"); got.status != http.StatusServiceUnavailable || into[healthDetail](t, got).Status != "fail" {
		t.Errorf("detail is %d %s", got.status, got.body)
	}
	if got := p.health(t, "live"); got.status != http.StatusOK || got.body != `{"status":"pass"}` {
		t.Errorf("live is %d %s", got.status, got.body)
	}
	if got := p.visit(t, "198.51.100.1"); got.body != "passed" {
		t.Errorf("a visitor is answered with %d %q", got.status, got.body)
	}
}

// TestReadyOfAServerThatGoes proves that a server which a reload removes says so for as long as shutdown_delay lets it live,
// and that a reload which keeps it is not seen.
func TestReadyOfAServerThatGoes(t *testing.T) {
	c := newConfig(t).withHealth()
	c.apps = httpApp(t, c, object{"shutdown_delay": "3s"})
	going := testenv.FreeAddr(t)
	servers := c.apps["http"].(object)["servers"].(object)
	servers["going"] = object{"listen": []any{going}, "routes": []any{object{"handle": c.next}}}
	r := startCaddy(t, c)
	ready := func(addr string) int { return send(t, http.MethodGet, "http://"+addr+"/ready", "", nil).status }
	for range 3 {
		r.reload(t)
		if ready(going) != http.StatusOK || ready(c.siteAddr) != http.StatusOK {
			t.Error("a reload is seen")
		}
	}
	delete(servers, "going")
	loaded := make(chan error, 1)
	config := r.json(t)
	go func() { loaded <- caddy.Load(config, true) }()
	eventually(t, "the server that goes is not ready", func() bool { return ready(going) == http.StatusServiceUnavailable })
	if got := ready(c.siteAddr); got != http.StatusOK {
		t.Errorf("the one that stays is %d", got)
	}
	if err := <-loaded; err != nil {
		t.Fatal(err)
	}
}

// httpApp is the http app of the configuration with other settings of its own.
func httpApp(tb testing.TB, c *config, settings object) object {
	tb.Helper()
	var whole struct {
		Apps struct {
			HTTP object `json:"http"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(c.json(tb), &whole); err != nil {
		tb.Fatal(err)
	}
	maps.Copy(whole.Apps.HTTP, settings)
	return object{"http": whole.Apps.HTTP}
}

// keyShown is a key as the admin API shows it.
type keyShown struct {
	Provider, Fingerprint, Source, State string
	SetAside                             time.Time `json:"set_aside"`
	Retry, Refreshed, Expires            time.Time
	DaysLeft                             *int `json:"days_left"`
}

// TestKeys proves that an operator sees every key, with its state and its end, the soonest end first, and no value.
func TestKeys(t *testing.T) {
	s := startStandIn(t)
	accept, _ := keyed(s)
	accept("key-of-tuesday")
	c := newConfig(t)
	c.ask(s)
	c.withHealth()
	first, second := filepath.Join(c.dataDir, "first"), filepath.Join(c.dataDir, "second")
	for file, key := range map[string]string{first: "key-of-monday", second: "key-of-tuesday"} {
		if err := os.WriteFile(file, []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ends := time.Now().UTC().AddDate(0, 0, 5)
	c.app["providers"].([]any)[0].(object)["keys"] = []any{
		object{"value": "{file." + first + "}"},
		object{"value": "{env." + keyName + "}", "expires": "2099-12-31"},
		object{"value": "{file." + second + "}", "expires": ends.Format(time.DateOnly)},
	}
	r := startCaddy(t, c)
	keys := func() (list []keyShown) {
		t.Helper()
		got := r.ask(t, http.MethodGet, "keys", "")
		wantNone(t, "the list of keys", got.body, keyText, "key-of-")
		return into[[]keyShown](t, got)
	}
	states := func() string {
		var all []string
		for _, k := range keys() {
			all = append(all, k.Source+" "+k.State)
		}
		return strings.Join(all, "\n")
	}
	lines := func(states ...string) string {
		return fmt.Sprintf("{file.%s} %s\n{env.%s} %s\n{file.%s} %s", second, states[0], keyName, states[1], first, states[2])
	}
	if diff := cmp.Diff(lines("in_reserve", "in_reserve", "in_use"), states()); diff != "" {
		t.Errorf("before any call (-want +got):\n%s", diff)
	}
	unasked := func() (shown int) {
		for _, command := range []string{"keys", "status"} {
			shown += strings.Count(r.run(t, command), "not asked yet")
		}
		return shown + strings.Count(r.health(t, "detail").body, "not_asked_yet")
	}
	if n := unasked(); n != 3 {
		t.Errorf("before any call, %d of keys, status and health say so", n)
	}
	if got := r.visit(t, "198.51.100.1"); got.status != http.StatusOK {
		t.Errorf("a visitor gets %d", got.status)
	}
	if n := unasked(); n != 0 {
		t.Errorf("after a call, %d still say that none was made", n)
	}
	if diff := cmp.Diff(lines("in_use", "set_aside", "set_aside"), states()); diff != "" {
		t.Errorf("when two are refused (-want +got):\n%s", diff)
	}
	shown := keys()
	if k := shown[0]; k.DaysLeft == nil || *k.DaysLeft != 5 || k.Provider != "abuseipdb" || len(k.Fingerprint) != 8 || k.Refreshed.IsZero() {
		t.Errorf("the key that ends is %+v", k)
	}
	if k := shown[2]; k.SetAside.IsZero() || !k.Retry.After(k.SetAside) || k.DaysLeft != nil {
		t.Errorf("the key that is refused is %+v", k)
	}

	page := r.run(t, "keys")
	wantNone(t, "the page of keys", page, keyText, "key-of-")
	rows := strings.Split(strings.TrimSpace(page), "\n")
	if len(rows) != 4 || !strings.Contains(rows[1], "in use") || !strings.Contains(rows[1], "5 days left") || !strings.Contains(rows[1], "{file."+second+"}") ||
		!strings.Contains(rows[3], "refused, set aside since ") || !strings.Contains(rows[3], "not known") {
		t.Errorf("the page is\n%s", page)
	}
	listed := func(body string) any { // but for when they were read, which goes on
		return into[any](t, reply{body: regexp.MustCompile(`("refreshed": *)"[^"]*"`).ReplaceAllString(body, `$1""`)})
	}
	if got, want := listed(r.run(t, "keys", "--json")), listed(r.ask(t, http.MethodGet, "keys", "").body); !cmp.Equal(got, want) {
		t.Errorf("--json prints something else:\n%s", cmp.Diff(want, got))
	}

	detail := r.health(t, "detail").body
	wantNone(t, "the detail", detail, keyText, "key-of-", c.dataDir, first, second, "{file", keyName)
	d := into[healthDetail](t, reply{body: detail})
	if d.Status != "warn" || d.state("keys:state", shown[0].Fingerprint) != "warn in_use" ||
		d.state("keys:state", shown[2].Fingerprint) != "warn set_aside" || d.state("providers:state", "abuseipdb") != "pass up" {
		t.Errorf("the detail is %s", detail)
	}
	for _, want := range []string{
		"the key " + shown[0].Fingerprint + " of abuseipdb ends in 5 days",
		"the key " + shown[2].Fingerprint + " of abuseipdb is refused, and another one is used",
	} {
		if status := r.run(t, "status"); !strings.Contains(d.Output, want) || !strings.Contains(status, want) {
			t.Errorf("%q is missing in the detail %q, or in the status:\n%s", want, d.Output, status)
		}
	}

	if got := r.ask(t, http.MethodPost, "keys", "{}"); got.status != http.StatusMethodNotAllowed || got.header.Get("Allow") != "GET" {
		t.Errorf("POST is %d", got.status)
	}
	cmd := r.caddyCommand(t, "ip-reputation", "keys", "--address", r.adminAddr)
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil || !strings.Contains(out.String(), "set aside") {
		t.Errorf("as a process: %v\n%s", err, out.String())
	}
}

// TestKeysThatWait proves that a key whose store is away is shown, and that there may be none.
func TestKeysThatWait(t *testing.T) {
	awsCredentials(t)
	c := newConfig(t).withHealth()
	r := startCaddy(t, c)
	if got := r.run(t, "keys"); got != "there are no keys\n" {
		t.Errorf("without a provider: %q", got)
	}
	c.ask(startStandIn(t))
	c.app["providers"].([]any)[0].(object)["keys"] = []any{object{"store": object{
		"store": "aws_secretsmanager", "name": "prod/abuseipdb", "region": "eu-central-1", "endpoint": "http://" + testenv.FreeAddr(t),
	}}}
	r.reload(t)
	page := r.run(t, "keys")
	for _, want := range []string{"waiting for its first value", "aws_secretsmanager prod/abuseipdb", "never", "not known"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	wantNone(t, "the page", page, "the-account-s-own-secret")
	if status := r.run(t, "status"); !strings.Contains(status, "abuseipdb: not asked") || strings.Count(status, "no key yet") != 1 {
		t.Errorf("the status is\n%s", status)
	}
	if d := into[healthDetail](t, r.health(t, "detail")); d.state("providers:state", "abuseipdb") != "warn no_key" {
		t.Errorf("the detail is %+v", d)
	}
	if got := r.health(t, "ready"); got.status != http.StatusOK {
		t.Errorf("ready is %d", got.status)
	}
}

// TestReadyWaitsForLists proves that a process which has just started is not ready while its lists have no contents,
// that it serves all the same, and that a reload which adds a list does not take it out again.
func TestReadyWaitsForLists(t *testing.T) {
	release := make(chan struct{})
	publisher := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/list" {
			<-release
		}
		_, _ = io.WriteString(w, scannerClient+"\n")
	}))
	t.Cleanup(publisher.Close)
	c := newConfig(t).withHealth()
	c.app["feeds"] = []any{object{"name": "published", "sources": []any{publisher.URL + "/list"}}}
	c.app["deny"] = []any{deniedClient}
	r := startCaddy(t, c)
	if got := r.health(t, "ready"); got.status != http.StatusServiceUnavailable ||
		got.body != `{"status":"fail","output":"lists are being fetched for the first time"}` {
		t.Errorf("ready is %d %s", got.status, got.body)
	}
	if got := r.health(t, "detail"); got.status != http.StatusServiceUnavailable || into[healthDetail](t, got).Status != "fail" {
		t.Errorf("detail is %d %s", got.status, got.body)
	}
	if got := r.health(t, "live").status; got != http.StatusOK {
		t.Errorf("live is %d", got)
	}
	if got := r.visit(t, deniedClient).status; got != http.StatusForbidden {
		t.Errorf("a denied client is answered with status %d", got)
	}
	close(release)
	ready := func() bool { return r.health(t, "ready").status == http.StatusOK }
	eventually(t, "it is ready", ready)

	c.app["feeds"] = append(c.app["feeds"].([]any), object{"name": "gone", "sources": []any{"http://" + testenv.FreeAddr(t) + "/"}})
	r.reload(t)
	if !ready() {
		t.Error("a reload that adds a list takes the instance out")
	}
}
