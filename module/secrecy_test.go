package module_test

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
)

// secretMarks are in every secret that the tests of this package use, and in nothing else.
var secretMarks = []string{keyText, "key-of-", "password-of-", "token-of-", "the-account-s-own-secret"}

// keepsSecrets is run at the end of every test that started a Caddy: whatever the test was about, what the process has shown by
// then, in its log, its metrics, its configuration and its admin API, holds no secret (promise 10).
func (r *running) keepsSecrets(tb testing.TB) {
	tb.Helper()
	shown := map[string]string{}
	for _, path := range []string{"/metrics", "/config/", "/ip_reputation/status", "/ip_reputation/keys"} {
		resp, err := client.Get(r.admin + path)
		if err != nil {
			continue // the process has ended
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			shown[path] = string(text)
		}
	}
	if text, err := os.ReadFile(r.logFile); err == nil {
		shown["the log"] = string(text)
	}
	for where, text := range shown {
		for _, mark := range secretMarks {
			if i := strings.Index(text, mark); i >= 0 {
				tb.Errorf("%s shows a secret: %q", where, text[max(i-100, 0):min(i+60, len(text))])
			}
		}
	}
}
