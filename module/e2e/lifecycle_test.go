package e2e_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
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

// TestReloadsThatChangeMemoryHoldOneTable proves that the tables of ended configurations are freed although Caddy keeps their idle
// connections to upstreams, and with them all that their requests reach, for minutes.
func TestReloadsThatChangeMemoryHoldOneTable(t *testing.T) {
	const table = 200_000 * 48 * 3 / 2 // bytes
	s, b := startStandIn(t), startBackend(t)
	c := newConfig(t)
	c.ask(s)
	c.next = []any{proxyTo(b.Server)}
	r := startCaddy(t, c)
	used := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	r.visit(t, cleanClient)
	before := used()
	for i := range 10 {
		c.app["memory"] = 200_001 + i
		r.reload(t)
		r.visit(t, cleanClient)
	}
	eventually(t, "after ten reloads up to three tables more are in use", func() bool { return used() < before+3*table })
}

// TestTwoProcessesShareAFolder proves that a second process with the same data folder refuses whom the first refuses, says in its
// log, its status and its health that it works from memory, writes nothing, and takes the folder over when the first ends: with
// all bans of both, all calls that both have made, and what both have learnt.
func TestTwoProcessesShareAFolder(t *testing.T) {
	c, p, s := guarded(t, scannerClient+"\n")
	first := startProcess(t, c)
	eventually(t, "the list is fetched", func() bool { return first.visit(t, scannerClient).status == http.StatusForbidden })
	first.visit(t, badClient)
	ban := func(p *process, client string) string {
		t.Helper()
		got := p.ask(t, http.MethodPost, "bans", `{"prefix":"`+client+`"}`)
		if got.status != http.StatusCreated {
			t.Fatalf("banning: status %d: %s", got.status, got.body)
		}
		return got.body
	}
	ban(first, deniedClient)

	other := *c
	other.adminAddr, other.siteAddr = testenv.FreeAddr(t), testenv.FreeAddr(t)
	other.logFile = filepath.Join(t.TempDir(), "log")
	second := startProcess(t, &other)
	const (
		bannedBySecond = "198.51.100.41"
		bannedByFirst  = "198.51.100.42"
	)
	for client, want := range map[string]int{scannerClient: 403, deniedClient: 403, cleanClient: 200} {
		if got := second.visit(t, client).status; got != want {
			t.Errorf("the second answers %s with status %d, want %d", client, got, want)
		}
	}
	if got := second.ask(t, http.MethodGet, "status", "").body; !strings.Contains(got, `"folder_in_use"`) || !strings.Contains(got, "process ") {
		t.Errorf("the second's status does not say who uses the folder: %s", got)
	}
	if log := second.logs(t); !strings.Contains(log, "another process uses the data folder") {
		t.Error("the second's log does not say that another process uses the folder")
	}
	if got := first.ask(t, http.MethodGet, "status", "").body; strings.Contains(got, "folder_") {
		t.Errorf("the first's status warns of its own folder: %s", got)
	}
	if got := ban(second, bannedBySecond); !strings.Contains(got, "not on disk") {
		t.Errorf("the second does not say that its ban is not on disk: %s", got)
	}
	ban(first, bannedByFirst)
	first.end(os.Interrupt)

	eventually(t, "the second has the folder", func() bool {
		return !strings.Contains(second.ask(t, http.MethodGet, "status", "").body, "folder_in_use")
	})
	for _, client := range []string{deniedClient, bannedByFirst, bannedBySecond, badClient} {
		if got := second.visit(t, client).status; got != http.StatusForbidden {
			t.Errorf("the second answers %s with status %d, now that it has the folder", client, got)
		}
	}
	second.end(os.Interrupt)

	third := startProcess(t, c)
	for _, client := range []string{scannerClient, deniedClient, bannedByFirst, bannedBySecond, badClient} {
		if got := third.visit(t, client).status; got != http.StatusForbidden {
			t.Errorf("after a restart %s is answered with status %d", client, got)
		}
	}
	third.visit(t, cleanClient)
	if left := third.metric(t, `provider_quota_remaining{provider="abuseipdb",window="day"}`); left != float64(1000-s.asked()) {
		t.Errorf("%v calls are left after %d", left, s.asked())
	}
	if bad, clean := s.asked(badClient), s.asked(cleanClient); bad != 1 || clean != 1 || p.fetches() != 1 {
		t.Errorf("the provider was asked %d and %d times about two clients, the list fetched %d times", bad, clean, p.fetches())
	}
}

// TestACheckWritesNothing proves that `caddy validate` leaves the data folder as it is, also a file in it that is damaged: a Caddy
// that runs may be using it.
func TestACheckWritesNothing(t *testing.T) {
	c := newConfig(t)
	c.ask(startStandIn(t))
	folder := filepath.Join(c.dataDir, "caddy", "ip_reputation")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bans.json", "quota.json", "memory.bin"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte("damaged"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := filepath.Join(t.TempDir(), "caddy.json")
	if err := os.WriteFile(config, c.json(t), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := c.caddyCommand(t, "validate", "--config", config).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	files, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if file.IsDir() {
			continue // feeds, which is made
		}
		if text, err := os.ReadFile(filepath.Join(folder, file.Name())); err != nil || string(text) != "damaged" {
			t.Errorf("the check has written %s: %q, %v", file.Name(), text, err)
		}
	}
}
