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
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/foreign"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/throttle"
)

// One goroutine, never a request, connects to Redis and finds out whether it answers. Connecting
// takes several round trips, and a request does not wait that long: no request would ever succeed
// in connecting.
const (
	maxFailures = 5 // in a row, until Redis counts as unavailable

	probeIdle  = 5 * time.Second        // while Redis answers, so that a failure is noticed without traffic
	probeAfter = 100 * time.Millisecond // delay after a failed call, so that many failures cause one probe

	// connectPatience is how many times Timeout a probe may take to connect.
	connectPatience = 4
)

var probePauses = backoff.Policy{First: 250 * time.Millisecond, Most: 5 * time.Second}

// health is the known state of Redis.
type health struct {
	mu           sync.Mutex
	closed       bool
	failed       int // in a row
	since        time.Time
	result       Result // of the last failure, until Redis answers
	err          error
	changed      chan struct{} // closed when Redis next becomes available or unavailable
	wake         chan struct{} // makes the prober probe at once
	subscribeErr error         // why there is no subscription; changes of other instances then arrive late
	clusterErr   error         // set if the server is part of a Cluster, which the settings do not say
	refused      refusal       // of single calls, while others succeed

	causes            throttle.Causes[string]
	loggedUnavailable bool // it was logged that Redis is unavailable
}

func (h *health) init() {
	h.since = time.Now()
	h.changed = make(chan struct{})
	h.wake = make(chan struct{}, 1)
}

// Status is the state of Redis.
type Status struct {
	// Up is true if Redis answers and accepts writes.
	Up bool `json:"up"`

	// Since is when Up last changed.
	Since time.Time `json:"since"`

	// Result and Error are those of the last failure, while Redis is unavailable. They are empty
	// before the first call.
	Result string `json:"result,omitempty"`
	Error  string `json:"error,omitempty"`

	// Cure is what to do about it.
	Cure string `json:"cure,omitempty"`

	// Deaf is why bans of other instances arrive only after seconds, although Redis is up.
	Deaf string `json:"deaf,omitempty"`

	// Refused is why some calls fail, although Redis is up.
	Refused string `json:"refused,omitempty"`

	// Ahead is how far the clock of Redis is ahead of this instance's, in seconds, if they differ by
	// more than a minute.
	Ahead int `json:"clock_ahead_seconds,omitempty"`

	// Addresses and Prefix are the settings of this instance. Instance is its name in Redis.
	Addresses []string `json:"addresses"`
	Prefix    string   `json:"prefix"`
	Instance  string   `json:"instance"`
}

// Status returns the state of Redis. It makes no calls.
func (c *Client) Status() Status {
	h := &c.health
	h.mu.Lock()
	defer h.mu.Unlock()
	s := Status{
		Up: c.up.Load(), Since: h.since, Addresses: c.options.Addresses, Prefix: c.options.Prefix, Instance: c.token,
	}
	if s.Up {
		s.Ahead = int(c.ahead() / time.Second)
		s.Refused = h.refused.text(time.Now())
	}
	switch {
	case !s.Up && h.err != nil:
		s.Result, s.Error, s.Cure = h.result.String(), h.err.Error(), cureOf(h.result, h.err)
	case s.Up && h.subscribeErr != nil:
		s.Deaf = h.subscribeErr.Error()
	}
	return s
}

// Up reports whether Redis answers.
func (c *Client) Up() bool { return c.up.Load() }

// Changed returns a channel that is closed when Redis next becomes available or unavailable.
func (c *Client) Changed() <-chan struct{} {
	c.health.mu.Lock()
	defer c.health.mu.Unlock()
	return c.health.changed
}

// record records the outcome of an exchange or of a probe.
func (c *Client) record(err error, probe bool) {
	result := ResultOf(err)
	c.observe(result)
	if err != nil {
		c.reload(context.Background()) // returns at once; the failed server may have been replaced
	}
	if result == ReadOnly {
		c.conns.closeAll() // the address may lead to another server by now, and only new connections go there
	}
	h := &c.health
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		h.failed = 0
		return
	}
	if errors.Is(err, goredis.ErrPoolTimeout) {
		h.requestProbe() // there are more callers than connections; the prober finds out whether Redis is slow
		return
	}
	if !probe && ofOneCall(result, err) {
		h.refused.note(err, time.Now())
		h.requestProbe() // it tells whether others succeed
		return
	}
	h.result, h.err = result, err
	h.failed++
	if _, moved := goredis.IsMovedError(err); moved && !c.options.Cluster {
		h.clusterErr = err // with `cluster`, the library would follow the redirection
	}
	switch up := c.up.Load(); {
	case up && (h.failed >= maxFailures || probe && result.refusal() || h.clusterErr != nil):
		c.setUp(false)
	case up && !probe:
		h.requestProbe() // a server that refuses writes may answer other calls: only a probe can tell
	}
}

