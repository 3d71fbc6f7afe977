package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// decide lets the configuration follow the decisions of an API, with the key in a file that the test may write.
func (c *config) decide(tb testing.TB, url, key string) (setKey func(string)) {
	tb.Helper()
	file := filepath.Join(c.dataDir, "crowdsec.key")
	setKey = func(key string) {
		tb.Helper()
		if err := os.WriteFile(file, []byte(key+"\n"), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	setKey(key)
	c.app["feeds"] = []any{object{
		"crowdsec": object{"url": url}, "refresh": "1s", "key": object{"value": "{file." + file + "}", "refresh": "1s"},
	}}
	return setKey
}

// TestCrowdSec proves that what is decided, lifted and ends in CrowdSec acts in Caddy within the time of a question, and
// that the last decisions stay while it is away, also over a restart.
func TestCrowdSec(t *testing.T) {
	api := testenv.CrowdSec(t)
	key := api.AddBouncer("caddy")
	c := newConfig(t)
	setKey := c.decide(t, api.URL, key)
	c.handler["rules"] = []any{rule("block", object{"score": "85"}), rule("limit", object{"source": []any{"crowdsec"}, "limit": "1/1h"})}
	r := startCaddy(t, c)
	blocked := func(addr string) bool { return r.visit(t, addr).status == http.StatusForbidden }
	within := func(what string, so func() bool) {
		t.Helper()
		began := time.Now()
		eventually(t, what, so)
		t.Logf("%s: after %s", what, time.Since(began).Round(time.Millisecond))
	}
	api.Cscli("decisions", "add", "--ip", "203.0.113.9", "--duration", "1h", "--reason", "crowdsecurity/ssh-bf")
	api.Cscli("decisions", "add", "--range", "198.51.100.0/25", "--duration", "1h", "--type", "captcha")
	within("a ban acts", func() bool { return blocked("203.0.113.9") })
	got := r.ask(t, http.MethodGet, "check/203.0.113.9", "").body
	for _, want := range []string{`"score":92`, `"source":"crowdsec"`, `"bruteforce"`, `"name":"crowdsec"`} {
		if !strings.Contains(got, want) || strings.Count(got, `"name":"crowdsec"`) != 1 {
			t.Errorf("check lacks %s, or names the list more than once: %s", want, got)
		}
	}
	if first, second := r.visit(t, "198.51.100.7"), r.visit(t, "198.51.100.7"); first.status != 200 || second.status != 429 {
		t.Errorf("a captcha answers %d, then %d", first.status, second.status)
	}
	acted := false
	for seconds := 4; !acted && seconds < 100; seconds *= 2 { // a short ban may end before a busy machine has seen it
		api.Cscli("decisions", "add", "--ip", "2001:db8::1", "--duration", fmt.Sprintf("%ds", seconds))
		for end := time.Now().Add(time.Duration(seconds) * time.Second); !acted && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			acted = blocked("2001:db8::1")
		}
	}
	if !acted {
		t.Error("a short ban does not act")
	}
	within("a ban ends by itself", func() bool { return !blocked("2001:db8::1") })
	api.Cscli("decisions", "delete", "--ip", "203.0.113.9")
	within("a deletion acts", func() bool { return !blocked("203.0.113.9") })

	if got := r.ask(t, http.MethodPost, "sources/probe?source=crowdsec", ""); !strings.Contains(got.body, `"works":true`) {
		t.Errorf("asked by an operator: %s", got.body)
	}

	// another configuration with the same feed restarts nothing
	api.Cscli("decisions", "add", "--ip", "203.0.113.9", "--duration", "1h")
	within("a ban acts", func() bool { return blocked("203.0.113.9") })
	api.Stop()
	c.app["memory"] = 1000
	r.reload(t)
	if !blocked("203.0.113.9") {
		t.Error("a reload has lost a ban")
	}
	within("that it is away is said", func() bool {
		body := r.ask(t, http.MethodGet, "status", "").body
		return strings.Contains(body, "connection refused") && strings.Contains(r.logs(t), "the last good one stays in force")
	})
	r.stop(t)
	r.reload(t)
	if !blocked("203.0.113.9") {
		t.Error("a restart has lost a ban")
	}

	// `keys`, `sources` and the log show a refused key; a new key is used at once
	setKey("wrong")
	r.stop(t)
	api.Start()
	r.reload(t)
	within("the key is shown as refused", func() bool {
		return strings.Contains(r.run(t, "keys"), "  refused  ") && strings.Contains(r.run(t, "sources"), "  refused  ")
	})
	within("that the key is refused is said", func() bool { return strings.Contains(r.logs(t), "cscli bouncers add") })
	if !blocked("203.0.113.9") {
		t.Error("a refused key has lifted a ban")
	}
	api.Cscli("decisions", "delete", "--ip", "203.0.113.9")
	setKey(key)
	within("another key acts", func() bool { return !blocked("203.0.113.9") })
	if log := r.logs(t); strings.Contains(log, key) {
		t.Error("the log has the key in it")
	}
}

// TestCrowdSecOverTLS proves that a certificate of the bouncer's own stands for a key, and that decisions about countries
// and networks act for the addresses in them.
func TestCrowdSecOverTLS(t *testing.T) {
	api, files := testenv.CrowdSecTLS(t)
	api.Cscli("decisions", "add", "--ip", "203.0.113.9", "--duration", "1h")
	api.Cscli("decisions", "add", "--scope", "AS", "--value", "64500", "--duration", "1h")
	api.Cscli("decisions", "add", "--scope", "Country", "--value", "NL", "--duration", "1h")
	database := filepath.Join(t.TempDir(), "geo.mmdb")
	if err := os.WriteFile(database, testenv.MMDB{Networks: []testenv.Network{
		{Prefix: "198.51.100.0/26", Record: map[string]any{"asn": "AS64500"}},
		{Prefix: "198.51.100.64/26", Record: map[string]any{"asn": "AS64501", "country_code": "NL"}},
		{Prefix: "198.51.100.128/26", Record: map[string]any{"asn": "AS64501", "country_code": "FR"}},
	}}.Bytes(t), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newConfig(t)
	c.app["mmdb"] = []any{object{"file": database}}
	c.app["feeds"] = []any{object{"crowdsec": object{
		"url": api.URL, "tls": object{"ca": files.CA, "certificate": files.ClientCert, "key": files.ClientKey},
	}}}
	r := startCaddy(t, c)
	eventually(t, "a ban acts", func() bool { return r.visit(t, "203.0.113.9").status == http.StatusForbidden })
	for client, want := range map[string]int{
		"198.51.100.1": http.StatusForbidden, "198.51.100.65": http.StatusForbidden, "198.51.100.129": http.StatusOK,
	} {
		if got := r.visit(t, client).status; got != want {
			t.Errorf("%s is answered with status %d, want %d", client, got, want)
		}
	}
	if got := r.ask(t, http.MethodGet, "check/198.51.100.65", "").body; !strings.Contains(got, `"by":"country"`) ||
		strings.Count(got, `"source":"crowdsec"`) != 1 {
		t.Errorf("check says %s", got)
	}
}
