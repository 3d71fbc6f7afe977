package rest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Whoever is in the way writes what he likes into a certificate. It must not reach a log or a terminal as it is.
func TestForeignCertificate(t *testing.T) {
	s := open(t, testenv.ForeignCertificate(t), nil)
	_, err := s.Check(t.Context(), reputation.Query{Addr: asked, Key: "s3cr3t-k3y"})
	if err == nil || reputation.ResultOf(err) != reputation.ResultError || !strings.Contains(err.Error(), "certificate") {
		t.Fatalf("the error is %v", err)
	}
	testenv.WantLine(t, err.Error())
}

// Without a key, a 403 is about who asks.
func TestForbiddenWithoutAKey(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer server.Close()
	s := open(t, server.URL, func(s *service) { s.api.Profile.Key = reputation.KeyNone })
	_, err := s.Check(t.Context(), reputation.Query{Addr: asked})
	if err == nil || reputation.ResultOf(err) != reputation.ResultRefused || !strings.Contains(err.Error(), "there was none, status 403") {
		t.Errorf("the error is %v", err)
	}
}
