package api

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/limit"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
)

// TestABatchPassesWhenTold proves that a client that asks for much at once, is refused, and waits as long as it is told, passes.
func TestABatchPassesWhenTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limiter := limit.New(limit.NewLocal(0), nil, limit.Options{})
		defer limiter.Close()
		rt := &runtime.Runtime{Limiter: limiter}
		rule, err := apiRule("120/1m", "token")
		if err != nil {
			t.Fatal(err)
		}
		ask := func(n int) (bool, time.Duration) { // as a request with so many addresses does
			first := allow(t.Context(), rt, rule, "token", limit.Keyed("a"), 1)
			if !first.Allowed {
				return false, first.RetryAfter
			}
			rest := allow(t.Context(), rt, rule, "token", limit.Keyed("a"), n-1)
			return rest.Allowed, rest.RetryAfter
		}
		if ok, _ := ask(100); !ok {
			t.Fatal("the first is refused")
		}
		ok, wait := ask(100)
		if ok || wait < 30*time.Second || wait > time.Minute {
			t.Fatalf("the second: %t, wait %s", ok, wait)
		}
		time.Sleep(wait)
		if ok, wait := ask(100); !ok {
			t.Errorf("after the wait it is told to wait %s", wait)
		}
	})
}
