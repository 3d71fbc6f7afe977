package runtime

import (
	"context"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/redis"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/request"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/secret"
)

// Redis is a connection in use by one or more configurations.
type Redis struct {
	*redis.Client
	series   *metrics.RedisSeries
	password *secret.Renewal // nil: it asks for none
}

// notify emits events, unless the connection is that of a configuration that does not serve. The client calls it.
func (p *Redis) notify(up bool, why string) {
	switch serving := Serving(); {
	case serving == nil || serving.Redis != p:
	case up:
		Events.RedisBack()
	default:
		Events.RedisAway(why)
	}
}

// ready reports whether there is all that it takes to connect.
func (p *Redis) ready() bool {
	if p.password == nil {
		return true
	}
	_, ok := p.password.Password.Current()
	return ok
}

// start connects as soon as there is a password. Before that there is nothing to try; the refresher of the
// password logs what keeps it away.
func (p *Redis) start(ctx context.Context) {
	if p.password != nil {
		if _, err := p.password.Password.Await(ctx); err != nil {
			return
		}
	}
	p.Start()
}

func (p *Redis) close() error {
	err := p.Close()
	p.series.Close()
	return err
}

// shared returns the memory that an engine shares with others: none without Redis.
func (p *Redis) shared() lookup.Shared {
	if p == nil {
		return nil
	}
	return request.TracedShared{Shared: p.Client}
}

// redisResults are the words of all outcomes.
var redisResults = func() (words []string) {
	for r := range redis.Result(redis.NumResults) {
		words = append(words, r.String())
	}
	return words
}()

// OpenRedis finds or opens the connection with these options, and opens what is shared through it. The key is
// made of the settings. Nobody is called before Start. The password is nil where Redis asks for none.
func (rt *Runtime) OpenRedis(key string, o redis.Options, password *secret.Refresher) (err error) {
	rt.Redis, err = process.Share(&rt.Leases, key, func() (*Redis, func() error, error) {
		p := &Redis{series: metrics.OpenRedis(redisResults...)}
		if password != nil {
			p.password = &secret.Renewal{Password: password}
		}
		o.Logger, o.Notify = ProcessLogger("redis"), p.notify
		o.Observe = func(r redis.Result) {
			p.series.Count(int(r))
			if r == redis.Denied {
				p.password.Denied()
			}
		}
		var err error
		if p.Client, err = redis.Open(o); err != nil {
			p.series.Close()
			return nil, nil, err
		}
		return p, p.close, nil
	})
	if err != nil {
		return err
	}
	return rt.openTombstones()
}
