package command

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// TestConnectionsBreak proves that a command outlives a reload of Caddy, which breaks connections, and sends nothing twice
// that would act twice.
func TestConnectionsBreak(t *testing.T) {
	for _, tc := range []struct {
		method string
		breaks int64
		asked  int64
		fails  bool
	}{
		{http.MethodGet, 0, 1, false},
		{http.MethodGet, 1, 2, false},
		{http.MethodDelete, 3, 4, false},
		{http.MethodGet, 4, 4, true},
		{http.MethodPost, 1, 1, true},
	} {
		var asked atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if asked.Add(1) > tc.breaks {
				_, _ = w.Write([]byte(`{}`))
				return
			}
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			if tcp := conn.(*net.TCPConn); asked.Load()%2 == 1 {
				_ = tcp.SetLinger(0) // a reset, else an end
			}
			_ = conn.Close()
		}))
		c := &console{address: strings.TrimPrefix(server.URL, "http://")}
		_, err := c.call(tc.method, "status", nil)
		if (err != nil) != tc.fails || asked.Load() != tc.asked {
			t.Errorf("%s, %d connections break: asked %d times, want %d; error %v", tc.method, tc.breaks, asked.Load(), tc.asked, err)
		}
		server.Close()
	}
}
