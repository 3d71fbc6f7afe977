package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRestart proves that a process which begins again has everything before its first request: the published list with its
// publisher dead, the bans, and what the provider said, so that it is not asked again.
func TestRestart(t *testing.T) {
	c, p, s := guarded(t, "198.51.100.0/24\n")

	const listedButExempt = "198.51.100.9"
	want := map[string]int{cleanClient: 200, badClient: 403, scannerClient: 403, deniedClient: 403, listedButExempt: 200}
	first := startProcess(t, c)
	eventually(t, "the list is fetched", func() bool { return first.visit(t, scannerClient).status == http.StatusForbidden })
	for path, prefix := range map[string]string{"bans": deniedClient, "exemptions": listedButExempt} {
		if got := first.ask(t, http.MethodPost, path, `{"prefix":"`+prefix+`"}`); got.status != http.StatusCreated {
			t.Fatalf("%s: status %d: %s", path, got.status, got.body)
		}
	}
	serves := func(r *running) {
		t.Helper()
		for addr, status := range want {
			if got := r.visit(t, addr).status; got != status {
				t.Errorf("%s is answered with status %d, want %d", addr, got, status)
			}
		}
	}
	serves(first.running)
	asked := s.asked()
	first.end(os.Interrupt)
	p.Close()

	second := startProcess(t, c)
	serves(second.running)
	if n := s.asked(); n != asked {
		t.Errorf("after a restart the provider was asked %d times again", n-asked)
	}
	second.end(os.Kill)

	third := startProcess(t, c) // what the second wrote was whole, or was not begun
	serves(third.running)
	third.end(os.Interrupt)
	s.Close()
	serves(startProcess(t, c).running)
}

// TestDamagedFiles proves that files which a crash or a full disk has left behind keep nobody from starting: what they held
// is lost, said in the log, and built up anew.
func TestDamagedFiles(t *testing.T) {
	for name, spoil := range map[string]func(text []byte) []byte{
		"empty":   func([]byte) []byte { return nil },
		"cut off": func(text []byte) []byte { return text[:len(text)/2] },
		"overwritten": func(text []byte) []byte {
			for i := range text {
				text[i] ^= 0xa5
			}
			return text
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, _, _ := guarded(t, "198.51.100.0/24\n")
			first := startProcess(t, c)
			eventually(t, "the list is fetched", func() bool { return first.visit(t, scannerClient).status == http.StatusForbidden })
			first.visit(t, badClient)
			first.ask(t, http.MethodPost, "bans", `{"prefix":"`+deniedClient+`"}`)
			first.end(os.Interrupt)

			spoilt := 0
			err := filepath.Walk(filepath.Join(c.dataDir, "caddy", "ip_reputation"), func(path string, info os.FileInfo, err error) error {
				if err != nil || info.IsDir() {
					return err
				}
				text, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				spoilt++
				return os.WriteFile(path, spoil(text), 0o600)
			})
			if err != nil || spoilt < 4 {
				t.Fatalf("%d files spoilt, error %v; want the list, the memory, the quota and the bans", spoilt, err)
			}
			second := startProcess(t, c)
			for _, said := range []string{
				"the copy of a list cannot be read; the list is fetched anew", "the file of bans and exemptions is damaged and is set aside",
				"quotas start from zero", "what was remembered of addresses cannot be used",
			} {
				eventually(t, "the log says: "+said, func() bool { return strings.Contains(second.logs(t), said) })
			}
			wantNone(t, "the log", second.logs(t), `"stacktrace"`)
			if got := second.visit(t, badClient).status; got != http.StatusForbidden {
				t.Errorf("a bad client is answered with status %d", got)
			}
			eventually(t, "the list is fetched again", func() bool {
				return second.visit(t, scannerClient).status == http.StatusForbidden
			})
			if got := second.ask(t, http.MethodPost, "bans", `{"prefix":"`+deniedClient+`"}`); got.status != http.StatusCreated {
				t.Errorf("banning anew: status %d: %s", got.status, got.body)
			}
			if got := second.visit(t, deniedClient).status; got != http.StatusForbidden {
				t.Errorf("a banned client is answered with status %d", got)
			}
		})
	}
}

// TestAStartNeedsNobody proves promise 1 at the start: with the publisher and the provider dead, Caddy starts and serves.
func TestAStartNeedsNobody(t *testing.T) {
	p, s := startPublisher(t, ""), startStandIn(t)
	p.Close()
	s.Close()
	b := startBackend(t)
	c := newConfig(t)
	c.ask(s)
	c.app["feeds"] = []any{object{"name": "published", "sources": []any{p.URL}}}
	c.app["deny"] = []any{deniedClient}
	c.next = []any{proxyTo(b.Server)}
	r := startCaddy(t, c)
	for i := range 3 {
		if got := r.visit(t, fmt.Sprintf("192.0.2.%d", i)).status; got != http.StatusAccepted {
			t.Errorf("status %d", got)
		}
		wantTold(t, b.only(t), map[string]string{"Status": "unknown", "Action": "pass", "Coverage": "0.00"})
	}
	if got := r.visit(t, deniedClient).status; got != http.StatusForbidden {
		t.Errorf("a denied client is answered with status %d", got)
	}
}

// TestStopAfterReload proves that what was spent and learnt is kept although, when the process ends, an earlier
// configuration is still waiting for an answer: whether both share one memory, or the new one has its own.
func TestStopAfterReload(t *testing.T) {
	for name, change := range map[string]func(*config){
		"same memory":  func(*config) {},
		"other memory": func(c *config) { c.app["memory"] = 5000 },
	} {
		t.Run(name, func(t *testing.T) {
			s := startStandIn(t)
			c := newConfig(t)
			c.ask(s)
			c.app["wait"] = "5s"
			c.app["providers"].([]any)[0].(object)["timeout"] = "60s"
			c.next = []any{object{"handler": "static_response", "body": "{http.ip_reputation.status}"}}
			p := startProcess(t, c)
			learn := func(client string) {
				t.Helper()
				if got := p.visit(t, client).body; got != "fresh" {
					t.Fatalf("visitor %s is %s", client, got)
				}
			}
			reload := func() {
				t.Helper()
				got := p.load(t)
				if got.status != http.StatusOK {
					t.Fatalf("reloading: status %d: %s", got.status, got.body)
				}
			}
			learn(badClient)
			s.behave(s.hang)
			c.app["wait"] = "0"
			reload()
			p.visit(t, cleanClient)
			eventually(t, "the provider is asked", func() bool { return s.asked(cleanClient) == 1 })
			s.behave(nil)
			change(c)
			c.app["wait"] = "5s"
			reload()
			learn(shadyClient)
			p.end(os.Interrupt)

			again := startProcess(t, c)
			for _, known := range []string{badClient, shadyClient} {
				if got := again.visit(t, known).body; got != "fresh" || s.asked(known) != 1 {
					t.Errorf("after the restart %s is %s, asked about %d times", known, got, s.asked(known))
				}
			}
			quota, err := os.ReadFile(filepath.Join(c.dataDir, "caddy", "ip_reputation", "quota.json"))
			if err != nil || !strings.Contains(string(quota), `"used": 3`) {
				t.Errorf("the quota on disk is %s, %v; want 3 calls", quota, err)
			}
		})
	}
}
