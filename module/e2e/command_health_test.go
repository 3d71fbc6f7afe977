package e2e_test

import (
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// TestHealthCommand holds what a container's HEALTHCHECK goes by: the exit code, and one line.
func TestHealthCommand(t *testing.T) {
	r, s := judged(t)
	if got := r.run(t, "health"); got != "pass\n" {
		t.Errorf("got %q, want pass", got)
	}
	s.behave(throttle)
	r.run(t, "check", "203.0.113.10", "--fresh")
	if got := r.run(t, "health"); !strings.HasPrefix(got, "warn: 1 to look at") || strings.Count(got, "\n") != 1 {
		t.Errorf("with a provider that is not asked: got %q, want one line with a warning", got)
	}
	type health struct{ Status string }
	if got := into[health](t, reply{body: r.run(t, "health", "--json")}).Status; got != "warn" {
		t.Errorf("--json: the status is %q, want warn", got)
	}
	if out, _, err := runCommand("health", "--address", testenv.FreeAddr(t)); err == nil || out != "" {
		t.Errorf("nobody answers: printed %q, error %v, want an error only", out, err)
	}
}
