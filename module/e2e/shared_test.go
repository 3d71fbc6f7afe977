package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// share lets the configuration share a Redis, which has as much time for an answer as can be given.
func (c *config) share(addr string, options object) {
	settings := object{"timeout": "1s"}
	if addr != "" {
		settings["addresses"] = []any{addr}
	}
	for name, value := range options {
		settings[name] = value
	}
	c.app["redis"] = settings
}

// fleet starts instances of Caddy, each a process with its own data folder, that share a Redis. The change is made to each
// configuration.
func fleet(t *testing.T, n int, redis string, s *standIn, change func(*config)) []*process {
	t.Helper()
	instances := make([]*process, n)
	for i := range instances {
		c := newConfig(t)
		c.ask(s)
		c.share(redis, nil)
		c.next = []any{object{"handler": "static_response", "body": "{http.ip_reputation.status} {http.ip_reputation.score}"}}
		if change != nil {
			change(c)
		}
		instances[i] = startProcess(t, c)
	}
	for _, p := range instances {
		p.awaitRedis(t, 1)
	}
	return instances
}

// awaitRedis waits until the instance says that Redis is up, or away.
func (r *running) awaitRedis(tb testing.TB, up float64) {
	tb.Helper()
	line := fmt.Sprintf("caddy_ip_reputation_redis_up %v", up)
	eventually(tb, line, func() bool { // there is no such series before the app has started
		metrics := send(tb, http.MethodGet, r.admin+"/metrics", "", nil).body
		return slices.Contains(strings.Split(metrics, "\n"), line)
	})
}

