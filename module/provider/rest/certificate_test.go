package rest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Whoever is in the way writes what he likes into a certificate. It must not reach a log or a terminal as it is.
func TestForeignCertificate(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"\x1b[2J\r\nERROR all is well", strings.Repeat("x", 10_000)},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{raw}, PrivateKey: key}}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	s := open(t, strings.Replace(server.URL, "127.0.0.1", "localhost", 1), nil)
	_, err = s.Check(t.Context(), reputation.Query{Addr: asked, Key: "s3cr3t-k3y"})
	if err == nil || reputation.ResultOf(err) != reputation.ResultError || !strings.Contains(err.Error(), "certificate") {
		t.Fatalf("the error is %v", err)
	}
	if text := err.Error(); len(text) > 300 || strings.ContainsAny(text, "\x1b\r\n") {
		t.Errorf("the error has %d bytes: %.400q", len(text), text)
	}
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
