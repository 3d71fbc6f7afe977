package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

func init() { caddy.RegisterModule(recorder{}) }

// recorder is an event handler that notes what it is told.
type recorder struct{}

// recorded is what all recorders were told, in the order in which they were.
var recorded struct {
	mu     sync.Mutex
	events []caddy.Event
}

func (recorder) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.recorder", New: func() caddy.Module { return new(recorder) }}
}

// Handle implements caddyevents.Handler.
func (recorder) Handle(_ context.Context, e caddy.Event) error {
	recorded.mu.Lock()
	defer recorded.mu.Unlock()
	recorded.events = append(recorded.events, e)
	return nil
}

// record lets the configuration record the events of our module, and forgets what was recorded before.
func (c *config) record() {
	forgetRecorded()
	c.subscribe(object{"handler": "recorder"})
}

func forgetRecorded() {
	recorded.mu.Lock()
	defer recorded.mu.Unlock()
	recorded.events = nil
}

// subscribe hands the events of our module to a handler.
func (c *config) subscribe(handler object) {
	if c.apps == nil {
		c.apps = object{}
	}
	c.apps["events"] = object{"subscriptions": []any{object{"modules": []any{"ip_reputation"}, "handlers": []any{handler}}}}
}

// told returns the events of the given name, without the prefix, that were recorded.
func told(name string) (all []caddy.Event) {
	recorded.mu.Lock()
	defer recorded.mu.Unlock()
	for _, e := range recorded.events {
		if e.Name() == "ip_reputation_"+name {
			all = append(all, e)
		}
	}
	return all
}

// names returns the names of all events that were recorded, without the prefix.
func names() (all []string) {
	recorded.mu.Lock()
	defer recorded.mu.Unlock()
	for _, e := range recorded.events {
		all = append(all, strings.TrimPrefix(e.Name(), "ip_reputation_"))
	}
	return all
}

// wantNames waits until so many events were recorded, and compares them.
func wantNames(t *testing.T, want ...string) {
	t.Helper()
	eventually(t, "events are told", func() bool { return len(names()) >= len(want) })
	if got := names(); !slices.Equal(got, want) {
		t.Errorf("told %v, want %v", got, want)
	}
}

// wantData compares some of an event's data, whose values must be plain.
func wantData(t *testing.T, e caddy.Event, want map[string]any) {
	t.Helper()
	for name, value := range want {
		if e.Data[name] != value {
			t.Errorf("%s: %s is %v, want %v", e.Name(), name, e.Data[name], value)
		}
	}
	for name, value := range e.Data {
		switch value.(type) {
		case string, int:
		default:
			t.Errorf("%s: %s is a %T", e.Name(), name, value)
		}
	}
	if e.Origin() == nil || e.Origin().CaddyModule().ID != "ip_reputation" {
		t.Errorf("%s comes from %v", e.Name(), e.Origin())
	}
}

// someone returns the address of a client that nobody has seen.
func someone() func() string {
	n := 0
	return func() string { n++; return fmt.Sprintf("198.51.%d.1", n) }
}

// TestAProviderGoesDown proves that it is told once when a provider fails, over reloads that find it failing still, that a
// configuration which is refused changes nothing, and that it is told when it answers again.
func TestAProviderGoesDown(t *testing.T) {
	s := startStandIn(t)
	s.behave(garbage)
	c := newConfig(t)
	c.ask(s)
	c.record()
	r := startCaddy(t, c)
	next := someone()
	for range 8 {
		r.visit(t, next())
	}
	wantNames(t, "provider_down")
	wantData(t, told("provider_down")[0], map[string]any{"provider": "abuseipdb", "result": "bad_answer"})
	if _, err := time.Parse(time.RFC3339, told("provider_down")[0].Data["until"].(string)); err != nil {
		t.Error(err)
	}
	for range 3 {
		c.app["memory"] = -1
		if r.tryReload(t) == nil {
			t.Error("a wrong configuration was accepted")
		}
		delete(c.app, "memory")
		r.reload(t)
		r.visit(t, next())
	}
	wantNames(t, "provider_down")

	s.behave(nil)
	c.app["providers"].([]any)[0].(object)["service"].(object)["url"] = s.URL + "/" // another budget: it is asked at once
	r.reload(t)
	for range 3 {
		r.visit(t, next())
	}
	wantNames(t, "provider_down", "provider_up")
	wantData(t, told("provider_up")[0], map[string]any{"provider": "abuseipdb"})

	r.stop(t)
	s.behave(garbage)
	r.reload(t)
	for range 8 {
		r.visit(t, next())
	}
	wantNames(t, "provider_down", "provider_up", "provider_down")
}

