package crowdsec

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// serve answers on a listener until the test ends.
func serve(t *testing.T, listener net.Listener, handler http.HandlerFunc) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	if listener != nil {
		server.Listener.Close()
		server.Listener = listener
	}
	server.Start()
	t.Cleanup(server.Close)
}

func TestSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, listener, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/decisions/stream" || r.Header.Get("X-Api-Key") != "secret" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, `{"new":[{"id":1,"type":"ban","scope":"Ip","value":"203.0.113.1","duration":"1h","origin":"cscli"}],"deleted":null}`)
	})
	b := real(t, func(c *Config, _ *feed.Spec) { c.URL = path })
	b.pulled(new(state))
	b.check("203.0.113.1", "cscli ban abuse")
}

// A redirect is not followed, so that the key goes to one host only, and an API may be below a path.
func TestPathAndRedirect(t *testing.T) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}))
	t.Cleanup(server.Close)
	b := real(t, func(c *Config, _ *feed.Spec) { c.URL = server.URL + "/crowd" })
	if err := b.pull(t.Context(), new(state)); err == nil || !strings.Contains(err.Error(), "not followed") {
		t.Errorf("error %v", err)
	}
	if len(asked) != 1 || asked[0] != "/crowd/v1/decisions/stream" {
		t.Errorf("asked %v", asked)
	}
}

// An answer may take any time, as long as something comes; it ends when nothing does, or too much.
func TestPatientBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		read, write := io.Pipe()
		context.AfterFunc(ctx, func() { write.CloseWithError(ctx.Err()) }) // as a transport does
		body := newPatientBody(ctx, cancel, read)
		defer body.stop()
		go func() {
			for range 100 {
				time.Sleep(idleTimeout - time.Second)
				_, _ = io.WriteString(write, "x")
			}
		}()
		began := time.Now()
		text, err := io.ReadAll(body)
		if len(text) != 100 || !errors.Is(err, errIdle) {
			t.Errorf("%d bytes, %v", len(text), err)
		}
		if took := time.Since(began); took < 100*(idleTimeout-time.Second) || took > 101*idleTimeout {
			t.Errorf("it took %s", took)
		}
	})
	long := newPatientBody(t.Context(), func(error) {}, endless{})
	defer long.stop()
	long.unread = 1 << 20
	if _, err := io.Copy(io.Discard, long); !errors.Is(err, errTooLong) {
		t.Errorf("error %v", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// What the network says is told without what differs each time, and without the URL.
func TestPlain(t *testing.T) {
	b := real(t, func(c *Config, _ *feed.Spec) { c.URL = "http://127.0.0.1:9" })
	err := b.pull(t.Context(), new(state))
	if err == nil || err.Error() != "dial 127.0.0.1:9: connect: connection refused" {
		t.Errorf("error %v", err)
	}
}

// TestForeignCertificate: whoever is in the way writes what he likes into a certificate. It must not reach the log.
func TestForeignCertificate(t *testing.T) {
	b := real(t, func(c *Config, _ *feed.Spec) { c.URL = testenv.ForeignCertificate(t) })
	err := b.pull(t.Context(), new(state))
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Fatalf("the error is %v", err)
	}
	for ; err != nil; err = errors.Unwrap(err) { // as what collects errors does
		testenv.WantLine(t, err.Error())
	}
}
