package handler

import (
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// TestPriority proves which requests matter to a site: those for which one of the rules holds.
func TestPriority(t *testing.T) {
	h := loadHandler(t, testContext(t), object{"priority": []any{
		object{"path": []any{"/login", "/account/*"}, "method": []any{"post"}},
		object{"match": []any{object{"query": object{"buy": []any{"*"}}}}},
		object{"header": object{"X-Plan": []any{"gold"}}},
	}})
	for _, tc := range []struct {
		method, target string
		header         string
		want           bool
	}{
		{"POST", "/login", "", true},
		{"POST", "/LOGIN?next=/", "", true},
		{"POST", "/account/email", "", true},
		{"GET", "/login", "", false},
		{"POST", "/", "", false},
		{"GET", "/shop?buy=3", "", true},
		{"GET", "/", "gold", true},
		{"GET", "/", "silver", false},
		{"GET", "/", "", false},
	} {
		r := prepared(t, cleanAddr)()
		setTarget(t, r, tc.method, tc.target)
		r.Header.Set("X-Plan", tc.header)
		if got := h.lookupRequest(r).Important; got != tc.want {
			t.Errorf("%s %s with %q: %t", tc.method, tc.target, tc.header, got)
		}
		if n := testing.AllocsPerRun(20, func() { h.lookupRequest(r) }); n > 3 && !testenv.Race { // those of Caddy's query matcher
			t.Errorf("%s %s: %v allocations", tc.method, tc.target, n)
		}
	}
	r := prepared(t, cleanAddr)()
	if loadHandler(t, testContext(t), object{}).lookupRequest(r).Important {
		t.Error("without rules, requests matter")
	}
}
