package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/backoff"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/throttle"
)

// One goroutine finds out whether Redis is there, never a request: connecting takes several round trips, for which no
// request may wait long enough, and then nobody would ever connect.
const (
	maxFailures = 5 // in a row, after which calls are not made any more

	probeIdle  = 5 * time.Second        // while all is well, so that a loss is noticed without traffic
	probeAfter = 100 * time.Millisecond // one probe when something fails: how much else does is no reason for more

	// connectPatience is how many times the usual time a probe may take to connect.
	connectPatience = 4
)

var probePauses = backoff.Policy{First: 250 * time.Millisecond, Most: 5 * time.Second}

// health is what is known of Redis.
type health struct {
	mu      sync.Mutex
	closed  bool
	failed  int // in a row
	since   time.Time
	result  Result // the last failure's, until an answer comes
	err     error
	changed chan struct{} // closed at the next change between up and away
	wake    chan struct{} // the prober should look at once
	deaf    error         // why there is no subscription: changes of other instances arrive late
	moved   error         // set when the server is part of a Cluster and the settings lack that: it can never do

	causes     throttle.Causes[string]
	loggedAway bool // the log has that Redis is away
}

func (h *health) init() {
	h.since = time.Now()
	h.changed = make(chan struct{})
	h.wake = make(chan struct{}, 1)
}

// Status is how Redis is doing.
type Status struct {
	// Up says that Redis answers, and takes writes.
	Up bool `json:"up"`

	// Since is when that last changed.
	Since time.Time `json:"since"`

	// Result and Error are those of the last failure while Redis is away. They are empty before it was first asked.
	Result string `json:"result,omitempty"`
	Error  string `json:"error,omitempty"`

	// Cure is what to do about it.
	Cure string `json:"cure,omitempty"`

	// Deaf says why bans of other instances arrive after seconds only, although Redis is up.
	Deaf string `json:"deaf,omitempty"`

	// Addresses and Prefix are where this instance looks, and Instance is by what name others see it in Redis.
	Addresses []string `json:"addresses"`
	Prefix    string   `json:"prefix"`
	Instance  string   `json:"instance"`
}

// Status returns how Redis is doing. It asks nobody.
func (c *Client) Status() Status {
	h := &c.health
	h.mu.Lock()
	defer h.mu.Unlock()
	s := Status{
		Up: c.up.Load(), Since: h.since, Addresses: c.options.Addresses, Prefix: c.options.Prefix, Instance: c.token,
	}
	switch {
	case !s.Up && h.err != nil:
		s.Result, s.Error, s.Cure = h.result.String(), h.err.Error(), cureOf(h.result, h.err)
	case s.Up && h.deaf != nil:
		s.Deaf = h.deaf.Error()
	}
	return s
}

// Up reports whether Redis answers.
func (c *Client) Up() bool { return c.up.Load() }

// Changed returns a channel that is closed when Redis next goes away or comes back.
func (c *Client) Changed() <-chan struct{} {
	c.health.mu.Lock()
	defer c.health.mu.Unlock()
	return c.health.changed
}

// record records the outcome of an exchange, or of a probe.
func (c *Client) record(err error, probe bool) {
	result := ResultOf(err)
	c.observe(result)
	if err != nil {
		c.reload(context.Background()) // returns at once; the server that fails may have been replaced
	}
	h := &c.health
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		h.failed = 0
		return
	}
	if errors.Is(err, goredis.ErrPoolTimeout) {
		h.poke() // there are more callers than connections: whether Redis is at fault, the prober finds out
		return
	}
	h.result, h.err = result, err
	h.failed++
	if _, moved := goredis.IsMovedError(err); moved && !c.options.Cluster {
		h.moved = err // with `cluster` the library would follow
	}
	switch up := c.up.Load(); {
	case up && (h.failed >= maxFailures || probe && result.refusal() || h.moved != nil):
		c.turn(false)
	case up && !probe:
		h.poke() // a server that refuses to write answers everything else, and is found out by a probe only
	}
}

