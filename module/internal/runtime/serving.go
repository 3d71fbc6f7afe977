package runtime

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
)

// registry knows which configuration serves. Caddy's own contexts cannot be asked: after a reload that
// failed, they speak of the configuration that failed.
var registry struct {
	mu      sync.Mutex
	started []*Runtime // the newest last; during a reload there are two
	newest  atomic.Pointer[Runtime]
	recent  atomic.Pointer[Runtime] // the one that serves or, while none does, that did last
	loaded  atomic.Pointer[Runtime] // likewise, or the one that is being loaded
}

// Serving returns the configuration that serves, or nil. After a reload that failed it is the one from before.
func Serving() *Runtime { return registry.newest.Load() }

// lastServing returns the configuration that serves, or the one that did, or nil.
func lastServing() *Runtime {
	if rt := Serving(); rt != nil {
		return rt
	}
	return registry.recent.Load()
}

// current returns the configuration that serves, or the one that is about to, or the one that did, or nil. Of
// the latter two, only privacy and the reporter may be read.
func current() *Runtime {
	if rt := Serving(); rt != nil {
		return rt
	}
	return registry.loaded.Load()
}

// attach makes rt the configuration that serves.
func (rt *Runtime) attach() {
	rt.change(func(started []*Runtime) []*Runtime { return append(started, rt) })
}

// detach makes the configuration from before the one that serves, if it has not stopped.
func (rt *Runtime) detach() {
	rt.change(func(started []*Runtime) []*Runtime {
		return slices.DeleteFunc(started, func(other *Runtime) bool { return other == rt })
	})
}

// change changes which configurations are started. The metrics show the same ones.
func (rt *Runtime) change(f func([]*Runtime) []*Runtime) {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	registry.started = f(registry.started)
	var newest *Runtime
	last := rt
	if n := len(registry.started); n > 0 {
		newest = registry.started[n-1]
		last = newest
	}
	registry.recent.Store(last)
	registry.loaded.Store(last)
	registry.newest.Store(newest)
	instances := make([]metrics.Instance, len(registry.started))
	for i, started := range registry.started {
		instances[i] = gauges{started}
	}
	metrics.Show(instances...)
}

// forget leaves a configuration that has ended to the garbage collector, but for what is still asked of the
// one that served last: its memory, so that an older one that ends later does not overwrite the file, and its
// privacy.
func (rt *Runtime) forget() {
	registry.recent.CompareAndSwap(rt, &Runtime{Memory: rt.Memory})
	registry.loaded.CompareAndSwap(rt, &Runtime{privacy: rt.privacy})
}

// Of returns the runtime of the configuration that ctx belongs to, with its defaults when the configuration does not
// mention the app.
func Of(ctx caddy.Context) (*Runtime, error) {
	loaded, err := ctx.App("ip_reputation")
	if err != nil {
		return nil, err
	}
	app, ok := loaded.(interface{ Runtime() *Runtime })
	if !ok {
		return nil, fmt.Errorf("the app ip_reputation is %T, which has no runtime", loaded)
	}
	return app.Runtime(), nil
}
