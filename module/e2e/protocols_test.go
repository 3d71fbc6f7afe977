package e2e_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/quic-go/quic-go/http3"
)

// TestEveryProtocol proves that what holds over HTTP/1.1 holds over TLS, HTTP/2 and HTTP/3.
func TestEveryProtocol(t *testing.T) {
	b := startBackend(t)
	c := forgedConfig(t, b)
	trust := c.secure(t)
	startCaddy(t, c)

	h1 := &http.Transport{TLSClientConfig: trust.Clone()}
	h2 := &http.Transport{TLSClientConfig: trust.Clone(), ForceAttemptHTTP2: true}
	h3 := &http3.Transport{TLSClientConfig: trust.Clone()}
	t.Cleanup(func() {
		h1.CloseIdleConnections()
		h2.CloseIdleConnections()
		_ = h3.Close()
	})
	for _, protocol := range []struct {
		name      string
		transport http.RoundTripper
		trailer   http.Header
	}{
		{"HTTP/1.1", h1, http.Header{"X-Checksum": {"1234"}}},
		{"HTTP/2.0", h2, http.Header{"X-Checksum": {"1234"}}},
		{"HTTP/3.0", h3, http.Header{"X-Checksum": nil}}, // the library does not read the trailers of requests
	} {
		client := &http.Client{Transport: protocol.transport, Timeout: 30 * time.Second}
		for _, tc := range ways {
			t.Run(protocol.name+" "+tc.name, func(t *testing.T) {
				req, err := http.NewRequestWithContext(t.Context(), tc.method, "https://"+c.siteAddr+tc.path, nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("X-Forwarded-For", tc.client)
				forge(req)
				resp, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if resp.Proto != protocol.name {
					t.Fatalf("spoke %s", resp.Proto)
				}
				got := b.only(t)
				wantTold(t, got, tc.told)
				if id := got.header["X-Request-Id"]; len(id) != 1 || len(id[0]) != 32 || id[0] != resp.Header.Get("X-Request-Id") {
					t.Errorf("the application was given the request ID %q, the answer has %q", id, resp.Header["X-Request-Id"])
				}
				if diff := cmp.Diff(protocol.trailer, got.trailer); diff != "" {
					t.Errorf("trailers (-want +got):\n%s", diff)
				}
				if got.body != "body" {
					t.Errorf("the body arrived as %q", got.body)
				}
			})
		}
	}
}
