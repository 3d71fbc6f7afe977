package e2e_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

func init() {
	caddy.RegisterModule(failingApp{})
	caddy.RegisterModule(failingLoader{})
}

// failingApp is an app that cannot start.
type failingApp struct{}

func (failingApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ip_reputation_test_fails", New: func() caddy.Module { return new(failingApp) }}
}
func (failingApp) Start() error { return errors.New("this app never starts") }
func (failingApp) Stop() error  { return nil }

// failingLoader is asked for a configuration when all apps have started. Caddy then releases them without stopping them.
type failingLoader struct{}

func (failingLoader) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.config_loaders.ip_reputation_test_fails", New: func() caddy.Module { return new(failingLoader) }}
}

// LoadConfig implements caddy.ConfigLoader.
func (failingLoader) LoadConfig(caddy.Context) ([]byte, error) {
	return nil, errors.New("this loader never loads")
}

// TestAReloadThatFailsLateForgetsNothing proves that after a reload which fails when our app has started, with another size of
// memory, the configuration from before serves in every respect: what is learnt and decided later is in force and on disk.
func TestAReloadThatFailsLateForgetsNothing(t *testing.T) {
	for name, spoil := range map[string]func(text string) string{
		"another app cannot start": func(text string) string {
			return strings.Replace(text, `"apps":{`, `"apps":{"ip_reputation_test_fails":{},`, 1)
		},
		"Caddy cannot finish its set-up": func(text string) string {
			return strings.Replace(text, `"config":{"persist":false}`, `"config":{"load":{"module":"ip_reputation_test_fails"}}`, 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, p, s := guarded(t, scannerClient+"\n")
			r := startCaddy(t, c)
			eventually(t, "the list is fetched", func() bool { return r.visit(t, scannerClient).status == http.StatusForbidden })
			r.visit(t, badClient)

			c.app["memory"] = 5000
			site := c.siteAddr
			c.siteAddr = testenv.FreeAddr(t) // Caddy leaves the servers of a set-up that it cannot finish
			bad := spoil(string(c.json(t)))
			c.siteAddr = site
			delete(c.app, "memory")
			for range 8 { // apps are started in any order, and ours must be before the one that fails
				if err := caddy.Load([]byte(bad), true); err == nil || !strings.Contains(err.Error(), "never") {
					t.Fatalf("loading a configuration that must fail late: %v", err)
				}
			}

			r.visit(t, shadyClient)
			if got := r.ask(t, http.MethodPost, "bans", `{"prefix":"`+deniedClient+`"}`); got.status != http.StatusCreated {
				t.Errorf("banning: status %d: %s", got.status, got.body)
			}
			if n := r.metric(t, "memory_records"); n != 3 {
				t.Errorf("the gauge shows %v records", n)
			}
			asked := s.asked()
			want := map[string]int{badClient: 403, scannerClient: 403, shadyClient: 200, deniedClient: 403}
			serves := func(when string) {
				t.Helper()
				for addr, status := range want {
					if got := r.visit(t, addr).status; got != status {
						t.Errorf("%s: %s is answered with status %d, want %d", when, addr, got, status)
					}
				}
			}
			serves("after the reload")
			r.stop(t)
			r.reload(t)
			serves("after a restart")
			if p.fetches() != 1 || s.asked() != asked {
				t.Errorf("the list was fetched %d times, the provider asked %d times again", p.fetches(), s.asked()-asked)
			}
		})
	}
}

// TestAStopThatWaitsForConnectionsLosesNothing proves that what was learnt is on disk at the first sign of stopping: with one
// endless response and no grace period, Caddy waits until it is killed.
func TestAStopThatWaitsForConnectionsLosesNothing(t *testing.T) {
	release := make(chan struct{})
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "event: endless\n\n")
		_ = http.NewResponseController(w).Flush()
		<-release
	}))
	defer endless.Close()
	defer close(release)
	s := startStandIn(t)
	s.know(badClient, 100, 60)
	c := newConfig(t)
	c.ask(s)
	c.next = []any{object{
		"handler": "reverse_proxy", "flush_interval": -1,
		"upstreams": []any{object{"dial": strings.TrimPrefix(endless.URL, "http://")}},
	}}
	p := startProcess(t, c)
	p.visit(t, badClient)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.site, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()

	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(c.dataDir, "caddy", "ip_reputation", "memory.bin")
	eventually(t, "the memory is on disk while Caddy waits for its connections", func() bool {
		_, err := os.Stat(file)
		return err == nil
	})
	p.end(os.Kill)

	again := startProcess(t, c)
	if got := again.visit(t, badClient).status; got != http.StatusForbidden || s.asked(badClient) != 1 {
		t.Errorf("after the restart: status %d, asked %d times", got, s.asked(badClient))
	}
}
