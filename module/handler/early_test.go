package handler

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/request"
)

// inEarlyData returns a request as it arrives before the handshake is complete.
func inEarlyData(tb testing.TB, addr string) *http.Request {
	tb.Helper()
	r := prepared(tb, addr)()
	r.ProtoMajor, r.TLS = 3, &tls.ConnectionState{}
	r.Header.Set("X-IP-Reputation-Score", "0")
	r.Header.Set("X-Request-ID", "chosen-by-the-client")
	request.VarsOf(r)[caddyhttp.TrustedProxyVarKey] = true // its address may be forged, too
	return r
}

// Before the handshake is complete an address may be forged (RFC 8470): nobody is asked about it, and a site asks the
// client to come back where it would refuse the request. Others pass.
func TestBeforeHandshake(t *testing.T) {
	ctx := testContext(t)
	block := []any{object{"action": "block", "score": "85"}, object{"action": "block", "category": []any{"scanner"}, "status_code": 451}}
	drop := []any{object{"action": "drop", "score": "85"}}
	network := []any{"192.0.2.0/24"}
	for name, tc := range map[string]struct {
		addr   string
		site   object
		status int
		action string
	}{
		"clean":                 {cleanAddr, object{"mode": "enforce", "rules": block}, 204, "pass"},
		"denied":                {deniedAddr, object{"mode": "enforce", "rules": block}, 425, "block"},
		"denied, no rule":       {deniedAddr, object{"mode": "enforce"}, 425, "block"},
		"listed":                {listedAddr, object{"mode": "enforce", "rules": block}, 425, "block"},
		"dropped":               {deniedAddr, object{"mode": "enforce", "rules": drop}, 425, "drop"},
		"observed":              {deniedAddr, object{"rules": block}, 204, "block;mode=observe"},
		"unknown is refused":    {exemptAddr, object{"mode": "enforce", "unknown": "block"}, 425, "block"},
		"exempt":                {exemptAddr, object{"mode": "enforce", "rules": block}, 204, "pass"},
		"exempt from the site":  {listedAddr, object{"mode": "enforce", "rules": block, "exempt": []any{listedAddr}}, 204, "pass"},
		"no headers are wanted": {cleanAddr, object{"headers": "off"}, 204, ""},
		"a path is refused":     {cleanAddr, object{"mode": "enforce", "rules": []any{object{"action": "block", "path": []any{"/"}}}}, 425, "block"},
		"another path is":       {cleanAddr, object{"mode": "enforce", "rules": []any{object{"action": "block", "path": []any{"/a"}}}}, 204, "pass"},
		"a network is":          {cleanAddr, object{"mode": "enforce", "rules": []any{object{"action": "block", "network": network}}}, 425, "block"},
		"a network passes, nobody else": {cleanAddr, object{"mode": "enforce", "rules": []any{
			object{"action": "pass", "network": network}, object{"action": "block", "path": []any{"/"}},
		}}, 425, "block"},
		"a rule passes the rest": {deniedAddr, object{"mode": "enforce", "rules": []any{object{"action": "pass", "source": []any{"deny"}}}}, 204, "pass"},
	} {
		t.Run(name, func(t *testing.T) {
			h := loadHandler(t, ctx, tc.site)
			core, logged := observer.New(zapcore.InfoLevel)
			h.decisions = decisionLogTo(t, core)
			got := serve(h, inEarlyData(t, tc.addr))
			if got.Code != tc.status || got.err != nil {
				t.Fatalf("got %d, %v; want %d", got.Code, got.err, tc.status)
			}
			id := got.Header().Get(headerRequestID)
			if len(id) != 32 {
				t.Errorf("the answer has the request ID %q", id)
			}
			if entries := logged.All(); len(entries) != 1 || entries[0].ContextMap()["request_id"] != id {
				t.Errorf("logged %v", entries)
			}
			if got.app == nil {
				if got.Header().Get("Cache-Control") != "no-store" || !strings.Contains(got.Body.String(), id) {
					t.Errorf("refused with %v, %s", got.Header(), got.Body)
				}
				return
			}
			status := "unknown"
			if tc.action == "" {
				status = ""
			}
			if got.app.Get(headerStatus) != status || got.app.Get(headerAction) != tc.action || got.app[headerScore] != nil ||
				got.app.Get(headerRequestID) != id {
				t.Errorf("the application read %v", got.app)
			}
		})
	}
}

// A TLS state that a listener wrapper has left empty is not early data: over TCP there is none.
func TestEmptyTLSState(t *testing.T) {
	h := loadHandler(t, testContext(t), object{"mode": "enforce"})
	for _, major := range []int{1, 2} {
		r := inEarlyData(t, deniedAddr)
		r.ProtoMajor = major
		if got := serve(h, r); got.Code != http.StatusForbidden {
			t.Errorf("HTTP/%d, denied: got %d, want 403", major, got.Code)
		}
		r = inEarlyData(t, listedAddr)
		r.ProtoMajor = major
		if got := serve(h, r); got.Code != http.StatusNoContent || got.app.Get(headerScore) == "" {
			t.Errorf("HTTP/%d, listed: got %d, %v", major, got.Code, got.app)
		}
	}
}

