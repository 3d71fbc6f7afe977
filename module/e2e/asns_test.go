package e2e_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// TestListsOfAutonomousSystems proves that lists by number act: as evidence, as deny and exempt lists, and in rules, from
// the app and from a file that is watched. Where no source knows networks, Caddy says that they act for nobody.
func TestListsOfAutonomousSystems(t *testing.T) {
	const listed, denied, exempt, hosted, other = "203.0.113.1", "203.0.113.65", "203.0.113.129", "203.0.113.193", "198.51.100.5"
	dir := t.TempDir()
	database, bad, hosting := filepath.Join(dir, "asn.mmdb"), filepath.Join(dir, "bad.txt"), filepath.Join(dir, "hosting.txt")
	put := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(database, string(testenv.MMDB{Networks: []testenv.Network{
		{Prefix: "203.0.113.0/26", Record: map[string]any{"asn": "AS64500", "as_name": "Example Bad Net", "country_code": "NL"}},
		{Prefix: "203.0.113.64/26", Record: map[string]any{"asn": "AS64501"}},
		{Prefix: "203.0.113.128/26", Record: map[string]any{"asn": "AS64502"}},
		{Prefix: "203.0.113.192/26", Record: map[string]any{"asn": "AS64503", "country_code": "BR"}},
	}}.Bytes(t)))
	put(bad, "AS64500 # criminals\n")
	put(hosting, "64503\n")

	c := newConfig(t)
	c.app["mmdb"] = []any{object{"file": database}}
	c.app["feeds"] = []any{object{"sources": []any{bad}, "name": "bad_networks", "format": "asn", "category": []any{"hijacked"}}}
	c.app["deny"], c.app["exempt"] = []any{"AS64501", "192.0.2.9"}, []any{"AS64502"}
	c.handler["rules"] = []any{
		rule("block", object{"source": []any{"bad_networks"}}), rule("block", object{"asn_list": []any{hosting}, "status_code": 451}),
	}
	r := startCaddy(t, c)
	answers := func(want map[string]int) {
		t.Helper()
		for client, status := range want {
			if got := r.visit(t, client).status; got != status {
				t.Errorf("%s is answered with status %d, want %d", client, got, status)
			}
		}
	}
	answers(map[string]int{listed: 403, denied: 403, exempt: 200, hosted: 451, other: 200, "192.0.2.9": 403})
	for client, says := range map[string][]string{
		listed: {"bad_networks (feed, from " + bad + "), by its autonomous system", "AS64500 Example Bad Net", "hijacked"},
		denied: {"deny (deny, from values), by its autonomous system"},
		exempt: {"exempt (exempt, from values), by its autonomous system"},
	} {
		page := strings.Join(strings.Fields(r.run(t, "check", client)), " ")
		for _, want := range says {
			if !strings.Contains(page, want) {
				t.Errorf("check of %s lacks %q:\n%s", client, want, page)
			}
		}
	}
	if log := r.logs(t); !strings.Contains(log, `"list":"deny"`) {
		t.Errorf("the log does not say which list has denied:\n%s", log)
	}

	// rules on the same list and on the country, and a file that changes
	c.handler["rules"] = []any{
		rule("block", object{"asn_list": []any{"bad_networks"}}), rule("block", object{"continent": []any{"SA"}, "status_code": 451}),
	}
	r.reload(t)
	answers(map[string]int{listed: 403, denied: 403, exempt: 200, hosted: 451, other: 200})
	put(bad, "AS64499\n")
	eventually(t, "the changed list acts", func() bool { return r.visit(t, listed).status == http.StatusOK })

	delete(c.app, "mmdb")
	r.reload(t)
	answers(map[string]int{denied: 200, hosted: 200, "192.0.2.9": 403})
	status := r.run(t, "status")
	for _, want := range []string{
		"what the list bad_networks has of autonomous systems can never hold", "what the list deny has of autonomous systems can never hold",
	} {
		if !strings.Contains(strings.Join(strings.Fields(status), " "), want) {
			t.Errorf("status lacks %q:\n%s", want, status)
		}
	}
}
