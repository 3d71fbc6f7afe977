package e2e_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAFileThatCannotBeWrittenIsSaid proves that an instance whose data folder takes no bans does not pass for healthy, and
// that it does when the folder takes them again.
func TestAFileThatCannotBeWrittenIsSaid(t *testing.T) {
	c := newConfig(t)
	c.app["feeds"] = []any{object{"name": "listed", "sources": []any{"203.0.113.0/24"}, "category": []any{"scanner"}}}
	inTheWay := filepath.Join(c.dataDir, "caddy", "ip_reputation", "bans.json", "in the way")
	r := startCaddy(t, c)
	status := func() string { return r.ask(t, http.MethodGet, "status", "").body }
	if got := status(); strings.Contains(got, "cannot be written") {
		t.Fatalf("the status is %s", got)
	}
	_ = os.Remove(filepath.Dir(inTheWay))
	if err := os.MkdirAll(inTheWay, 0o700); err != nil { // which fails for root, too
		t.Fatal(err)
	}
	r.ask(t, http.MethodPost, "bans", `{"prefix":"203.0.113.99"}`)
	eventually(t, "it is said", func() bool {
		got := status()
		return strings.Contains(got, "a file of the data folder cannot be written") && strings.Contains(got, "folder_unwritten")
	})
	if err := os.RemoveAll(filepath.Dir(inTheWay)); err != nil {
		t.Fatal(err)
	}
	r.ask(t, http.MethodPost, "bans", `{"prefix":"203.0.113.98"}`)
	eventually(t, "all is well", func() bool { return !strings.Contains(status(), "cannot be written") })
}
