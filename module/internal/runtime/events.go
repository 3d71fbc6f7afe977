package runtime

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/event"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/lists"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/throttle"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Events takes what the parts of the engine report, whichever configuration they are of. The configuration
// that serves emits it to its handlers.
var Events = event.New(256)

const (
	// handlersMay is how long a handler may delay a reload, and the end of the process.
	handlersMay      = 250 * time.Millisecond
	handlersMayAtEnd = time.Second

	lookInterval = 10 * time.Second // at feeds and blocks
)

// emitter hands events on to Caddy. Handlers run within Emit, one after the other, and may be slow: it has a
// goroutine of its own.
type emitter struct {
	ctx     caddy.Context
	app     *caddyevents.App
	started chan struct{} // closed when Caddy has started all apps: until then, handlers are still being subscribed
	stop    context.CancelFunc
	done    chan struct{}
}

// onEvent does something when Caddy emits an event. It has no exported members: Caddy prints handlers.
type onEvent struct{ do func() }

// Handle implements caddyevents.Handler.
func (h onEvent) Handle(context.Context, caddy.Event) error {
	h.do()
	return nil
}

// provision finds Caddy's Events.
func (e *emitter) provision(ctx caddy.Context) error {
	loaded, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("loading Caddy's events: %w", err)
	}
	e.ctx, e.app = ctx, loaded.(*caddyevents.App)
	for _, subscription := range e.app.Subscriptions {
		for _, name := range subscription.Events {
			if strings.HasPrefix(name, "ip_reputation_") && !slices.Contains(event.Names, name) {
				return fmt.Errorf("nothing is called %s: events are %s", name, strings.Join(event.Names, ", "))
			}
		}
	}
	started := make(chan struct{})
	e.started = started
	return e.app.On("started", onEvent{sync.OnceFunc(func() { close(started) })})
}

// UseEvents finds the handlers that the configuration's events are emitted to, and asks Caddy to say when it begins to
// stop: apps are stopped in any order, and that of HTTP waits for its connections.
func (rt *Runtime) UseEvents(ctx caddy.Context) error {
	if err := rt.emitter.provision(ctx); err != nil {
		return err
	}
	return rt.emitter.app.On("stopping", onEvent{rt.stopping})
}

// startEvents begins to look at what changes with time, and to hand events on as soon as Caddy has started.
func (rt *Runtime) startEvents() {
	ctx, cancel := context.WithCancel(context.Background())
	rt.emitter.stop, rt.emitter.done = cancel, make(chan struct{})
	process.Background.Keep(ctx, rt.Logger, "looking at feeds and blocks", rt.watchOver)
	go func() { // not in the background, which the end of the process waits for: a handler may hang
		defer close(rt.emitter.done)
		process.Supervise(ctx, rt.Logger, "handing on events", rt.emitEvents)
	}()
}

// endEvents ends what startEvents began. It waits for a handler that is at work, within a bound: its context ends next.
func (rt *Runtime) endEvents() {
	if rt.emitter.stop == nil {
		return
	}
	rt.emitter.stop()
	most := handlersMay
	if caddy.Exiting() {
		most = handlersMayAtEnd
	}
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-rt.emitter.done:
	case <-timer.C:
		rt.Logger.Warn("an event handler is slow, and is not waited for")
	}
}

// emitEvents hands events on until ctx ends. What is left then is for the next configuration; without one, it
// is handed on before Caddy stops.
func (rt *Runtime) emitEvents(ctx context.Context) {
	select {
	case <-rt.emitter.started:
	case <-ctx.Done():
		return
	}
	var drops drops
	for ctx.Err() == nil {
		select {
		case e := <-Events.Events():
			rt.emit(e)
			drops.say(rt.Logger)
		case <-ctx.Done():
		}
	}
	for Serving() == nil {
		select {
		case e := <-Events.Events():
			rt.emit(e)
		default:
			return
		}
	}
}

// emit hands one event on. A handler is somebody else's code: what it does stays here.
func (rt *Runtime) emit(e event.Event) {
	defer func() {
		if r := recover(); r != nil {
			rt.Logger.Error("an event handler panicked: report this to its author", slog.String("event", e.Name), slog.Any("panic", r))
		}
	}()
	rt.emitter.app.Emit(rt.emitter.ctx, e.Name, e.Data)
}

// forgetOthers forgets the events of providers and lists that this configuration does not have.
func (rt *Runtime) forgetOthers() {
	var providers []string
	for _, p := range rt.Providers {
		providers = append(providers, p.Name)
	}
	Events.Retain(providers, rt.Lists.Names, rt.Redis != nil)
}

// drops says how many events were dropped because their handlers are too slow.
type drops struct {
	known  uint64
	logged throttle.Causes[string]
}

func (d *drops) say(logger *slog.Logger) {
	n := Events.Dropped()
	if n == d.known || !d.logged.Allow("dropped", time.Now()) {
		return
	}
	d.known = n
	logger.Warn("events were dropped, since their handlers are slow", slog.Uint64("dropped", n))
}

// watchOver looks, now and then, at what is an event because time passes.
func (rt *Runtime) watchOver(ctx context.Context) {
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for ctx.Err() == nil {
		refreshed := lists.Refreshed.Changed() // no list waits for the tick
		rt.Bots.look(time.Now())
		if Serving() == rt {
			rt.lookAtFeeds()
			rt.Lists.Warn(rt.Logger, time.Now())
			Events.CheckBlocks(
				metrics.Enforced(reputation.Block), metrics.Enforced(reputation.Ban), metrics.Enforced(reputation.Drop))
			rt.lookAtRedis()
		}
		select {
		case <-refreshed:
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// lookAtRedis notes what changed while another configuration was about to serve: see Redis.notify.
func (rt *Runtime) lookAtRedis() {
	if rt.Redis == nil {
		return
	}
	switch s := rt.Redis.Status(); {
	case s.Up:
		Events.RedisBack()
	case s.Error != "":
		Events.RedisAway(s.Error)
	}
}

// lookAtFeeds says which lists are stale, which somebody must look after.
func (rt *Runtime) lookAtFeeds() {
	var fetched []event.Feed
	for _, s := range rt.Lists.Status() {
		if s.Kind == feed.KindURL {
			fetched = append(fetched, event.Feed{Name: s.Name, LastSuccess: s.LastSuccess, Patience: s.Patience, Why: s.LastError})
		}
	}
	for _, f := range Events.CheckFeeds(fetched) {
		rt.Logger.Error("a list is stale: what was last good of it, if anything, stays in force and ages",
			slog.String("feed", f.Name), slog.String("last_success", cmp.Or(event.Clock(f.LastSuccess), "never")), slog.String("error", f.Why),
			slog.String("cure", "`caddy ip-reputation refresh "+f.Name+"` says what is wrong; if the list has ended, take it out"))
	}
}

// NotifyProvider reports what changed in the standing of a provider.
func NotifyProvider(name string, n quota.Notice) {
	switch n.Kind {
	case quota.NoticeFails:
		Events.Fails(name, n.Result.String(), n.Until)
	case quota.NoticeAnswers:
		Events.Answers(name, n.Began)
	case quota.NoticeThrottled:
		Events.Throttled(name, n.Until)
	case quota.NoticeSpent:
		Events.Spent(name, n.Window.String(), n.Until)
	}
}
