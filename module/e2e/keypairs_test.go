package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// TestAKeyOfTwoParts proves that an account and its licence key reach the service together,
// wherever they come from, and after a rotation; and that a key without one of them is not sent:
// the log and the status say how to write it.
func TestAKeyOfTwoParts(t *testing.T) {
	var accepted atomic.Value
	var calls atomic.Int64
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		w.Header().Set("Content-Type", "application/vnd.maxmind.com-insights+json")
		if account, licence, _ := r.BasicAuth(); account+":"+licence != accepted.Load() {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = fmt.Fprintf(w, `{"traits":{"ip_address":%q}}`, filepath.Base(r.URL.Path))
	}))
	t.Cleanup(service.Close)
	put, store := awsStore(t)
	c := newConfig(t)
	whole, half := filepath.Join(c.dataDir, "whole"), filepath.Join(c.dataDir, "half")
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c.next = []any{object{"handler": "static_response", "body": "{http.ip_reputation.status}"}}
	c.app["providers"] = []any{object{"service": object{"service": "maxmind", "url": service.URL}}}
	next := 0
	var r *running
	visit := func() string {
		next++
		return r.visit(t, fmt.Sprintf("198.51.%d.1", next)).body
	}
	use := func(key object) {
		t.Helper()
		c.app["providers"].([]any)[0].(object)["keys"] = []any{key}
		if r == nil {
			r = startCaddy(t, c)
			return
		}
		r.reload(t)
	}

	write(whole, "12345:licence-of-monday")
	accepted.Store("12345:licence-of-monday")
	use(object{"value": "{file." + whole + "}", "refresh": "1s"})
	if got := visit(); got != "fresh" {
		t.Errorf("with a key in a file, a visitor is %s", got)
	}
	accepted.Store("67890:licence-of-tuesday")
	write(whole, "67890:licence-of-tuesday")
	eventually(t, "the new account and licence are used together", func() bool { return visit() == "fresh" })

	t.Setenv("IP_REPUTATION_TEST_ACCOUNT", "12345")
	write(half, "licence-of-wednesday")
	accepted.Store("12345:licence-of-wednesday")
	use(object{"value": "{env.IP_REPUTATION_TEST_ACCOUNT}:{file." + half + "}"})
	if got := visit(); got != "fresh" {
		t.Errorf("with an account in a variable and a licence in a file, a visitor is %s", got)
	}
	put("12345:licence-of-thursday")
	accepted.Store("12345:licence-of-thursday")
	use(object{"store": store})
	eventually(t, "the key of a store is used", func() bool { return visit() == "fresh" })

	before := calls.Load()
	const cure = "it has one part, write the account and the key with a colon between them"
	for i, wrong := range []string{"licence-of-friday", ":licence-of-friday", "12345:"} {
		write(half, wrong)
		use(object{"value": "{file." + half + "}"})
		if got := visit(); got != "unknown" {
			t.Errorf("with the key %q, a visitor is %s", wrong, got)
		}
		if status := r.ask(t, http.MethodGet, "status", "").body; !strings.Contains(status, cure) {
			t.Errorf("of the key %q, the status does not say what is wrong: %s", wrong, status)
		}
		if n := strings.Count(r.logs(t), cure); n < i+1 {
			t.Errorf("of the key %q, the log does not say what is wrong", wrong)
		}
	}
	if n := calls.Load() - before; n != 0 {
		t.Errorf("%d calls are made with half a key", n)
	}
	wantNone(t, "the log", r.logs(t), "licence-of-")
}
