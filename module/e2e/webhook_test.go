package e2e_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const hookSecret = "whsec_bXVzdC1ub3QtbGVhay1mcm9tLWFueXdoZXJl"

// hooked is what a receiver was sent once.
type hooked struct {
	header http.Header
	body   []byte
}

// hook receives webhooks.
type hook struct {
	*httptest.Server

	mu       sync.Mutex
	statuses []int // what is answered first; then 204
	after    string
	got      []hooked
	hang     chan struct{} // until it is closed, nothing is answered; nil: at once
}

func startHook(tb testing.TB, statuses ...int) *hook {
	tb.Helper()
	h := &hook{statuses: statuses}
	h.Server = httptest.NewServer(h)
	tb.Cleanup(func() {
		h.release()
		h.Close()
	})
	return h
}

func (h *hook) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.hang != nil {
		close(h.hang)
		h.hang = nil
	}
}

// ServeHTTP implements http.Handler.
func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	h.mu.Lock()
	h.got = append(h.got, hooked{r.Header, body})
	status, hang := http.StatusNoContent, h.hang
	if len(h.statuses) > 0 {
		status, h.statuses = h.statuses[0], h.statuses[1:]
	}
	if h.after != "" {
		w.Header().Set("Retry-After", h.after)
	}
	h.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}
	w.WriteHeader(status)
}

func (h *hook) received() []hooked {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]hooked(nil), h.got...)
}

// handler is the configuration of a webhook to this receiver, with a URL that holds secrets.
func (h *hook) handler(change object) object {
	handler := object{
		"handler": "ip_reputation_webhook", "url": strings.Replace(h.URL, "://", "://us3r:passw0rd@", 1) + "/path?token=querysecret",
		"secrets": []any{object{"value": "{env.HOOK_SECRET}"}},
	}
	for name, value := range change {
		handler[name] = value
	}
	return handler
}

// hookedBody is what is posted.
type hookedBody struct {
	ID, Event, Source, Instance string
	Time                        time.Time
	Data                        map[string]any
}

// verify checks the signature as a receiver does, and returns what was signed.
func (h hooked) verify(t *testing.T, secret string) (b hookedBody) {
	t.Helper()
	key := []byte(secret)
	if text, ok := strings.CutPrefix(secret, "whsec_"); ok {
		key, _ = base64.StdEncoding.DecodeString(text)
	}
	mac := hmac.New(sha256.New, key)
	_, _ = fmt.Fprintf(mac, "%s.%s.%s", h.header.Get("webhook-id"), h.header.Get("webhook-timestamp"), h.body)
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	valid := false
	for one := range strings.FieldsSeq(h.header.Get("webhook-signature")) {
		valid = valid || hmac.Equal([]byte(one), []byte(want))
	}
	if !valid {
		t.Errorf("the signature %q does not hold", h.header.Get("webhook-signature"))
	}
	if err := json.Unmarshal(h.body, &b); err != nil {
		t.Errorf("%v in %s", err, h.body)
	}
	if b.ID == "" || b.ID != h.header.Get("webhook-id") || b.Instance == "" || b.Time.IsZero() {
		t.Errorf("the body is %s, the ID %s", h.body, h.header.Get("webhook-id"))
	}
	return b
}

// hookedCaddy runs a site with a provider that fails, and a webhook that is told so.
func hookedCaddy(t *testing.T, h *hook, change object) (*running, func()) {
	t.Helper()
	t.Setenv("HOOK_SECRET", hookSecret)
	s := startStandIn(t)
	s.behave(garbage)
	c := newConfig(t)
	c.ask(s)
	c.subscribe(h.handler(change))
	r := startCaddy(t, c)
	next := someone()
	return r, func() {
		for range 8 {
			r.visit(t, next())
		}
	}
}

// TestWebhook proves that an event of ours arrives once, signed, with the same ID however often it was refused, over a reload
// too, and that nothing secret is logged.
func TestWebhook(t *testing.T) {
	h := startHook(t, http.StatusInternalServerError, http.StatusTooManyRequests)
	h.after = "1"
	r, fail := hookedCaddy(t, h, object{"header": object{"Authorization": "Bearer {env.HOOK_SECRET}"}})
	fail()
	eventually(t, "the event is sent", func() bool { return len(h.received()) > 0 })
	r.reload(t) // what is queued is delivered by the configuration that is gone
	eventually(t, "the event is delivered", func() bool { return len(h.received()) == 3 })
	ids := map[string]bool{}
	for _, one := range h.received() {
		b := one.verify(t, hookSecret)
		ids[b.ID] = true
		if b.Event != "ip_reputation_provider_down" || b.Source != "ip_reputation" || b.Data["provider"] != "abuseipdb" || b.Data["result"] != "bad_answer" {
			t.Errorf("the body is %s", one.body)
		}
		if got := one.header.Get("Authorization"); got != "Bearer "+hookSecret {
			t.Errorf("Authorization: %s", got)
		}
	}
	if len(ids) != 1 {
		t.Errorf("%d IDs, want one", len(ids))
	}
	config := send(t, http.MethodGet, r.admin+"/config/", "", nil).body
	wantNone(t, "/config", config, hookSecret)
	wantNone(t, "the log", r.logs(t), hookSecret, "us3r", "passw0rd", "querysecret")
}