// A matcher never refuses early data itself. What is known here counts, so that nobody gets round an `error @bad`, but
// an address that may be forged is not exempt.
func TestMatcherBeforeHandshake(t *testing.T) {
	ctx := testContext(t)
	for _, tc := range []struct {
		addr, condition, value string
		want                   bool
	}{
		{deniedAddr, "score", "85", true},
		{listedAddr, "score", "85", false},
		{exemptAddr, "status", "exempt", false},
		{exemptAddr, "status", "unknown", true},
	} {
		var value any = tc.value
		if tc.condition != "score" {
			value = []string{tc.value}
		}
		m := loadModule(t, ctx, "http.matchers.ip_reputation", object{tc.condition: value}).(*MatchIPReputation)
		if got, err := m.MatchWithError(inEarlyData(t, tc.addr)); got != tc.want || err != nil {
			t.Errorf("%s %s %s: got %v, %v", tc.addr, tc.condition, tc.value, got, err)
		}
	}
}

// A matcher for addresses answers early data as Caddy's own `client_ip` does: what it guards may be for some addresses
// only.
func TestNetworkMatcherBeforeHandshake(t *testing.T) {
	m := loadModule(t, testContext(t), "http.matchers.ip_reputation", object{"network": []any{"192.0.2.0/24"}}).(*MatchIPReputation)
	match, err := m.MatchWithError(inEarlyData(t, cleanAddr))
	var answer caddyhttp.HandlerError
	if match || !errors.As(err, &answer) || answer.StatusCode != http.StatusTooEarly {
		t.Errorf("got %v, %v; want 425", match, err)
	}
	for addr, want := range map[string]bool{cleanAddr: true, listedAddr: false} {
		if got, err := m.MatchWithError(prepared(t, addr)()); got != want || err != nil {
			t.Errorf("%s: got %v, %v", addr, got, err)
		}
	}
}

// Early data is counted by a limit, but apart: a forged address must not use up its owner's limit.
func TestLimitBeforeHandshake(t *testing.T) {
	h := loadHandler(t, testContext(t), object{"mode": "enforce", "rules": []any{object{"action": "limit", "limit": "2/1h"}}})
	for i, want := range []int{204, 204, 425, 425} {
		if got := serve(h, inEarlyData(t, cleanAddr)); got.Code != want {
			t.Errorf("early request %d: got %d, want %d", i, got.Code, want)
		}
	}
	for i, want := range []int{204, 204, 429} {
		if got := serve(h, prepared(t, cleanAddr)()); got.Code != want {
			t.Errorf("request %d: got %d, want %d", i, got.Code, want)
		}
	}
}

// An application that sends back the correlation ID it was given must not double it.
func TestRequestIDOnceOnResponse(t *testing.T) {
	h := warmHandler(t)
	w := httptest.NewRecorder()
	err := h.ServeHTTP(w, prepared(t, "192.0.2.1")(), caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Add("X-Request-ID", r.Header.Get("X-Request-ID")) // as reverse_proxy does with an upstream's header
		w.WriteHeader(http.StatusOK)
		return nil
	}))
	if got := w.Header()[headerRequestID]; err != nil || len(got) != 1 || len(got[0]) != 32 {
		t.Errorf("got %v, %v; want one ID", got, err)
	}
}

// Two handlers on the way of one request each have a response of their own: one that wraps itself never ends.
func TestTwoHandlersOnOneRequest(t *testing.T) {
	outer, inner := warmHandler(t), warmHandler(t)
	inner.runtime = outer.runtime
	w := httptest.NewRecorder()
	r := prepared(t, "192.0.2.1")()
	err := outer.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		return inner.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(http.StatusTeapot)
			return nil
		}))
	}))
	if err != nil || w.Code != http.StatusTeapot || len(w.Header()[headerRequestID]) != 1 {
		t.Errorf("got %d, %v, %v", w.Code, w.Header(), err)
	}
	again := httptest.NewRecorder() // as in handle_errors, which begins with the server's own writer
	if err := inner.ServeHTTP(again, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusForbidden)
		return nil
	})); err != nil || again.Code != http.StatusForbidden {
		t.Errorf("got %d, %v", again.Code, err)
	}
}

// A site's own exemption holds although a matcher has looked the client up before.
func TestSiteExemptionAfterMatcher(t *testing.T) {
	h := warmHandler(t)
	var err error
	if h.exempt, err = siteExemptions([]string{"203.0.113.0/24"}); err != nil {
		t.Fatal(err)
	}
	m := &MatchIPReputation{runtime: h.runtime}
	r := prepared(t, "203.0.113.1")()
	if _, err := m.MatchWithError(r); err != nil {
		t.Fatal(err)
	}
	first := visitOf(request.VarsOf(r))
	if err := h.ServeHTTP(httptest.NewRecorder(), r, passOn); err != nil {
		t.Fatal(err)
	}
	if got := r.Header.Get("X-IP-Reputation-Status"); got != "exempt" || visitOf(request.VarsOf(r)) != first {
		t.Errorf("got status %q, the same visit: %t", got, visitOf(request.VarsOf(r)) == first)
	}
}
