package redis

import (
	"errors"
	"log/slog"
	"strconv"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// The times in Redis are of its clock, whatever those of the instances say: an instance whose clock
// is wrong translates what it reads and writes, and neither poisons the others nor is poisoned.

// clock is a moment of this instance, with a reading of the monotonic clock, and the time that
// Redis had then. Each probe replaces it.
type clock struct{ local, redis time.Time }

// clocksAgree is the difference up to which two clocks count as one. Times then stay as they are.
const clocksAgree = time.Minute

// redisNow returns the present time of Redis. A step of this instance's clock does not change it.
func (c *Client) redisNow() time.Time {
	if k := c.clock.Load(); k != nil {
		return k.redis.Add(time.Since(k.local))
	}
	return c.now()
}

// ahead returns how far the clock of Redis is ahead of this instance's.
func (c *Client) ahead() time.Duration {
	ahead := c.redisNow().Round(0).Sub(c.now().Round(0)).Round(time.Second)
	if ahead.Abs() < clocksAgree {
		return 0
	}
	return ahead
}

// latest returns the latest time of Redis that is believed.
func (c *Client) latest() time.Time { return c.redisNow().Add(record.Ahead) }

// setClock notes the answer of Redis to TIME: seconds and microseconds.
func (c *Client) setClock(answer []string) {
	seconds, err := strconv.ParseInt(answer[0], 10, 64)
	micros, err2 := strconv.ParseInt(answer[1], 10, 64)
	if err != nil || err2 != nil {
		return
	}
	c.clock.Store(&clock{local: time.Now(), redis: time.Unix(seconds, 1000*micros)})
	ahead := c.ahead()
	c.health.mu.Lock()
	defer c.health.mu.Unlock()
	if ahead != 0 && c.health.causes.Allow("clock", time.Now()) {
		c.log.Warn("the clock of redis and this one differ: quotas are counted alone, and bans may not arrive",
			slog.Duration("redis_is_ahead", ahead), slog.String("cure", "set both by a time service, such as chrony"))
	}
}

// errClock means that the clock of this instance is wrong, or that of Redis.
var errClock = errors.New("the clocks differ")