// crowd sends requests to all instances in turn, so many at a time, and returns how many were answered with which status and
// body.
func crowd(t *testing.T, instances []*process, requests, atOnce int, client func(int) string) map[string]int {
	t.Helper()
	answers := map[string]int{}
	var mu sync.Mutex
	var next atomic.Int64
	var all sync.WaitGroup
	for range atOnce {
		all.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= requests {
					return
				}
				got := instances[i%len(instances)].visit(t, client(i))
				mu.Lock()
				answers[fmt.Sprintf("%d %s", got.status, ownBody(got))]++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return answers
}

// TestOneCallForAll proves that an address is asked about once, however many instances are asked for it at the same time, and
// that who comes later takes the answer out of the shared memory.
func TestOneCallForAll(t *testing.T) {
	s, knowing, release := startGated(t)
	knowing.know(badClient, 100, 60)
	redis := testenv.Redis(t)
	instances := fleet(t, 3, redis.Addr, s, func(c *config) {
		c.app["wait"] = "10s" // longer than it takes, so that each request has its answer
		c.handler["mode"] = "observe"
	})
	go func() {
		for s.asked() == 0 {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second) // so that all requests are there while one instance is asking
		release()
	}()
	answers := crowd(t, instances, 1500, 1500, func(int) string { return badClient })
	if len(answers) != 1 || answers["200 fresh 88"] != 1500 {
		t.Errorf("1500 requests are answered with %v", answers)
	}
	if n := s.asked(); n != 1 {
		t.Errorf("%d calls about one address, want 1", n)
	}

	late := fleet(t, 1, redis.Addr, s, func(c *config) { c.handler["mode"] = "observe" })[0]
	if got := late.visit(t, badClient); got.body != "fresh 88" {
		t.Errorf("an instance that was not there answers %q", got.body)
	}
	if n := late.metric(t, `lookups_total{origin="redis"}`); n != 1 || s.asked() != 1 {
		t.Errorf("%v look-ups were answered by redis, want 1, with %d calls", n, s.asked())
	}
	if got := late.ask(t, http.MethodGet, "check/"+badClient, ""); !strings.Contains(got.body, `"abuseipdb"`) {
		t.Errorf("it does not explain it: %s", got.body)
	}
}

// TestOneQuotaForAll proves that instances together make exactly as many calls as the plan includes.
func TestOneQuotaForAll(t *testing.T) {
	s := startStandIn(t)
	redis := testenv.Redis(t)
	instances := fleet(t, 3, redis.Addr, s, func(c *config) {
		p := c.app["providers"].([]any)[0].(object)
		p["quota"], p["concurrency"] = []any{"400/month"}, 100
		p["burst"], p["network_share"] = 1, 1 // clients of one network, who come at once
		c.app["spend"] = "first_come"         // to the last call
	})
	client := func(i int) string { return fmt.Sprintf("2001:db8:1:%x::1", i) }
	for round := 0; round == 0 || s.asked() < 400; round++ {
		if round == 10 {
			t.Fatalf("%d calls after 20000 requests", s.asked())
		}
		crowd(t, instances, 2000, 64, client)
	}
	crowd(t, instances, 400, 64, func(i int) string { return client(2000 + i) })
	if n := s.asked(); n != 400 {
		t.Errorf("%d calls, want 400", n)
	}
	for i, p := range instances {
		if left := p.metric(t, remaining); left != 0 {
			t.Errorf("instance %d says that %v calls are left", i, left)
		}
	}
}

// TestWhoCannotBeAskedAboutCostsNothing proves that with the quota spent, an address costs one look into Redis, whatever the
// number of its requests, and no claim; and that what another instance has learnt is found by it.
func TestWhoCannotBeAskedAboutCostsNothing(t *testing.T) {
	s := startStandIn(t)
	s.know(badClient, 100, 60)
	redis := testenv.Redis(t)
	instances := fleet(t, 2, redis.Addr, s, func(c *config) {
		c.app["providers"].([]any)[0].(object)["quota"] = []any{"1/month"}
		c.handler["mode"] = "observe"
	})
	if got := instances[0].visit(t, badClient); got.body != "fresh 88" {
		t.Fatalf("the only call has the answer %q", got.body)
	}
	instances[1].visit(t, "198.51.100.99") // it learns that the quota is spent
	commands := func(name string) (n int) {
		_, stats, _ := strings.Cut(redis.CLI("INFO", "commandstats"), "cmdstat_"+name+":calls=")
		_, _ = fmt.Sscan(strings.SplitN(stats, ",", 2)[0], &n)
		return n
	}
	const subjects, requests = 50, 20
	looks, scripts := commands("eval"), commands("evalsha")
	answers := crowd(t, instances[1:], subjects*requests, 8, func(i int) string { return fmt.Sprintf("198.51.%d.1", i%subjects) })
	if answers["200 unknown "] != subjects*requests {
		t.Errorf("answers: %v", answers)
	}
	if n := commands("eval") - looks; n != subjects {
		t.Errorf("%d looks into Redis for %d addresses", n, subjects)
	}
	if n := commands("evalsha") - scripts; n > subjects/2 { // probes, and counts for the metrics
		t.Errorf("%d scripts for %d addresses about which nobody may be asked", n, subjects)
	}
	if got := instances[1].visit(t, badClient); got.body != "fresh 88" || s.asked() != 1 {
		t.Errorf("what the other has learnt is %q, after %d calls", got.body, s.asked())
	}
}

// TestOneWordForAll proves that what an operator says to one instance all obey, and that neither a server that loses
// everything nor an instance that was off brings back what was undone.
func TestOneWordForAll(t *testing.T) {
	s := startStandIn(t)
	s.know(badClient, 100, 60)
	redis := testenv.Redis(t)
	instances := fleet(t, 3, redis.Addr, s, nil)
	a, b, c := instances[0], instances[1], instances[2]
	slow := 0
	obey := func(what, client string, status int, all ...*process) {
		t.Helper()
		start := time.Now()
		for _, p := range all {
			eventually(t, what, func() bool { return p.visit(t, client).status == status })
		}
		took := time.Since(start)
		t.Logf("%s: everywhere after %s", what, took.Round(time.Millisecond))
		if took > 2*time.Second {
			slow++
		}
	}
	const client = "198.51.100.5"
	a.ask(t, http.MethodPost, "bans", `{"prefix": "`+client+`", "ttl": "1h", "reason": "scanning"}`)
	obey("a ban", client, http.StatusForbidden, instances...)
	if got := c.ask(t, http.MethodGet, "bans/"+client, ""); !strings.Contains(got.body, "scanning") {
		t.Errorf("another instance says of the ban: %s", got.body)
	}
	b.ask(t, http.MethodPost, "exemptions", `{"prefix": "`+badClient+`"}`)
	obey("an exemption", badClient, http.StatusOK, instances...)
	b.ask(t, http.MethodDelete, "exemptions/"+badClient, "")
	obey("the end of an exemption", badClient, http.StatusForbidden, instances...)

	redis.CLI("FLUSHALL")
	a.ask(t, http.MethodPost, "bans", `{"prefix": "198.51.100.6"}`)
	obey("a ban after a flush", "198.51.100.6", http.StatusForbidden, instances...)
	// A message takes milliseconds. Without any, each but the first would take 5 s: all read the revision so often.
	if slow > 1 {
		t.Errorf("%d of four changes are obeyed after seconds", slow)
	}
	eventually(t, "the bans are in redis again", func() bool {
		return redis.CLI("HEXISTS", "iprep:v1:{bans}:notes", "ban 198.51.100.5/32") == "1"
	})

	c.end(os.Interrupt)
	b.ask(t, http.MethodDelete, "bans/"+client, "")
	redis.CLI("FLUSHALL")
	c = startProcess(t, c.config)
	obey("the end of a ban that it missed", client, http.StatusOK, a, b, c)

	knows := func(p *process) bool {
		return strings.Contains(p.ask(t, http.MethodGet, "check/"+badClient, "").body, `"fetched"`)
	}
	for _, p := range []*process{a, b, c} {
		p.visit(t, badClient)
		eventually(t, "it is known everywhere", func() bool { return knows(p) })
	}
	calls := s.asked(badClient)
	a.ask(t, http.MethodDelete, "records/"+badClient, "")
	eventually(t, "all have forgotten", func() bool {
		return !knows(b) && !knows(c)
	})
	crowd(t, []*process{a, b, c}, 30, 30, func(int) string { return badClient })
	if n := s.asked(badClient) - calls; n != 1 {
		t.Errorf("%d calls about a forgotten address, want 1", n)
	}
}

// TestOneLimitForAll proves that a limit lets as many requests through as it says, whichever instances they come to, and two
// for each instance that it has not counted yet. The others get 429.
func TestOneLimitForAll(t *testing.T) {
	s := startStandIn(t)
	s.know(badClient, 100, 60)
	redis := testenv.Redis(t)
	instances := fleet(t, 3, redis.Addr, s, func(c *config) {
		c.app["wait"] = "10s"
		c.handler["rules"] = []any{object{"action": "limit", "limit": "10/1h", "score": "50"}, object{"action": "limit", "limit": "100000/1s"}}
		c.next = []any{object{"handler": "static_response", "body": "through"}}
	})
	answers := crowd(t, instances, 200, 64, func(int) string { return badClient })
	if n := answers["200 through"]; n < 10 || n > 10+2*3 || answers["429 "] != 200-n {
		t.Errorf("200 requests are answered with %v, want 10 let through", answers)
	}
	if answers := crowd(t, instances, 200, 64, func(int) string { return "198.51.100.9" }); answers["200 through"] != 200 {
		t.Errorf("requests of somebody else are answered with %v", answers)
	}
	if keys := redis.CLI("KEYS", "iprep:v1:limit:*:"+badClient); keys == "" {
		t.Error("redis does not know of the limit")
	}
}

// TestAWholeFleetStops proves that one Redis and many instances come and go in any order without a word to visitors.
func TestAWholeFleetStops(t *testing.T) {
	s := startStandIn(t)
	s.know(badClient, 100, 60)
	redis := testenv.Redis(t)
	redis.Stop()
	c := newConfig(t)
	c.ask(s)
	c.share(redis.Addr, nil)
	p := startProcess(t, c)
	if got := p.visit(t, badClient); got.status != http.StatusForbidden {
		t.Errorf("without redis, a bad client is answered with %d", got.status)
	}
	if up := p.metric(t, "redis_up"); up != 0 {
		t.Errorf("redis_up is %v while it is not there", up)
	}
	redis.Start()
	p.awaitRedis(t, 1)
	p.visit(t, "198.51.100.77")
	eventually(t, "what is learnt is shared", func() bool { return redis.CLI("EXISTS", "iprep:v1:{198.51.100.77/32}:record") == "1" })
	p.end(os.Interrupt)
	if strings.Contains(p.logs(t), "panic") {
		t.Errorf("the log speaks of a panic:\n%s", p.logs(t))
	}
}

// TestReloadsShareOneConnection proves promise 6 for what instances share: a reload opens and forgets nothing, also with a
// password that is read from a file.
func TestReloadsShareOneConnection(t *testing.T) {
	redis := testenv.Redis(t)
	redis.ACL("caddy", "password-of-monday", "+@read", "+@write", "+@scripting", "+@connection", "+@pubsub", "+time", "~iprep:*", "&iprep:*")
	s := startStandIn(t)
	c := newConfig(t)
	c.ask(s)
	secret := filepath.Join(c.dataDir, "secret")
	write := func(password string) {
		t.Helper()
		if err := os.WriteFile(secret, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("password-of-monday")
	c.share(redis.Addr, object{"username": "caddy", "password": object{"value": "{file." + secret + "}"}})
	c.handler["rules"] = []any{object{"action": "limit", "limit": "3/1h"}}
	r := startCaddy(t, c)
	r.awaitRedis(t, 1)
	r.visit(t, "198.51.100.1")
	r.visit(t, "198.51.100.1")
	for range 20 {
		r.reload(t)
	}
	most := 10*runtime.GOMAXPROCS(0) + 10 // of one client; twenty would have sixty at least
	eventually(t, "no reload leaves a connection behind", func() bool {
		return strings.Count(redis.CLI("CLIENT", "LIST"), "name=caddy-ip-reputation") < most
	})
	r.visit(t, "198.51.100.1")
	if got := r.visit(t, "198.51.100.1"); got.status != http.StatusTooManyRequests {
		t.Errorf("after reloads, the fourth of three requests is answered with %d", got.status)
	}
	if n := s.asked(); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}

	write("password-of-tuesday")
	redis.CLI("ACL", "SETUSER", "caddy", "resetpass", ">password-of-tuesday")
	redis.CLI("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	for i := range 10 {
		r.visit(t, fmt.Sprintf("198.51.%d.1", 10+i)) // of many networks: each has a share of the quota
	}
	r.awaitRedis(t, 1)
	eventually(t, "it shares with the new password", func() bool {
		r.visit(t, "198.51.30.1")
		return redis.CLI("EXISTS", "iprep:v1:{198.51.30.1/32}:record") == "1"
	})
	config := send(t, http.MethodGet, r.admin+"/config/", "", nil).body
	for where, text := range map[string]string{"the log": r.logs(t), "/config": config} {
		wantNone(t, where, text, "password-of-")
	}
}

// TestOneFetchForAll proves that instances that start with empty folders ask a publisher once for all of them, that a later
// one has the list though the publisher is gone, and that without Redis each fetches by itself.
func TestOneFetchForAll(t *testing.T) {
	s := startStandIn(t)
	redis := testenv.Redis(t)
	p := startPublisher(t, scannerClient+"\n")
	listed := func(c *config) {
		c.app["feeds"] = []any{object{"name": "published", "sources": []any{p.URL + "/list"}, "category": []any{"malware"}}}
		c.handler["rules"] = []any{rule("block", object{"category": []any{"malware"}})}
	}
	blocks := func(instances []*process) {
		t.Helper()
		for i, r := range instances {
			eventually(t, fmt.Sprintf("instance %d has the list", i), func() bool {
				return r.visit(t, scannerClient).status == http.StatusForbidden
			})
		}
	}
	blocks(fleet(t, 3, redis.Addr, s, listed))
	if n := p.fetches(); n != 1 {
		t.Errorf("the list was fetched %d times, want once", n)
	}
	p.behave(http.StatusBadGateway)
	blocks(fleet(t, 1, redis.Addr, s, listed))
	redis.Stop()
	p.behave(0)
	alone := newConfig(t)
	alone.share(redis.Addr, nil)
	listed(alone)
	blocks([]*process{startProcess(t, alone)})
	if n := p.fetches(); n != 2 {
		t.Errorf("without redis the list was fetched %d times in all, want twice", n)
	}
}
