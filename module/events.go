package module

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
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/throttle"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// events takes what the parts of the engine report, whichever configuration they are of. The app that serves hands it on to
// the handlers of its configuration.
var events = event.New(256)

const (
	// handlersMay is how long a handler may delay a reload, and the end of the process.
	handlersMay      = 250 * time.Millisecond
	handlersMayAtEnd = time.Second

	lookInterval = 10 * time.Second // at feeds and blocks
)

// emitter hands events on to Caddy. Handlers run within Emit, one after the other, and may be slow: it has a goroutine of its
// own.
type emitter struct {
	ctx     caddy.Context
	app     *caddyevents.App
	started chan struct{} // closed when Caddy has started all apps: until then, handlers are still being subscribed
	stop    context.CancelFunc
	done    chan struct{}
}

// onStarted closes a channel with the first event that it handles. It has no exported members: Caddy prints handlers.
type onStarted struct{ close func() }

// Handle implements caddyevents.Handler.
func (s onStarted) Handle(context.Context, caddy.Event) error {
	s.close()
	return nil
}

// provision finds Caddy's events.
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
	return e.app.On("started", onStarted{sync.OnceFunc(func() { close(started) })})
}

// startEvents begins to look at what changes with time, and to hand events on as soon as Caddy has started.
func (a *App) startEvents() {
	ctx, cancel := context.WithCancel(context.Background())
	a.emitter.stop, a.emitter.done = cancel, make(chan struct{})
	lingering.Go(func() { a.keepDoing(ctx, "looking at feeds and blocks", a.watchOver) })
	go func() { // not one that is waited for at the end: a handler may hang
		defer close(a.emitter.done)
		a.keepDoing(ctx, "handing on events", a.emitEvents)
	}()
}

// endEvents ends what startEvents began. It waits for a handler that is at work, within a bound: its context ends next.
func (a *App) endEvents() {
	if a.emitter.stop == nil {
		return
	}
	a.emitter.stop()
	most := handlersMay
	if caddy.Exiting() {
		most = handlersMayAtEnd
	}
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-a.emitter.done:
	case <-timer.C:
		a.logger.Warn("an event handler is slow, and is not waited for")
	}
}

// emitEvents hands events on until ctx ends. What is left then is for the next configuration; without one, it is handed on
// before Caddy stops.
func (a *App) emitEvents(ctx context.Context) {
	select {
	case <-a.emitter.started:
	case <-ctx.Done():
		return
	}
	a.forgetOthers()
	var drops drops
	for ctx.Err() == nil {
		select {
		case e := <-events.Events():
			a.emit(e)
			drops.say(a.logger)
		case <-ctx.Done():
		}
	}
	for running.current() == nil {
		select {
		case e := <-events.Events():
			a.emit(e)
		default:
			return
		}
	}
}

// emit hands one event on. A handler is somebody else's code: what it does stays here.
func (a *App) emit(e event.Event) {
	defer func() {
		if r := recover(); r != nil {
			a.logger.Error("an event handler panicked: report this to its author", slog.String("event", e.Name), slog.Any("panic", r))
		}
	}()
	a.emitter.app.Emit(a.emitter.ctx, e.Name, e.Data)
}

// forgetOthers forgets what was said of providers and lists that this configuration does not have.
func (a *App) forgetOthers() {
	var providers []string
	for _, p := range a.keepers {
		providers = append(providers, p.name)
	}
	events.Retain(providers, a.listNames, a.redis != nil)
}

// drops says how many events were dropped because their handlers are too slow.
type drops struct {
	known  uint64
	logged throttle.Causes[string]
}

func (d *drops) say(logger *slog.Logger) {
	n := events.Dropped()
	if n == d.known || !d.logged.Allow("dropped", time.Now()) {
		return
	}
	d.known = n
	logger.Warn("events were dropped, since their handlers are slow", slog.Uint64("dropped", n))
}

// newsOfFeeds holds a value when a list was refreshed, or could not be.
var newsOfFeeds = make(chan struct{}, 1)

// lookSoon lets lists be looked at without waiting for the next turn.
func lookSoon() {
	select {
	case newsOfFeeds <- struct{}{}:
	default: // they will be
	}
}

// watchOver looks, now and then, at what is an event because time passes.
func (a *App) watchOver(ctx context.Context) {
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for ctx.Err() == nil {
		if running.current() == a {
			a.lookAtFeeds()
			events.CheckBlocks(metrics.Enforced(reputation.Block), metrics.Enforced(reputation.Drop))
			if a.redis != nil && a.redis.Up() {
				events.RedisBack() // it may have come back while another configuration was about to serve
			}
		}
		select {
		case <-newsOfFeeds:
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// lookAtFeeds says which lists are stale, which somebody must look after.
func (a *App) lookAtFeeds() {
	var fetched []event.Feed
	for _, s := range a.lists.Status() {
		if s.Kind == feed.KindURL {
			fetched = append(fetched, event.Feed{Name: s.Name, LastSuccess: s.LastSuccess, Patience: s.Patience, Why: s.LastError})
		}
	}
	for _, f := range events.CheckFeeds(fetched) {
		a.logger.Error("a list is stale: what was last good of it, if anything, stays in force and ages",
			slog.String("feed", f.Name), slog.String("last_success", cmp.Or(event.Clock(f.LastSuccess), "never")), slog.String("error", f.Why),
			slog.String("cure", "`caddy ip-reputation refresh "+f.Name+"` says what is wrong; if the list has ended, take it out"))
	}
}

// notifyProvider tells what changed in the standing of a provider.
func notifyProvider(name string, n quota.Notice) {
	switch n.Kind {
	case quota.NoticeFails:
		events.Fails(name, n.Result.String(), n.Until)
	case quota.NoticeAnswers:
		events.Answers(name, n.Began)
	case quota.NoticeThrottled:
		events.Throttled(name, n.Until)
	case quota.NoticeSpent:
		events.Spent(name, n.Window.String(), n.Until)
	}
}
