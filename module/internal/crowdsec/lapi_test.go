package crowdsec

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// real is a client of a real local API.
func real(t *testing.T, change func(*Config, *feed.Spec)) *bench {
	t.Helper()
	b := newBench(t, change)
	c, err := New(b.Config, b.set)
	if err != nil {
		t.Fatal(err)
	}
	b.Client = c
	t.Cleanup(c.http.CloseIdleConnections)
	b.set.Start()
	return b
}

// pulled asks once, and waits until the list shows it.
func (b *bench) pulled(s *state) {
	b.t.Helper()
	if err := b.pull(b.t.Context(), s); err != nil {
		b.t.Fatal(err)
	}
	b.shown()
}

// shown waits until the snapshot has what was pushed.
func (b *bench) shown() {
	b.t.Helper()
	shown, err := b.set.Push(b.Name, feed.Changes{Deleted: []uint64{1 << 40}})
	if err != nil {
		b.t.Fatal(err)
	}
	<-shown
}

func (b *bench) eventually(addr string, want ...string) {
	b.t.Helper()
	for range 500 {
		if got := b.meanings(addr); len(got) == len(want) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.check(addr, want...)
}

func TestLAPI(t *testing.T) {
	t.Parallel()
	api := testenv.CrowdSec(t)
	key := newKey(api.AddBouncer("caddy"))
	b := real(t, func(c *Config, _ *feed.Spec) { c.URL, c.Key = api.URL, key })
	var s state
	b.pulled(&s)
	if got := b.status(); !got.Loaded || got.Entries != 0 {
		t.Errorf("an API without decisions: %+v", got)
	}

	decide := func(args ...string) { t.Helper(); api.Cscli(append([]string{"decisions"}, args...)...) }
	decide("add", "--ip", "203.0.113.9", "--duration", "1h", "--reason", "crowdsecurity/ssh-bf")
	decide("add", "--range", "203.0.113.0/28", "--duration", "1h", "--type", "captcha")
	decide("add", "--ip", "2001:db8::9", "--duration", "1h", "--type", "throttle")
	decide("add", "--ip", "198.51.100.1", "--duration", "1h", "--type", "whitelist")
	decide("add", "--scope", "AS", "--value", "64500", "--duration", "1h")
	decide("add", "--scope", "Country", "--value", "FR", "--duration", "1h")
	decide("add", "--scope", "username", "--value", "root", "--duration", "1h")
	b.pulled(&s)
	b.check("203.0.113.9", "cscli ban bruteforce", "cscli captcha abuse")
	b.check("203.0.113.8", "cscli captcha abuse")
	b.check("2001:db8::9", "cscli throttle abuse")
	b.check("198.51.100.1")
	now := b.set.Current()
	if len(now.Named(64500, "")) != 1 || len(now.Named(0, "FR")) != 1 {
		t.Error("an autonomous system or a country is not named")
	}
	if got := b.status(); got.Ignored != 1 || !strings.Contains(got.FirstIgnored, `"whitelist"`) {
		t.Errorf("status %+v", got)
	}

	// a second ban of the same address outlives the end of the first, whatever ends it
	decide("add", "--ip", "203.0.113.9", "--duration", "1h")
	b.pulled(&s)
	api.Cscli("decisions", "delete", "--id", "1")
	b.pulled(&s)
	b.check("203.0.113.9", "cscli ban abuse", "cscli captcha abuse")
	decide("delete", "--id", "8")
	b.pulled(&s)
	b.check("203.0.113.9", "cscli captcha abuse")

	// one ends by itself, without a question
	decide("add", "--ip", "198.51.100.2", "--duration", "2s")
	b.pulled(&s)
	b.check("198.51.100.2", "cscli ban abuse")
	b.eventually("198.51.100.2")

	key.set("another")
	if err := b.pull(t.Context(), &s); err == nil || !strings.Contains(err.Error(), "cscli bouncers add") {
		t.Errorf("with another key: %v", err)
	}
	key.set("key-of-caddy")
	api.Stop()
	if err := b.pull(t.Context(), &s); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("without an API: %v", err)
	}
	b.check("203.0.113.8", "cscli captcha abuse")
	api.Start()
	decide("delete", "--all")
	b.pulled(&s)
	b.check("203.0.113.8")

	if status, err := b.report(t.Context(), b.started, time.Now()); status != http.StatusNotFound {
		t.Errorf("this API takes metrics: status %d, %v", status, err)
	}
	if list := api.Cscli("bouncers", "list", "-o", "raw"); !strings.Contains(list, "caddy-ip-reputation,v1") {
		t.Errorf("the bouncers are\n%s", list)
	}
}

// A range that was imported with the scope of an address is a range.
func TestLAPIImportsRanges(t *testing.T) {
	t.Parallel()
	api := testenv.CrowdSec(t)
	b := real(t, func(c *Config, _ *feed.Spec) { c.URL, c.Key = api.URL, newKey(api.AddBouncer("caddy")) })
	file := t.TempDir() + "/list.csv"
	if err := os.WriteFile(file, []byte("duration,scope,value\n24h,range,192.0.2.128/25\n24h,ip,192.0.2.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	api.Cscli("decisions", "import", "-i", file)
	var s state
	b.pulled(&s)
	b.check("192.0.2.200", "cscli ban abuse")
	b.check("192.0.2.1", "cscli ban abuse")
	b.check("192.0.2.2")
}

// With a certificate, the bouncer needs no key; an API behind TLS takes a key as well.
func TestLAPIOverTLS(t *testing.T) {
	t.Parallel()
	api, files := testenv.CrowdSecTLS(t)
	text, err := os.ReadFile(files.CA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	own, err := tls.LoadX509KeyPair(files.ClientCert, files.ClientKey)
	if err != nil {
		t.Fatal(err)
	}
	api.Cscli("decisions", "add", "--ip", "203.0.113.9", "--duration", "1h")
	for name, change := range map[string]func(*Config){
		"a certificate": func(c *Config) {
			c.Key, c.TLS = nil, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS12}
		},
		"a key": func(c *Config) {
			c.Key, c.TLS = newKey(api.AddBouncer("caddy")), &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
		},
	} {
		b := real(t, func(c *Config, _ *feed.Spec) {
			c.URL = api.URL
			change(c)
		})
		b.pulled(new(state))
		if b.check("203.0.113.9", "cscli ban abuse"); t.Failed() {
			t.Fatalf("with %s", name)
		}
	}
	b := real(t, func(c *Config, _ *feed.Spec) { c.URL, c.TLS = api.URL, nil })
	if err := b.pull(t.Context(), new(state)); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an authority that nobody knows: %v", err)
	}
}
