package testenv

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode"
)

// Foreign is what a server may send to harm who reads a log: a terminal obeys it, and it looks like another entry.
const Foreign = "\x1b[2JERROR all is well"

// ForeignCertificate starts an HTTPS server whose certificate nobody trusts, and which is not for the address of the
// server but for Foreign and for a name of 10,000 letters. It returns the server's URL.
func ForeignCertificate(tb testing.TB) string {
	tb.Helper()
	key, template := newKey(tb), newTemplate("foreign")
	template.DNSNames = []string{"\r\n" + Foreign, strings.Repeat("x", 10_000)}
	cert := tls.Certificate{Certificate: [][]byte{sign(tb, template, template, key, key).Raw}, PrivateKey: key}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	tb.Cleanup(server.Close)
	return strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
}

// WantLine fails the test unless a text is one line of at most 400 bytes that print.
func WantLine(tb testing.TB, text string) {
	tb.Helper()
	if len(text) > 400 || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		tb.Errorf("a text of %d bytes has what no log may hold: %.400q", len(text), text)
	}
}