// TestWebhookForAnyEvent proves that the webhook takes Caddy's own events, without our app, and that a secret that changes in its
// file is used without a reload.
func TestWebhookForAnyEvent(t *testing.T) {
	h := startHook(t)
	c := newConfig(t)
	c.app, c.handler = nil, nil
	file := filepath.Join(c.dataDir, "secret")
	if err := os.WriteFile(file, []byte("the-first-secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.apps = object{"events": object{"subscriptions": []any{object{
		"events":   []any{"started", "stopping"},
		"handlers": []any{h.handler(object{"secrets": []any{object{"value": "{file." + file + "}", "refresh": "1s"}}})},
	}}}}
	r := startCaddy(t, c)
	eventually(t, "the start is told", func() bool { return len(h.received()) == 1 })
	if b := h.received()[0].verify(t, "the-first-secret"); b.Event != "started" || b.Source != "caddy" {
		t.Errorf("%+v", b)
	}
	if err := os.WriteFile(file, []byte("the-second-secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the secret has changed", func() bool { return strings.Contains(r.logs(t), "the new value is in use") })
	r.reload(t)
	eventually(t, "the reload is told", func() bool { return len(h.received()) == 3 })
	for _, one := range h.received()[1:] {
		one.verify(t, "the-second-secret")
	}
	wantNone(t, "the log", r.logs(t), "the-first-secret", "the-second-secret")
}

// TestWebhookIsSlow proves that a receiver which does not answer holds up neither requests nor reloads nor the events, and that
// what is too much is dropped, and said; and that nothing is left behind over reloads.
func TestWebhookIsSlow(t *testing.T) {
	h := startHook(t)
	h.hang = make(chan struct{})
	r, fail := hookedCaddy(t, h, object{"queue": 1, "timeout": "1s", "retries": 0})
	r.apps["events"].(object)["subscriptions"] = []any{
		object{"handlers": []any{h.handler(object{"queue": 1, "timeout": "1s", "retries": 0})}}, // all events
		object{"handlers": []any{object{"handler": "recorder"}}},
	}
	forgetRecorded()
	r.reload(t)
	goroutines := settled(t)
	fail()
	eventually(t, "the event is told to the next handler", func() bool { return len(told("provider_down")) > 0 })
	for range 10 {
		r.reload(t) // started, stopping
	}
	eventually(t, "it is said that events are dropped", func() bool {
		return strings.Contains(r.logs(t), "events are dropped") && strings.Contains(r.logs(t), "an event was not delivered, and is lost")
	})
	h.release()
	eventually(t, "nothing is left behind", func() bool { return runtime.NumGoroutine() <= goroutines+4 })
	wantNone(t, "the log", r.logs(t), hookSecret, "us3r", "passw0rd", "querysecret")
}

// TestWebhookAtTheEnd proves that what is queued when the process ends is sent, also where it was refused before, and that a
// receiver which does not answer does not hold the end up.
func TestWebhookAtTheEnd(t *testing.T) {
	t.Setenv("HOOK_SECRET", hookSecret)
	for name, hangs := range map[string]bool{"answers": false, "hangs": true} {
		t.Run(name, func(t *testing.T) {
			h := startHook(t, http.StatusServiceUnavailable)
			h.after = "60"
			if hangs {
				h.hang = make(chan struct{})
			}
			c := newConfig(t)
			c.apps = object{"events": object{"subscriptions": []any{object{
				"events": []any{"started", "stopping"}, "handlers": []any{h.handler(object{"timeout": "1m"})},
			}}}}
			p := startProcess(t, c)
			eventually(t, "the start is told", func() bool { return len(h.received()) == 1 })
			p.end(syscall.SIGTERM) // the timeout of the tests is the bound: a hanging one has a minute for each attempt
			if code := p.cmd.ProcessState.ExitCode(); code != 0 {
				t.Errorf("exit code %d:\n%s", code, p.output.String())
			}
			got := h.received()
			if last := got[len(got)-1].verify(t, hookSecret); !hangs && last.Event != "stopping" {
				t.Errorf("the last event is %s", last.Event)
			}
			wantNone(t, "the log", p.logs(t), hookSecret, "us3r", "passw0rd", "querysecret")
		})
	}
}

// TestWebhookIsRefused proves that what cannot work is found when the configuration is loaded, in words that hold no secret.
func TestWebhookIsRefused(t *testing.T) {
	t.Setenv("HOOK_SECRET", hookSecret)
	t.Setenv("EMPTY_SECRET", "")
	t.Setenv("WRONG_SECRET", "whsec_passw0rd!")
	h := startHook(t)
	for name, tc := range map[string]struct {
		change object
		want   string
	}{
		"no URL":          {object{"url": ""}, "no URL is given"},
		"no secret":       {object{"secrets": nil}, "no secret is given"},
		"empty secret":    {object{"secrets": []any{object{"value": "{env.EMPTY_SECRET}"}}}, "is empty"},
		"wrong secret":    {object{"secrets": []any{object{"value": "{env.WRONG_SECRET}"}}}, "is not base64 behind it"},
		"plain http":      {object{"url": "http://us3r:passw0rd@hooks.example.com"}, "is not https"},
		"no host":         {object{"url": "https:///passw0rd"}, "is none"},
		"plain, resolved": {object{"url": "http://hooks.example.com/{env.HOOK_SECRET}"}, "is not https"},
		"own header":      {object{"header": object{"Webhook-ID": "1"}}, "is set by the webhook itself"},
		"retries":         {object{"retries": 21}, "out of range"},
		"timeout":         {object{"timeout": "2m"}, "out of range"},
		"queue":           {object{"queue": 10_001}, "out of range"},
		"expires":         {object{"secrets": []any{object{"value": "{env.HOOK_SECRET}", "expires": "2030-01-01"}}}, "remove `expires`"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newConfig(t)
			c.subscribe(h.handler(tc.change))
			t.Setenv("XDG_DATA_HOME", c.dataDir)
			r := &running{config: c}
			t.Cleanup(func() { r.stop(t) })
			err := r.tryReload(t)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
			wantNone(t, "the error", fmt.Sprint(err), hookSecret, "passw0rd")
		})
	}
}
