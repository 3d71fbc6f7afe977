package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// TestIprepd proves that a daemon is believed once it has answered the probe, and that a wrong url is named and refuses
// nobody.
func TestIprepd(t *testing.T) {
	var path atomic.Value // of the daemon below its address
	path.Store("/elsewhere")
	daemon := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked, ours := strings.CutPrefix(r.URL.Path, path.Load().(string))
		w.Header().Set("Content-Type", "application/json")
		switch {
		case ours && asked == "/violations":
			fmt.Fprint(w, `[{"name":"scan","penalty":100,"decreaselimit":0}]`)
		case ours && asked == "/type/ip/203.0.113.10":
			fmt.Fprint(w, `{"object":"203.0.113.10","type":"ip","reputation":0,"lastupdated":"2026-11-30T00:00:00Z"}`)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(daemon.Close)
	c := newConfig(t)
	c.app["providers"] = []any{object{"service": object{"service": "iprepd", "url": daemon.URL}}}
	r := startCaddy(t, c)
	eventually(t, "the wrong url is found out", func() bool {
		return strings.Contains(r.run(t, "sources"), "status 404, check the url option")
	})
	if got := r.visit(t, "203.0.113.10"); got.status != http.StatusOK {
		t.Errorf("with a wrong url, a client got %d", got.status)
	}
	path.Store("")
	if _, _, err := runCommand("sources", "iprepd", "--probe", "--address", r.adminAddr); err != nil {
		t.Errorf("once the url is right, the probe says %v", err)
	}
	if got := r.visit(t, "203.0.113.10"); got.status != http.StatusForbidden {
		t.Errorf("a client with the worst reputation got %d", got.status)
	}
	if got := r.visit(t, "203.0.113.11"); got.status != http.StatusOK {
		t.Errorf("a client that the daemon does not know got %d", got.status)
	}
}
