package e2e_test

import (
	"net/http"
	"strings"
	"testing"
)

// TestNAT64ClientsAreJudgedAsIPv4 proves that a client behind NAT64 is judged as the IPv4 address that it has: on lists, by
// services, in answers to operators; and that a private one is private.
func TestNAT64ClientsAreJudgedAsIPv4(t *testing.T) {
	const denied, asked = "198.51.100.66", "203.0.113.5"
	b := startBackend(t)
	s := startStandIn(t)
	s.know(asked, 100, 60)
	c := newConfig(t)
	c.ask(s)
	c.app["deny"] = []any{denied}
	c.app["nat64"] = []any{"2001:db8:64::/48"}
	c.handler["mode"] = "observe"
	c.next = []any{proxyTo(b.Server)}
	r := startCaddy(t, c)
	for _, tc := range []struct{ client, want string }{
		{"64:ff9b::c633:6442", "block;mode=observe fresh 100"},
		{"2001:db8:64:c633:64:4200::", "block;mode=observe fresh 100"},
		{"64:ff9b::cb00:7105", "block;mode=observe fresh 88"},
		{"2001:db8:64:cb00:71:500::", "block;mode=observe fresh 88"},
		{asked, "block;mode=observe fresh 88"},
		{"64:ff9b::a00:1", "pass;mode=observe exempt "},
		{"64:ff9b:1::c633:6442", "pass;mode=observe exempt "}, // for local use, and nobody has named it
	} {
		r.visit(t, tc.client)
		h := b.only(t).header
		got := h.Get("X-Ip-Reputation-Action") + " " + h.Get("X-Ip-Reputation-Status") + " " + h.Get("X-Ip-Reputation-Score")
		if got != tc.want {
			t.Errorf("%s: the application read %q, want %q", tc.client, got, tc.want)
		}
	}
	want := r.ask(t, http.MethodGet, "check/"+asked, "").body
	for _, spelling := range []string{"64:ff9b::cb00:7105", "2001:db8:64:cb00:71:500::"} {
		if got := r.ask(t, http.MethodGet, "check/"+spelling, "").body; got != want || !strings.Contains(got, `"address":"`+asked) {
			t.Errorf("check %s shows %s, want %s", spelling, got, want)
		}
	}
	if got := r.ask(t, http.MethodPost, "bans", `{"prefix":"2001:db8:64:c000:2:2100::"}`).body; !strings.Contains(got, `"192.0.2.33/32"`) {
		t.Errorf("the ban is of another: %s", got)
	}
	if r.visit(t, "192.0.2.33"); b.only(t).header.Get("X-Ip-Reputation-Score") != "100" {
		t.Error("the ban of a NAT64 address does not ban its client")
	}
}

// TestPseudoIPv4IsJudged proves that addresses that a trusted proxy makes up are denied and limited like others, that no
// service is asked about them, and that a warning says how to get the visitors' own addresses.
func TestPseudoIPv4IsJudged(t *testing.T) {
	s := startStandIn(t)
	c := newConfig(t)
	c.ask(s)
	c.app["deny"] = []any{"240.0.0.66"}
	c.handler["rules"] = []any{object{"action": "limit", "limit": "1/1h"}}
	r := startCaddy(t, c)
	const series = `client_address_suspect_total{reason="pseudo_ipv4"}`
	before := r.metric(t, series)
	for _, tc := range []struct {
		client string
		status int
	}{
		{"240.0.0.66", 403}, {"247.1.2.3", 200}, {"247.1.2.3", 429}, {"255.255.255.255", 200}, {"255.255.255.255", 200},
	} {
		if got := r.visit(t, tc.client).status; got != tc.status {
			t.Errorf("%s got %d, want %d", tc.client, got, tc.status)
		}
	}
	if got := r.metric(t, series) - before; got != 3 {
		t.Errorf("%v were counted, want 3", got)
	}
	const cure = "set Pseudo IPv4 to Off or Add Header"
	if got := r.ask(t, http.MethodGet, "status", "").body; !strings.Contains(got, `"reason":"clients_pseudo_ipv4"`) || !strings.Contains(got, cure) {
		t.Errorf("the status says nothing of it: %s", got)
	}
	eventually(t, "it is logged once", func() bool {
		log := r.logs(t)
		return strings.Count(log, "hands on pseudo IPv4 addresses") == 1 && strings.Contains(log, cure)
	})
	for _, path := range []string{"check/247.1.2.3?fresh", "check/247.1.2.3"} {
		if got := r.ask(t, http.MethodGet, path, "").body; !strings.Contains(got, `"status":"unknown"`) {
			t.Errorf("%s shows %s", path, got)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.calls) > 0 {
		t.Errorf("a service was asked: %v", s.calls)
	}
}
