package e2e_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestOwnListAtABoot proves that a mistake in a file of the operator's refuses no boot, which nobody may watch: the good
// lines act, or the copy of a file that is gone, and log and health say so. `caddy validate` and a reload, which
// somebody watches, are refused with the line.
func TestOwnListAtABoot(t *testing.T) {
	c := newConfig(t)
	c.withHealth()
	path := filepath.Join(c.dataDir, "deny.txt")
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(deniedClient + "\nnonsense\n")
	c.app["deny"], c.app["memory"] = []any{path}, 1000
	const other = "198.51.100.77"
	serves := func(p *process, says, reason string) {
		t.Helper()
		if got := p.visit(t, deniedClient).status; got != http.StatusForbidden {
			t.Errorf("a denied client is answered with status %d", got)
		}
		if got := p.visit(t, other).status; got != http.StatusOK {
			t.Errorf("another client is answered with status %d", got)
		}
		eventually(t, "health says "+reason, func() bool {
			got := into[healthDetail](t, p.health(t, "detail"))
			return got.Status == "warn" && strings.Contains(got.Output, reason)
		})
		if log := p.logs(t); !strings.Contains(log, `"level":"error"`) || !strings.Contains(log, says) {
			t.Errorf("the log lacks %q:\n%s", says, log)
		}
	}
	refused := func(p *process, says string) {
		t.Helper()
		out, err := c.caddyCommand(t, "validate", "--config", filepath.Join(c.dataDir, "caddy.json")).CombinedOutput()
		if err == nil || !strings.Contains(p.logs(t), says) { // Caddy logs why, and the log is a file here
			t.Errorf("validate: %v, want %q:\n%s", err, says, out)
		}
		for _, exempt := range []any{nil, []any{"198.51.100.99"}} { // the lists that serve, and other ones
			c.app["exempt"] = exempt
			c.app["memory"] = c.app["memory"].(int) + 1
			text := string(c.json(t))
			got := send(t, http.MethodPost, p.admin+"/load", text, http.Header{"Content-Type": {"application/json"}})
			if got.status != http.StatusBadRequest || !strings.Contains(got.body, says) {
				t.Errorf("a reload: %d %s, want %q", got.status, got.body, says)
			}
		}
		delete(c.app, "exempt")
	}

	p := startProcess(t, c)
	serves(p, "wrong lines of your own list are not in force", "1 wrong lines are not in force")
	refused(p, path+`: line 2: \"nonsense\"`)
	eventually(t, "the copy is on disk", func() bool {
		_, err := os.Stat(filepath.Join(c.dataDir, "caddy", "ip_reputation", "feeds", "deny_deny.list"))
		return err == nil
	})
	p.end(os.Interrupt)

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	p = startProcess(t, c)
	serves(p, "the file of a list cannot be used; its copy is in force", "list deny_deny is not the newest")
	refused(p, "check the path")
	put(other + "\n")
	eventually(t, "the mended file is in force", func() bool { return p.visit(t, other).status == http.StatusForbidden })
	eventually(t, "health passes", func() bool { return into[healthDetail](t, p.health(t, "detail")).Status == "pass" })
}

// TestOwnListsTakeOptions proves that what is denied and exempt may be lists as others write them, behind a key and a
// redirect, and that an operator sees when a publisher has given up a list, or names somebody who is exempt.
func TestOwnListsTakeOptions(t *testing.T) {
	const denied, partner, listed = "198.51.100.61", "198.51.100.62", "198.51.100.63"
	old := time.Now().Add(-400 * 24 * time.Hour)
	lists := http.NewServeMux()
	lists.HandleFunc("/deny.csv", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+os.Getenv(keyName) {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, "seen,address\nyesterday,"+denied+"\ntoday,"+partner+"\n")
	})
	lists.HandleFunc("/partners.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Last-Modified", old.UTC().Format(http.TimeFormat))
		_, _ = io.WriteString(w, `{"offices": [{"ip": "`+partner+`"}], "others": [{"net": "`+listed+`"}]}`)
	})
	publisher := httptest.NewServer(lists)
	t.Cleanup(publisher.Close)
	elsewhere := httptest.NewServer(http.RedirectHandler(publisher.URL+"/partners.json", http.StatusFound))
	t.Cleanup(elsewhere.Close)

	c := newConfig(t)
	c.withHealth()
	c.app["deny"] = []any{"198.51.100.60", object{
		"sources": []any{publisher.URL + "/deny.csv"}, "format": "csv", "field": []any{"address"},
		"header": object{"Authorization": "Bearer {key}"}, "key": object{"value": "{env." + keyName + "}"},
	}}
	c.app["exempt"] = []any{object{
		"name": "partners", "sources": []any{elsewhere.URL}, "format": "json", "field": []any{"ip"},
	}}
	c.app["feeds"] = []any{object{"name": "mine", "sources": []any{partner, listed}}}
	r := startCaddy(t, c)
	eventually(t, "both lists are in force", func() bool {
		return r.visit(t, denied).status == http.StatusForbidden && r.visit(t, partner).status == http.StatusOK
	})
	if got := r.visit(t, listed).status; got != http.StatusOK {
		t.Errorf("whom only another member names is answered with status %d", got)
	}
	if got := r.metric(t, `feed_content_timestamp_seconds{feed="partners"}`); int64(got) != old.Unix() {
		t.Errorf("the metric says %v, want %d", got, old.Unix())
	}
	if got := into[healthDetail](t, r.health(t, "detail")); !strings.Contains(got.Output, "list partners was last changed by its publisher at") {
		t.Errorf("health says %q", got.Output)
	}
	page := r.run(t, "status")
	for _, want := range []string{"partners: exempt, 1 entry from ", ", published 400d", "lists 1 prefix of partners"} {
		if !strings.Contains(page, want) {
			t.Errorf("status lacks %q:\n%s", want, page)
		}
	}
	eventually(t, "the log names the old list", func() bool {
		return strings.Contains(r.logs(t), "a list is old by its publisher's own date")
	})
}
