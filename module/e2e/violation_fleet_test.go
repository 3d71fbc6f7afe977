package e2e_test

import (
	"net/http"
	"os"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// guarding is a site that takes failed log-ins and two traps for violations: one that bans for a day, one for five seconds.
func guarding(c *config) {
	c.app["violations"] = []any{object{"name": "slip", "points": 5, "ban": "5s"}}
	c.app["wait"] = "1s"
	delete(c.app, "providers")
	c.handler = object{
		"mode": "enforce",
		"violations": []any{
			object{"name": "trap", "path": []any{"/.env"}},
			object{"name": "slip", "path": []any{"/slip"}},
			object{"name": "login_failed", "path": []any{"/login"}, "status": []any{"401"}},
		},
		"rules": []any{
			object{"action": "block", "score": "85"},
			object{"action": "limit", "limit": "1/1h", "score": "10"},
		},
	}
	c.next = []any{object{"handler": "subroute", "routes": []any{
		object{"match": []any{object{"path": []any{"/login"}}}, "terminal": true, "handle": []any{object{"handler": "static_response", "status_code": 401}}},
		object{"handle": []any{object{"handler": "static_response", "body": "passed"}}},
	}}}
}

// TestOwnEvidenceOfAllInstances proves that instances count failed log-ins together, that one trap bans on all of them,
// that a ban ends by itself, and that a reload, a restart and a lost Redis in between change none of it.
func TestOwnEvidenceOfAllInstances(t *testing.T) {
	redis := testenv.Redis(t)
	instances := fleet(t, 3, redis.Addr, startStandIn(t), guarding)
	a, b, c := instances[0], instances[1], instances[2]
	const guesser, scanner, slipped, late = "198.51.100.1", "198.51.100.2", "198.51.100.3", "198.51.100.4"
	everywhere := func(what, client string, status int, all ...*process) {
		t.Helper()
		for _, p := range all {
			eventually(t, what, func() bool { return p.visit(t, client).status == status })
		}
	}

	for n := 1; n <= 9; n++ { // four are free, and five cost three points each
		p := instances[n%3]
		if got := p.request(t, guesser, "/login"); got.status != 401 {
			t.Errorf("log-in %d is answered with %d", n, got.status)
		}
		if n <= 7 || n == 9 {
			continue
		}
		for _, p := range instances {
			eventually(t, "all have heard of eight failures", func() bool { return p.scoreOf(t, guesser) >= 13 })
		}
	}
	if got := b.request(t, guesser, "/login"); got.status != http.StatusTooManyRequests {
		t.Errorf("log-in 10 is answered with %d", got.status)
	}

	if got := a.request(t, scanner, "/.env"); got.status != http.StatusForbidden {
		t.Errorf("the trap is answered with %d", got.status)
	}
	everywhere("who touched the trap is banned", scanner, http.StatusForbidden, instances...)
	a.request(t, slipped, "/slip")
	everywhere("a short ban", slipped, http.StatusForbidden, b, c)
	everywhere("its end", slipped, http.StatusOK, instances...)

	score := b.scoreOf(t, guesser)
	same := func(what string) {
		t.Helper()
		everywhere(what, scanner, http.StatusForbidden, a, b, c)
		for _, p := range []*process{a, b, c} {
			if now := p.scoreOf(t, guesser); now < score-1 || now > score {
				t.Errorf("%s: the guesser has a score of %d, after %d", what, now, score)
			}
		}
	}
	redis.Stop()
	b.awaitRedis(t, 0)
	a.app["memory"] = 1000
	if got := a.load(t); got.status != http.StatusOK {
		t.Fatalf("reloading: %d %s", got.status, got.body)
	}
	c.end(os.Interrupt)
	c = startProcess(t, c.config)
	same("after a reload and a restart without Redis")
	a.request(t, late, "/.env")
	everywhere("a trap while Redis is away", late, http.StatusForbidden, a)
	redis.Start()
	everywhere("it is told when Redis is back", late, http.StatusForbidden, b, c)
	c.end(os.Kill)
	c = startProcess(t, c.config)
	same("after a restart with Redis")
}