// TestKeysAreRefused proves that it is told when no key is left, not while another is, and when a key is accepted again; and
// that a key which ends is told of once.
func TestKeysAreRefused(t *testing.T) {
	s := startStandIn(t)
	accept, _ := keyed(s)
	c := newConfig(t)
	c.ask(s)
	c.record()
	first, second := filepath.Join(c.dataDir, "first"), filepath.Join(c.dataDir, "second")
	write := func(file, key string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(first, "key-of-monday")
	write(second, "key-of-tuesday")
	accept("key-of-tuesday")
	c.app["providers"].([]any)[0].(object)["keys"] = []any{
		object{"value": "{file." + first + "}", "refresh": "1s", "expires": time.Now().AddDate(0, 0, 5).UTC().Format(time.DateOnly)},
		object{"value": "{file." + second + "}", "refresh": "1s"},
	}
	r := startCaddy(t, c)
	next := someone()
	for range 3 {
		r.visit(t, next())
	}
	r.reload(t)
	wantNames(t, "key_expiring")
	wantData(t, told("key_expiring")[0], map[string]any{"provider": "abuseipdb", "days": 5})
	accept("another")
	for range 5 {
		r.visit(t, next())
	}
	r.reload(t)
	r.visit(t, next())
	wantNames(t, "key_expiring", "provider_down", "key_refused", "key_refused")
	wantData(t, told("provider_down")[0], map[string]any{"provider": "abuseipdb", "result": "refused"})
	keys := map[any]bool{told("key_refused")[0].Data["key"]: true, told("key_refused")[1].Data["key"]: true}
	if len(keys) != 2 || !keys[told("key_expiring")[0].Data["key"]] {
		t.Errorf("the refused keys are %v, the one that ends is %v", keys, told("key_expiring")[0].Data["key"])
	}
	for _, e := range told("key_refused") {
		wantData(t, e, map[string]any{"provider": "abuseipdb"})
		wantNone(t, "an event", fmt.Sprint(e.Data), "key-of-", keyText)
	}
	write(first, "key-of-wednesday")
	accept("key-of-wednesday")
	eventually(t, "the provider is up", func() bool { r.visit(t, next()); return len(told("provider_up")) == 1 })
}

// TestAPlanIsUsedUp proves that a pause that a service asks for, and a quota that is spent, are told once each.
func TestAPlanIsUsedUp(t *testing.T) {
	s := startStandIn(t)
	s.behave(throttle)
	c := newConfig(t)
	c.ask(s)
	c.record()
	r := startCaddy(t, c)
	next := someone()
	for range 5 {
		r.visit(t, next())
	}
	r.reload(t)
	r.visit(t, next())
	wantNames(t, "throttled")
	wantData(t, told("throttled")[0], map[string]any{"provider": "abuseipdb"})

	s.behave(nil)
	provider := c.app["providers"].([]any)[0].(object)
	provider["service"].(object)["url"] = s.URL + "/"
	provider["quota"] = []any{"2/month", "1000/day"}
	c.dataDir, c.app["wait"] = t.TempDir(), "9s" // a ledger of its own
	c.record()
	t.Setenv("XDG_DATA_HOME", c.dataDir)
	r.reload(t)
	for range 5 {
		r.visit(t, next())
	}
	r.reload(t)
	r.visit(t, next())
	wantNames(t, "quota_spent")
	wantData(t, told("quota_spent")[0], map[string]any{"provider": "abuseipdb", "window": "2/month"})
}

// TestAFeedIsStale proves that a list which could not be fetched for a day is told of, and is an error in the log, once; and
// that it is told when it is back.
func TestAFeedIsStale(t *testing.T) {
	c, p, _ := guarded(t, "198.51.100.0/24\n")
	c.record()
	c.app["feeds"].([]any)[0].(object)["refresh"] = "6h"
	r := startCaddy(t, c)
	eventually(t, "the list is fetched", func() bool { return r.visit(t, scannerClient).status == http.StatusForbidden })
	r.stop(t)
	p.behave(http.StatusGone)
	copies, err := filepath.Glob(filepath.Join(c.dataDir, "caddy", "ip_reputation", "feeds", "published.list"))
	if err != nil || len(copies) != 1 {
		t.Fatalf("copies of the list: %v, %v", copies, err)
	}
	old := time.Now().Add(-25 * time.Hour).Truncate(time.Second)
	if err := os.Chtimes(copies[0], old, old); err != nil {
		t.Fatal(err)
	}
	r.reload(t)
	eventually(t, "the list cannot be refreshed", func() bool { return strings.Contains(r.logs(t), "a list cannot be refreshed") })
	r.reload(t)
	wantNames(t, "feed_stale")
	wantData(t, told("feed_stale")[0], map[string]any{"feed": "published", "last_success": old.UTC().Format(time.RFC3339)})
	stale := 0
	for line := range strings.SplitSeq(r.logs(t), "\n") {
		if strings.Contains(line, "a list is stale") && strings.Contains(line, `"level":"error"`) {
			stale++
		}
	}
	if stale != 1 {
		t.Errorf("%d errors in the log, want 1:\n%s", stale, r.logs(t))
	}
	p.behave(0)
	c.app["feeds"].([]any)[0].(object)["timeout"] = "29s" // its own schedule: it is fetched at once
	r.reload(t)
	eventually(t, "the feed is fresh", func() bool { return len(told("feed_fresh")) == 1 })
	wantNames(t, "feed_stale", "feed_fresh")
}

// TestRedisGoesAway proves that it is told once when Redis is away, over reloads too, and when it is back.
func TestRedisGoesAway(t *testing.T) {
	server := testenv.Redis(t)
	proxy := testenv.Proxy(t, server.Addr)
	c := newConfig(t)
	c.share(proxy.Addr, nil)
	c.record()
	r := startCaddy(t, c)
	r.awaitRedis(t, 1)
	proxy.Down()
	r.awaitRedis(t, 0)
	r.reload(t)
	wantNames(t, "redis_away")
	proxy.Heal()
	r.awaitRedis(t, 1)
	wantNames(t, "redis_away", "redis_back")
	wantData(t, told("redis_away")[0], nil)
	wantData(t, told("redis_back")[0], nil)
}

// TestABurst proves that it is told when many requests are refused in a minute, with how many, and that requests which would
// only have been refused do not count.
func TestABurst(t *testing.T) {
	events := runtime.Events // those of all configurations
	before := events.History
	events.History = 0
	t.Cleanup(func() { events.History = before })
	c := newConfig(t)
	c.app["deny"] = []any{deniedClient}
	c.record()
	c.handler["mode"] = "observe"
	r := startCaddy(t, c)
	for range 70 {
		r.visit(t, deniedClient)
	}
	c.handler["mode"] = "enforce"
	r.reload(t)
	const refused = 61 // the fewest refusals that make a burst: the event counts all of them
	for range refused {
		if got := r.visit(t, deniedClient).status; got != http.StatusForbidden {
			t.Fatalf("status %d", got)
		}
	}
	wantNames(t, "block_burst")
	wantData(t, told("block_burst")[0], map[string]any{"count": refused, "window": "1m", "block": refused, "drop": 0, "usual": 0})
}