// poke lets the prober look at once.
func (h *health) poke() {
	select {
	case h.wake <- struct{}{}:
	default: // it will
	}
}

// turn changes between up and away. It is called with the lock of health held.
func (c *Client) turn(up bool) {
	h := &c.health
	lasted := time.Since(h.since).Round(time.Millisecond)
	h.since = time.Now()
	c.up.Store(up)
	close(h.changed)
	h.changed = make(chan struct{})
	if up {
		c.options.Notify(true, "")
		h.err = nil
		if !h.loggedAway && !h.causes.Allow("up", time.Now()) {
			return
		}
		h.loggedAway = false
		c.log.Info("redis answers: what is learnt and decided is shared with the other instances",
			slog.Duration("after", lasted))
		return
	}
	c.logAway()
	h.poke()
}

// logAway logs, once a minute for each cause, that Redis is away. It is called with the lock of health held.
func (c *Client) logAway() {
	h := &c.health
	c.options.Notify(false, h.err.Error())
	cause := h.result.String()
	if h.result == Denied || h.result == Failed {
		cause += h.err.Error() // a server's own text; errors of connections hold ports that are never the same
	}
	if !h.causes.Allow(cause, time.Now()) {
		return
	}
	h.loggedAway = true
	c.log.Warn("redis is away: this instance goes on with what it knows by itself",
		slog.String("result", h.result.String()), slog.String("error", h.err.Error()),
		slog.String("cure", cureOf(h.result, h.err)))
}

// subscribed records whether messages of other instances arrive; err is why they do not.
func (c *Client) subscribed(err error) {
	h := &c.health
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deaf = err
	if err != nil && c.up.Load() && h.causes.Allow("deaf"+ResultOf(err).String(), time.Now()) {
		c.log.Warn("what other instances ban is heard of late, within seconds: the subscription has ended",
			slog.String("error", err.Error()), slog.String("cure", cureOf(ResultOf(err), err)))
	}
}

// attend finds out, again and again, whether Redis answers. It ends with ctx.
func (c *Client) attend(ctx context.Context) {
	failures := 0 // in a row
	for ctx.Err() == nil {
		next := probeIdle
		if err := c.probe(ctx); err != nil {
			failures++
			next = backoff.Jitter(probePauses.Pause(failures), 0.8, 1.2) // instances should not come back together
		} else {
			failures = 0
		}
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
		case <-c.health.wake:
			timer.Stop()
			failures = 0
			select {
			case <-time.After(probeAfter):
			case <-ctx.Done():
			}
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// probing does what the other scripts do: a server that answers pings may still be read-only, full, or refuse this
// user.
var probing = goredis.NewScript(`redis.call('TIME') return redis.call('SET', KEYS[1], ARGV[1], 'PX', 60000)`)

// misplaced returns why the server can never do, or nil.
func (c *Client) misplaced() error {
	c.health.mu.Lock()
	defer c.health.mu.Unlock()
	return c.health.moved
}

// probe connects if need be, with more patience than an exchange has, and then makes an exchange within the usual
// time: a server that takes longer is of no use.
func (c *Client) probe(ctx context.Context) (err error) {
	defer func() {
		if r := recover(); r != nil {
			c.log.Error("asking whether redis is there panicked; this is a bug", slog.Any("panic", r))
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	connecting, cancel := context.WithTimeout(ctx, connectPatience*c.timeout)
	defer cancel()
	if err = c.misplaced(); err == nil {
		err = c.rdb.Ping(connecting).Err()
	}
	if err == nil {
		exchange, cancel := context.WithTimeout(ctx, c.timeout)
		defer cancel()
		key := c.key("probe:{" + strconv.Itoa(rand.IntN(16)) + "}") // of a Cluster, now one server and now another
		err = probing.Run(exchange, c.rdb, []string{key}, c.token).Err()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	c.record(err, true)
	h := &c.health
	h.mu.Lock()
	defer h.mu.Unlock()
	switch up := c.up.Load(); {
	case err == nil && !up && !h.closed:
		c.turn(true)
	case err != nil && !up:
		c.logAway()
	}
	return err
}
