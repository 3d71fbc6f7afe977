package e2e_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// procession is visitors who keep coming: one who is always the same, one whom the provider reports, and new ones.
type procession struct {
	stop   chan struct{}
	done   sync.WaitGroup
	visits atomic.Int64
	wrong  sync.Map // what went wrong

	mu      sync.Mutex
	refused []time.Duration // how long the visits took of who is refused by what is known, and needs nobody's answer
	others  []time.Duration
}

// visitors lets visitors come until the test ends, or rest is called. Each looks whether it is answered as it should be.
func (r *running) visitors(t *testing.T) *procession {
	t.Helper()
	v := &procession{stop: make(chan struct{})}
	for n := range 4 {
		v.done.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-v.stop:
					return
				case <-time.After(10 * time.Millisecond):
				}
				client, want := fmt.Sprintf("2001:db8:%x:%x::1", n, i), http.StatusOK
				switch i % 4 {
				case 0:
					client = "198.51.100.1"
				case 1:
					client, want = badClient, http.StatusForbidden
				}
				start := time.Now()
				if got := r.visit(t, client); got.status != want {
					v.wrong.Store(fmt.Sprintf("%s is answered with %d", client, got.status), true)
				}
				v.note(client, time.Since(start))
			}
		})
	}
	t.Cleanup(v.rest)
	return v
}

func (v *procession) note(client string, took time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if client == badClient {
		v.refused = append(v.refused, took)
	} else {
		v.others = append(v.others, took)
	}
	v.visits.Add(1)
}

func (v *procession) rest() {
	select {
	case <-v.stop:
	default:
		close(v.stop)
	}
	v.done.Wait()
}

// report says how it went since the last report, and what went wrong. Visitors may wait 25 ms. That they wait no longer is seen
// by comparison, since all are slow on a machine that is busy.
func (v *procession) report(t *testing.T, when string) {
	t.Helper()
	v.mu.Lock()
	refused, others := median(v.refused), median(v.others)
	t.Logf("%s: %d visits, half of them took up to %s", when, len(v.refused)+len(v.others), others.Round(100*time.Microsecond))
	v.refused, v.others = nil, nil
	v.mu.Unlock()
	if others > refused+150*time.Millisecond { // Redis may take 250 ms
		t.Errorf("%s: visitors wait %s", when, others-refused)
	}
	if refused > time.Second { // a database may take longer, for whoever would wait for it
		t.Errorf("%s: who is refused waits %s", when, refused)
	}
	v.wrong.Range(func(what, _ any) bool {
		t.Errorf("%s: %v", when, what)
		return true
	})
}

