package e2e_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// writeDatabase writes a file that says which countries and systems some clients of the tests belong to.
func writeDatabase(t *testing.T, path, country string) {
	t.Helper()
	data := testenv.MMDB{Type: "Test-Country-ASN", Networks: []testenv.Network{
		{Prefix: "203.0.113.0/24", Record: map[string]any{
			"country_code": country, "asn": "AS64500", "as_name": "Example Net", "hosting": true,
		}},
		{Prefix: "10.0.0.0/8", Record: map[string]any{"country_code": country}},
	}}.Bytes(t)
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// TestFactsOfDatabasesAreForAll proves that rules on country, network and nature hold for everybody, without any list or
// service. The application gets the headers with these facts, also about clients that are not judged.
func TestFactsOfDatabasesAreForAll(t *testing.T) {
	const inside, outside, banned = "203.0.113.5", "198.51.100.5", "203.0.113.6"
	path := filepath.Join(t.TempDir(), "geo.mmdb")
	writeDatabase(t, path, "NL")
	b := startBackend(t)
	c := newConfig(t)
	c.app["mmdb"] = []any{object{"file": path}}
	c.app["exempt"], c.app["deny"] = []any{"203.0.113.77"}, []any{deniedClient}
	c.handler["exempt"] = []any{"203.0.113.78"}
	c.next = []any{proxyTo(b.Server)}
	r := startCaddy(t, c)
	r.run(t, "ban", banned)

	for _, rules := range []object{{"country": []any{"NL"}}, {"asn": []any{64500}}, {"nature": []any{"hosting"}}} {
		c.handler["rules"] = []any{rule("block", rules)}
		r.reload(t)
		for client, want := range map[string]int{
			inside: http.StatusForbidden, outside: http.StatusAccepted, banned: http.StatusForbidden, deniedClient: http.StatusForbidden,
			"203.0.113.77": http.StatusAccepted, "203.0.113.78": http.StatusAccepted, "10.1.2.3": http.StatusAccepted,
		} {
			if got := r.visit(t, client).status; got != want {
				t.Errorf("%v: %s is answered with status %d; want %d", rules, client, got, want)
			}
		}
	}

	c.handler["mode"] = "observe"
	r.reload(t)
	for client, want := range map[string][3]string{
		inside: {"NL", "64500", "hosting"}, banned: {"NL", "64500", "hosting"}, deniedClient: {"NL", "64500", "hosting"},
		"203.0.113.77": {"NL", "64500", "hosting"}, "203.0.113.78": {"NL", "64500", "hosting"}, "10.1.2.3": {"NL", "", ""}, outside: {},
	} {
		b.forget()
		r.visit(t, client)
		h := b.only(t).header
		if got := [3]string{h.Get("X-IP-Reputation-Country"), h.Get("X-IP-Reputation-ASN"), h.Get("X-IP-Reputation-Nature")}; got != want {
			t.Errorf("of %s the application is told %q; want %q", client, got, want)
		}
	}
	if got := r.run(t, "check", inside); !strings.Contains(got, "Example Net") {
		t.Errorf("check does not say whose the address is:\n%s", got)
	}
}

// TestDatabaseFiles proves what becomes of files that are new, broken and away: at a boot, at a reload, and while Caddy serves.
func TestDatabaseFiles(t *testing.T) {
	const client = "203.0.113.5"
	path := filepath.Join(t.TempDir(), "geo.mmdb")
	c := newConfig(t)
	c.withHealth()
	c.app["mmdb"] = []any{object{"file": path, "name": "geo"}}
	c.handler["rules"] = []any{rule("block", object{"country": []any{"NL"}})}

	p := startProcess(t, c) // without its file
	if got := p.visit(t, client).status; got != http.StatusOK {
		t.Errorf("without a database: status %d", got)
	}
	if got := into[healthDetail](t, p.health(t, "detail")); got.Status != "warn" || !strings.Contains(got.Output, "database geo cannot be read") {
		t.Errorf("health says %+v", got)
	}
	if log := p.logs(t); !strings.Contains(log, "its facts are not known of anybody") || strings.Contains(log, "a rule can never hold") {
		t.Errorf("the log has:\n%s", log)
	}
	reload := func(memory int) reply {
		c.app["memory"] = memory
		return p.load(t)
	}
	if got := reload(1001); got.status != http.StatusBadRequest || !strings.Contains(got.body, path) || !strings.Contains(got.body, "check the path") {
		t.Errorf("a reload without the file: %d %s", got.status, got.body)
	}

	writeDatabase(t, path, "NL")
	if got := reload(1002); got.status != http.StatusOK {
		t.Errorf("a reload with the file: %d %s", got.status, got.body)
	}
	if got := p.visit(t, client).status; got != http.StatusForbidden {
		t.Errorf("with a database: status %d", got)
	}
	if got := p.metric(t, `database_up{database="geo"}`); got != 1 {
		t.Errorf("database_up is %v", got)
	}
	if got := p.run(t, "status"); !strings.Contains(got, "geo: country asn hosting of 2 networks") {
		t.Errorf("status says:\n%s", got)
	}

	if err := os.Truncate(path, 100); err != nil { // in place, while it is in use
		t.Fatal(err)
	}
	if got := reload(1003); got.status != http.StatusBadRequest || !strings.Contains(got.body, "damaged") {
		t.Errorf("a reload with half a file: %d %s", got.status, got.body)
	}
	if got := p.visit(t, client).status; got != http.StatusForbidden {
		t.Errorf("what was known is forgotten: status %d", got)
	}
	if got := p.metric(t, `database_up{database="geo"}`); got != 0 {
		t.Errorf("database_up is %v", got)
	}
}
