package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestSources proves that an operator sees before the first visitor which sources work, and why the others do not.
func TestSources(t *testing.T) {
	s := startStandIn(t)
	accept, _ := keyed(s)
	accept(keyText)
	var asked atomic.Int64
	list := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if strings.HasSuffix(r.URL.Path, "/good") {
			w.Header().Set("Last-Modified", time.Now().Add(-75*time.Hour).UTC().Format(http.TimeFormat))
			fmt.Fprintln(w, "203.0.113.77")
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(list.Close)
	c := newConfig(t)
	c.ask(s)
	c.app["feeds"] = []any{
		object{"name": "good", "sources": []string{list.URL + "/good"}},
		object{"name": "gone", "sources": []string{list.URL + "/gone"}},
		object{"name": "mine", "sources": []string{"203.0.113.10"}},
	}
	r := startCaddy(t, c)
	eventually(t, "the lists are fetched", func() bool { return asked.Load() >= 2 })
	eventually(t, "the good one is in force", func() bool {
		return strings.Contains(r.run(t, "sources", "good"), "1 entry")
	})
	table := r.run(t, "sources")
	for _, want := range []string{
		"SOURCE", "abuseipdb  service abuseipdb  not asked yet", "1000 of 1000/day", "not tried", "feed url", "feed values",
		"PUBLISHED", "3d3h ago", "warning: gone: ",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("sources shows no %q:\n%s", want, table)
		}
	}
	if n := s.asked("127.0.0.1"); n != 0 {
		t.Errorf("the service was asked %d times without --probe", n)
	}

	out, _, err := runCommand("sources", "--probe", "--json", "--address", r.adminAddr)
	if err == nil || err.Error() != "gone: no usable answer" {
		t.Errorf("probing says %v, want that gone has no usable answer", err)
	}
	var all []struct {
		Name, Key string
		Probe     *struct {
			Works  bool
			Result string
		}
	}
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) < 4 {
		t.Fatalf("%v in %s", err, out)
	}
	for _, source := range all {
		switch works := source.Probe != nil && source.Probe.Works; {
		case source.Name == "mine" && source.Probe != nil:
			t.Errorf("values are nobody's to ask: %+v", source.Probe)
		case source.Name == "abuseipdb" && (!works || source.Key != "in_use"), source.Name == "good" && !works,
			source.Name == "gone" && works:
			t.Errorf("%s: %+v", source.Name, source.Probe)
		}
	}
	if n := s.asked("127.0.0.1"); n != 1 {
		t.Errorf("the service was asked %d times, want once", n)
	}
	if table := r.run(t, "sources", "abuseipdb"); !strings.Contains(table, "ok") || !strings.Contains(table, "999 of 1000/day") {
		t.Errorf("after the probe:\n%s", table)
	}

	accept("another")
	out, _, err = runCommand("sources", "abuseipdb", "--probe", "--address", r.adminAddr)
	if err == nil || !strings.Contains(out, "refused") || strings.Contains(out, keyText) {
		t.Errorf("with a key that the service refuses: %v\n%s", err, out)
	}
	out, _, err = runCommand("sources", "abuseipdb", "--probe", "--address", r.adminAddr)
	if err == nil || !strings.Contains(out, "not asked: it refused the key") || strings.Contains(out, "skipped") {
		t.Errorf("while the key is set aside: %v\n%s", err, out)
	}
	if _, _, err = runCommand("sources", "nosuch", "--probe", "--address", r.adminAddr); err == nil || !strings.Contains(err.Error(), "nosuch") {
		t.Errorf("an unknown source: %v", err)
	}
}

// TestTermsOfServices proves that each load logs terms of use once, and that status and sources show them.
func TestTermsOfServices(t *testing.T) {
	const terms = "non-commercial use only, with Shodan named as the source"
	s := startStandIn(t)
	c := newConfig(t)
	c.ask(s)
	c.app["providers"] = append(c.app["providers"].([]any),
		object{"service": object{"service": "internetdb", "url": s.URL}, "name": "shodan"})
	r := startCaddy(t, c)
	logged := func() (all []string) {
		for l := range strings.Lines(r.logs(t)) {
			if strings.Contains(l, "a service has terms of use") {
				all = append(all, l)
			}
		}
		return all
	}
	if got := logged(); len(got) != 1 || !strings.Contains(got[0], `"provider":"shodan"`) || !strings.Contains(got[0], terms) {
		t.Errorf("logged %q, want one line with the terms", got)
	}
	for _, command := range []string{"status", "sources"} {
		if page := r.run(t, command); strings.Count(page, terms) != 1 {
			t.Errorf("%s does not show the terms:\n%s", command, page)
		}
	}
	r.reload(t)
	if got := logged(); len(got) != 2 {
		t.Errorf("after a reload: %q, want a second line", got)
	}
}