// median returns what half of the durations do not exceed, 0 of none.
func median(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

// TestRedisFails proves promise 1 for the memory that instances share: whatever becomes of it, each visitor is answered as
// before, the metrics say what is so, and sharing resumes by itself.
func TestRedisFails(t *testing.T) {
	type fault struct {
		name       string
		begin, end func(*testenv.RedisServer, *testenv.Link)
		result     string // as which it is counted; empty where it does not take Redis away
	}
	const user, password = "caddy", "password-of-redis"
	rules := []string{"+@read", "+@write", "+@scripting", "+@connection", "+@pubsub", "+time", "~iprep:*", "&iprep:*"}
	heal := func(_ *testenv.RedisServer, l *testenv.Link) { l.Heal() }
	faults := []fault{
		{name: "killed", result: "unreachable", begin: func(s *testenv.RedisServer, _ *testenv.Link) { s.Stop() },
			end: func(s *testenv.RedisServer, _ *testenv.Link) { s.Start(); s.ACL(user, password, rules...) }},
		{name: "stopped dead", result: "timeout", begin: func(s *testenv.RedisServer, _ *testenv.Link) { s.Pause() },
			end: func(s *testenv.RedisServer, _ *testenv.Link) { s.Resume() }},
		{name: "black hole", result: "timeout", begin: func(_ *testenv.RedisServer, l *testenv.Link) { l.BlackHole() }, end: heal},
		{name: "500 ms late", result: "timeout", begin: func(_ *testenv.RedisServer, l *testenv.Link) { l.Latency(500 * time.Millisecond) }, end: heal},
		{name: "slow drip", result: "timeout", begin: func(_ *testenv.RedisServer, l *testenv.Link) { l.Drip(3) }, end: heal},
		{name: "connections reset", result: "unreachable", begin: func(_ *testenv.RedisServer, l *testenv.Link) { l.Reset() }, end: heal},
		{name: "refused", result: "unreachable", begin: func(_ *testenv.RedisServer, l *testenv.Link) { l.Down() }, end: heal},
		{name: "READONLY", result: "read_only", begin: func(s *testenv.RedisServer, _ *testenv.Link) { s.CLI("REPLICAOF", "127.0.0.1", "1") },
			end: func(s *testenv.RedisServer, _ *testenv.Link) { s.CLI("REPLICAOF", "NO", "ONE") }},
		{name: "OOM", result: "full", begin: func(s *testenv.RedisServer, _ *testenv.Link) { s.CLI("CONFIG", "SET", "maxmemory", "1mb") },
			end: func(s *testenv.RedisServer, _ *testenv.Link) { s.CLI("CONFIG", "SET", "maxmemory", "0") }},
		{name: "NOPERM", result: "denied", begin: func(s *testenv.RedisServer, _ *testenv.Link) { s.CLI("ACL", "SETUSER", user, "-@write") },
			end: func(s *testenv.RedisServer, _ *testenv.Link) { s.ACL(user, password, rules...) }},
		{name: "WRONGPASS", result: "denied", begin: func(s *testenv.RedisServer, _ *testenv.Link) {
			s.CLI("ACL", "SETUSER", user, "resetpass", ">another")
			s.CLI("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		}, end: func(s *testenv.RedisServer, _ *testenv.Link) {
			s.CLI("ACL", "SETUSER", user, "resetpass", ">"+password)
		}},
		{name: "FLUSHALL", begin: func(s *testenv.RedisServer, _ *testenv.Link) { s.CLI("FLUSHALL") },
			end: func(*testenv.RedisServer, *testenv.Link) {}},
	}
	s := startStandIn(t)
	s.know(badClient, 100, 60)
	server := testenv.Redis(t)
	server.ACL(user, password, rules...)
	link := testenv.Proxy(t, server.Addr)
	t.Setenv("IP_REPUTATION_TEST_REDIS_PASSWORD", password)
	c := newConfig(t)
	c.ask(s)
	c.app["wait"] = "25ms"
	provider := c.app["providers"].([]any)[0].(object)
	provider["concurrency"], provider["quota"] = 50, []any{"1000000/day"} // visitors are many, the longer the more
	c.share(link.Addr, object{"username": user, "password": object{"value": "{env.IP_REPUTATION_TEST_REDIS_PASSWORD}"}, "timeout": "250ms"})
	c.handler["rules"] = []any{rule("block", object{"score": "85"}), object{"action": "limit", "limit": "100000/1s"}}
	link.Down() // at the start, too
	r := startCaddy(t, c)
	eventually(t, "the bad client is known, without Redis", func() bool { return r.visit(t, badClient).status == http.StatusForbidden })
	v := r.visitors(t)
	eventually(t, "visitors come", func() bool { return v.visits.Load() > 200 })
	v.report(t, "down at the start")
	link.Heal()
	next := 0
	shares := func(when string) {
		t.Helper()
		r.awaitRedis(t, 1)
		next++
		client := fmt.Sprintf("198.51.100.%d", 100+next)
		eventually(t, when+": what is learnt is shared", func() bool {
			r.ask(t, http.MethodDelete, "records/"+client, "")
			r.visit(t, client)
			return server.CLI("EXISTS", "iprep:v1:{"+client+"/32}:record") == "1"
		})
	}
	shares("down at the start")
	v.report(t, "before")
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			series := `redis_requests_total{result="` + f.result + `"}`
			var counted float64
			if f.result != "" {
				counted = r.metric(t, series)
			}
			f.begin(server, link)
			if f.result != "" {
				r.awaitRedis(t, 0)
				// not always the first: a connection that is killed is unreachable before the next one is denied
				eventually(t, "it is counted as "+f.result, func() bool { return r.metric(t, series) > counted })
				status := r.ask(t, http.MethodGet, "status", "").body
				if !strings.Contains(status, "redis is away") {
					t.Errorf("the status does not say that redis is away: %s", status)
				}
			}
			before := v.visits.Load()
			eventually(t, "visitors come", func() bool { return v.visits.Load() > before+200 })
			v.report(t, "meanwhile")
			f.end(server, link)
			shares("afterwards")
			v.report(t, "afterwards")
		})
	}
	v.rest()
	if n := strings.Count(r.logs(t), "redis is away: this instance"); n == 0 || n > 3*len(faults) {
		t.Errorf("the log says %d times that redis is away", n)
	}
	wantNone(t, "the log", r.logs(t), password)
}