// requestProbe makes the prober probe at once.
func (h *health) requestProbe() {
	select {
	case h.wake <- struct{}{}:
	default: // a probe is already requested
	}
}

// setUp changes whether Redis is available. The caller holds the lock of health.
func (c *Client) setUp(up bool) {
	h := &c.health
	lasted := time.Since(h.since).Round(time.Millisecond)
	h.since = time.Now()
	c.up.Store(up)
	close(h.changed)
	h.changed = make(chan struct{})
	if up {
		c.options.Notify(true, "")
		h.err = nil
		if !h.loggedUnavailable && !h.causes.Allow("up", time.Now()) {
			return
		}
		h.loggedUnavailable = false
		c.log.Info("redis answers: what is learnt and decided is shared with the other instances",
			slog.Duration("after", lasted))
		return
	}
	c.logUnavailable()
	h.requestProbe()
}

// logUnavailable logs that Redis is unavailable, once a minute for each cause. The caller holds the lock
// of health.
func (c *Client) logUnavailable() {
	h := &c.health
	c.options.Notify(false, h.err.Error())
	cause := h.result.String()
	if h.result == Denied || h.result == Failed {
		cause += h.err.Error() // the text of a server; the texts of connection errors have ever new port numbers
	}
	if !h.causes.Allow(cause, time.Now()) {
		return
	}
	h.loggedUnavailable = true
	c.log.Warn("redis is away: this instance goes on with what it knows by itself",
		slog.String("result", h.result.String()), slog.String("error", h.err.Error()),
		slog.String("cure", cureOf(h.result, h.err)))
}

// setSubscribed records whether messages of other instances arrive; err is why they do not.
func (c *Client) setSubscribed(err error) {
	err = foreign.Error(err)
	h := &c.health
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subscribeErr = err
	if err != nil && c.up.Load() && h.causes.Allow("deaf"+ResultOf(err).String(), time.Now()) {
		c.log.Warn("what other instances ban is heard of late, within seconds: the subscription has ended",
			slog.String("error", err.Error()), slog.String("cure", cureOf(ResultOf(err), err)))
	}
}

// monitor probes Redis again and again, until ctx ends.
func (c *Client) monitor(ctx context.Context) {
	failures := 0 // in a row
	for ctx.Err() == nil {
		next := probeIdle
		if err := c.probe(ctx); err != nil {
			failures++
			next = backoff.Jitter(probePauses.Pause(failures), 0.8, 1.2) // instances should not reconnect together
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

// probeScript writes, like the other scripts: a server that answers pings may still be read-only,
// be full, or deny this user. It answers with the time, and why it may not publish.
var probeScript = goredis.NewScript(`redis.call('SET', KEYS[1], ARGV[1], 'PX', 60000)
local published, time = redis.pcall('PUBLISH', ARGV[2], ''), redis.call('TIME')
return { time[1], time[2], type(published) == 'table' and published.err or '' }`)

// misplaced returns why the settings can never work with the server, or nil.
func (c *Client) misplaced() error {
	c.health.mu.Lock()
	defer c.health.mu.Unlock()
	return c.health.clusterErr
}

// probe connects, if necessary, for which it waits longer than an exchange does. Then it makes an
// exchange within the usual time, since a slower server is useless.
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
		// random, so that all servers of a Cluster are probed
		key := c.key("probe:{" + strconv.Itoa(rand.IntN(16)) + "}")
		var answer []string
		answer, err = probeScript.Run(exchange, c.rdb, []string{key}, c.token, c.channel("probe")).StringSlice()
		if err == nil && len(answer) == 3 {
			c.setClock(answer[:2])
			c.health.notePublishing(answer[2], time.Now())
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	err = foreign.Error(err)
	c.record(err, true)
	h := &c.health
	h.mu.Lock()
	defer h.mu.Unlock()
	switch up := c.up.Load(); {
	case err == nil && !up && !h.closed:
		c.setUp(true)
		c.logRefused()
	case err == nil && up:
		c.logRefused()
	case err != nil && !up:
		c.logUnavailable()
	}
	return err
}
