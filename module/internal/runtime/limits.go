package runtime

import (
	"context"
	stdruntime "runtime"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/limit"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/request"
)

// UseLimits makes what sites that limit need. The counts outlive reloads.
func (rt *Runtime) UseLimits() error {
	if rt.Limiter != nil {
		return nil
	}
	buckets, err := process.Share(&rt.Leases, "limits", func() (*limit.Local, func() error, error) {
		return limit.NewLocal(0), nil, nil
	})
	if err != nil {
		return err
	}
	var store limit.Store
	if rt.Redis != nil {
		store = request.TracedTokens{Store: rt.Redis.Client}
	}
	limiter := limit.New(buckets, store, limit.Options{MaxInFlight: rt.tokensAtOnce(), OnWait: request.TraceLimit})
	rt.Leases.Add(func() error {
		// nobody waits: calls in progress end by themselves, or with the connection
		process.Background.Go(func(context.Context) { limiter.Close() })
		return nil
	})
	rt.Limiter = limiter
	return nil
}

// tokensAtOnce is how many requests may be asking Redis for a token at a time: more than that would only wait for a
// connection.
func (rt *Runtime) tokensAtOnce() int {
	connections := 10 * stdruntime.GOMAXPROCS(0)
	if rt.Redis != nil && rt.RedisPool > 0 {
		connections = rt.RedisPool
	}
	return 2 * connections
}