// TestAFailover proves that when a master dies in mid-traffic and a replica takes its place, visitors do not notice, and that
// sharing goes on with the new one.
func TestAFailover(t *testing.T) {
	for name, start := range map[string]func(*testing.T) (options object, kill func()){
		"sentinel": func(t *testing.T) (object, func()) {
			s := testenv.RedisSentinel(t)
			return object{"addresses": anys(s.Addrs), "sentinel": s.Master}, s.KillMaster
		},
		"cluster": func(t *testing.T) (object, func()) {
			c := testenv.RedisCluster(t)
			return object{"addresses": anys(c.Addrs), "cluster": true}, c.Nodes[0].Stop
		},
	} {
		t.Run(name, func(t *testing.T) {
			options, kill := start(t)
			s := startStandIn(t)
			s.know(badClient, 100, 60)
			c := newConfig(t)
			c.ask(s)
			c.app["wait"] = "25ms"
			c.share("", options)
			c.handler["rules"] = []any{rule("block", object{"score": "85"}), object{"action": "limit", "limit": "100000/1s"}}
			r := startCaddy(t, c)
			r.awaitRedis(t, 1)
			eventually(t, "the bad client is known", func() bool { return r.visit(t, badClient).status == http.StatusForbidden })
			v := r.visitors(t)
			eventually(t, "visitors come", func() bool { return v.visits.Load() > 200 })
			v.report(t, "before")
			calls := func() (ok, failed float64) {
				results := r.metrics(t, `redis_requests_total{result="`)
				for _, result := range []string{"timeout", "unreachable", "error", "read_only"} {
					failed += results[result+`"}`]
				}
				return results[`ok"}`], failed
			}
			_, before := calls()
			kill()
			eventually(t, "it is noticed", func() bool { _, failed := calls(); return failed > before })
			succeeded, failures := calls()
			eventually(t, "it shares again, without a failure", func() bool {
				ok, failed := calls()
				if failed > failures {
					succeeded, failures = ok, failed
				}
				return ok > succeeded+200 && r.metric(t, "redis_up") == 1
			})
			v.report(t, "meanwhile")
			v.rest()
		})
	}
}

func anys(list []string) (all []any) {
	for _, s := range list {
		all = append(all, s)
	}
	return all
}

// TestAForgetWhileRedisIsAway proves that what an operator lets an instance forget while Redis is away is not brought back by
// Redis or by another instance, not even after a restart.
func TestAForgetWhileRedisIsAway(t *testing.T) {
	s := startStandIn(t)
	s.know(badClient, 100, 60)
	server := testenv.Redis(t)
	link := testenv.Proxy(t, server.Addr)
	here, there := newConfig(t), newConfig(t)
	here.share(link.Addr, nil)
	there.share(server.Addr, nil)
	var instances []*process
	for _, c := range []*config{here, there} {
		c.ask(s)
		p := startProcess(t, c)
		p.awaitRedis(t, 1)
		instances = append(instances, p)
		eventually(t, "the answer is known", func() bool { return p.visit(t, badClient).status == http.StatusForbidden })
	}
	if n := s.asked(); n != 1 {
		t.Fatalf("%d calls, want 1", n)
	}
	s.know(badClient, 0, 0) // it has changed its ways
	link.Down()
	instances[0].awaitRedis(t, 0)
	got := instances[0].ask(t, http.MethodDelete, "records/"+badClient, "")
	if !strings.Contains(got.body, `"forgotten":true`) || !strings.Contains(got.body, "redis is away") {
		t.Errorf("forgetting answers %s", got.body)
	}
	instances[0].end(syscall.SIGINT)
	link.Heal()
	p := startProcess(t, here)
	p.awaitRedis(t, 1)
	for _, p := range []*process{p, instances[1]} {
		eventually(t, "it is asked about anew", func() bool { return p.visit(t, badClient).status == http.StatusOK })
	}
	if n := s.asked(); n != 2 {
		t.Errorf("%d calls, want 2", n)
	}
}

// TestNobodyWaitsForRedis proves that no request, no reload and no scrape waits for a Redis that does not answer: what they take
// is compared with what they take when it does.
func TestNobodyWaitsForRedis(t *testing.T) {
	s := startStandIn(t)
	server := testenv.Redis(t)
	link := testenv.Proxy(t, server.Addr)
	c := newConfig(t)
	c.ask(s)
	c.app["wait"] = "25ms"
	c.share(link.Addr, object{"timeout": "1s"})
	c.handler["rules"] = []any{object{"action": "limit", "limit": "1000/1s"}}
	r := startCaddy(t, c)
	r.awaitRedis(t, 1)
	for name, work := range map[string]func(int){
		"a request": func(i int) { r.visit(t, fmt.Sprintf("198.51.100.%d", i)) },
		"a reload":  func(int) { r.reload(t) },
		"a scrape":  func(int) { r.metric(t, "redis_up") },
		"a look":    func(int) { r.ask(t, http.MethodGet, "status", "") },
	} {
		typical := func(first int) time.Duration {
			var took []time.Duration
			for i := range 20 {
				start := time.Now()
				work(first + i)
				took = append(took, time.Since(start))
			}
			return median(took)
		}
		before := typical(0)
		link.BlackHole()
		if meanwhile := typical(100); meanwhile > before+500*time.Millisecond { // of the second that Redis may take
			t.Errorf("%s takes %s, and %s before", name, meanwhile, before)
		}
		link.Heal()
		r.awaitRedis(t, 1)
	}
}
