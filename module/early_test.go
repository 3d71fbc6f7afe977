package module

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Before the handshake is complete an address may be forged (RFC 8470): it is not looked up, and a site that acts on it
// asks the client to come back.
func TestBeforeHandshake(t *testing.T) {
	h := warmHandler(t)
	m := &MatchIPReputation{app: h.app}
	early := func() *http.Request {
		r := prepared(t, "203.0.113.1")()
		r.TLS = &tls.ConnectionState{}
		r.Header.Set("X-IP-Reputation-Score", "0")
		return r
	}
	status := func(err error) int {
		handled, _ := errors.AsType[caddyhttp.HandlerError](err)
		return handled.StatusCode
	}
	pass := caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
		if got := r.Header[headerStatus]; len(got) != 1 || got[0] != "unknown" {
			t.Errorf("the application read status %v; want unknown", got)
		}
		if r.Header[headerScore] != nil {
			t.Errorf("the application read score %v", r.Header[headerScore])
		}
		return nil
	})

	r := early()
	if got := status(h.ServeHTTP(httptest.NewRecorder(), r, passOn)); got != http.StatusTooEarly {
		t.Errorf("enforce: got %d; want 425", got)
	}
	if r.Header[headerScore] != nil {
		t.Error("enforce: a forged header is left")
	}
	if _, err := m.MatchWithError(early()); status(err) != http.StatusTooEarly {
		t.Errorf("matcher: got %v; want 425", err)
	}
	h.enforce = false
	if err := h.ServeHTTP(httptest.NewRecorder(), early(), pass); err != nil {
		t.Errorf("observe: got %v; want the request to pass", err)
	}
	done := early()
	done.TLS.HandshakeComplete = true
	h.enforce = true
	if err := h.ServeHTTP(httptest.NewRecorder(), done, passOn); err != nil {
		t.Errorf("after the handshake: got %v", err)
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
	inner.app = outer.app
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

// What a preset is accused of can be said in other words; what it is worth stays.
func TestPresetKeepsItsWeight(t *testing.T) {
	for _, tc := range []struct {
		feed   Feed
		weight float64
		group  string
	}{
		{Feed{Sources: []string{"spamhaus_drop"}, Category: []string{"abuse"}}, 34, "spamhaus"},
		{Feed{Sources: []string{"ipsum"}, Name: "mine"}, 24, "lists"},
		{Feed{Sources: []string{"203.0.113.0/24"}, Name: "ipsum"}, 20, "lists"},
		{Feed{Sources: []string{"203.0.113.0/24"}, Name: "exits", Nature: []string{"tor"}}, 8, "nature"},
	} {
		l, err := tc.feed.list()
		if err != nil || l.meaning.Source.Weight != tc.weight || l.meaning.Source.Group != tc.group {
			t.Errorf("%+v: got %+v, %v; want weight %v in group %s", tc.feed, l.meaning.Source, err, tc.weight, tc.group)
		}
	}
}

// A site's own exemption holds although a matcher has looked the client up before.
func TestSiteExemptionAfterMatcher(t *testing.T) {
	h := warmHandler(t)
	var err error
	if h.exempt, err = siteExemptions([]string{"203.0.113.0/24"}); err != nil {
		t.Fatal(err)
	}
	m := &MatchIPReputation{app: h.app}
	r := prepared(t, "203.0.113.1")()
	if _, err := m.MatchWithError(r); err != nil {
		t.Fatal(err)
	}
	first := varsOf(r).visit()
	if err := h.ServeHTTP(httptest.NewRecorder(), r, passOn); err != nil {
		t.Fatal(err)
	}
	if got := r.Header.Get("X-IP-Reputation-Status"); got != "exempt" || varsOf(r).visit() != first {
		t.Errorf("got status %q, the same visit: %t", got, varsOf(r).visit() == first)
	}
}

// Two providers of one service are one witness.
func TestTwoProvidersOfOneServiceShareAGroup(t *testing.T) {
	service := benchService{}
	for _, name := range []string{"one", "two"} {
		source, err := (&Provider{}).source(name, service.Profile())
		if err != nil || source.Name != name || source.Group != "bench" {
			t.Errorf("got %+v, %v", source, err)
		}
	}
}
