package module

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// running knows the apps that are started. Caddy's own contexts cannot be asked for the one that serves: after a reload
// that failed they speak of the configuration that failed.
var running apps

// apps is a list of started apps, the newest last. During a reload there are two.
type apps struct {
	mu      sync.Mutex
	started []*App
	newest  atomic.Pointer[App]
}

// current returns the app that serves, or nil.
func (l *apps) current() *App { return l.newest.Load() }

func (l *apps) push(a *App) { l.change(func(started []*App) []*App { return append(started, a) }) }

func (l *apps) remove(a *App) {
	l.change(func(started []*App) []*App {
		return slices.DeleteFunc(started, func(other *App) bool { return other == a })
	})
}

func (l *apps) change(f func([]*App) []*App) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.started = f(l.started)
	var newest *App
	if n := len(l.started); n > 0 {
		newest = l.started[n-1]
	}
	l.newest.Store(newest)
}

// appOf returns the app of a configuration, with its defaults when the configuration does not mention it.
func appOf(ctx caddy.Context) (*App, error) {
	loaded, err := ctx.App("ip_reputation")
	if err != nil {
		return nil, err
	}
	return loaded.(*App), nil
}

// observer tells the metrics of look-ups.
type observer struct{}

func (observer) CountLookup(origin reputation.Origin) { metrics.CountLookup(origin) }

func (observer) ObserveLookup(origin reputation.Origin, took time.Duration) {
	metrics.ObserveLookup(origin, took)
}
