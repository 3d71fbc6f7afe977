package redis

import (
	"context"
	"crypto/rand"
	_ "embed" // the scripts
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/limit"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

var (
	//go:embed count.lua
	countText string
	//go:embed token.lua
	tokenText string

	counting = goredis.NewScript(countText)
	tokens   = goredis.NewScript(tokenText)
)

// Count implements ledger.Store. It is one exchange.
func (c *Client) Count(ctx context.Context, calls ledger.Count) (ledger.Counted, error) {
	if err := c.checkWindows(calls.Windows); err != nil {
		return ledger.Counted{}, err
	}
	return c.count(ctx, calls)
}

func (c *Client) count(ctx context.Context, calls ledger.Count) (ledger.Counted, error) {
	call := rand.Text()
	args := []any{calls.N, calls.Instance, call, microseconds(calls.Interval), calls.Burst, 0}
	longest := time.Duration(0)
	for _, w := range calls.Windows {
		longest = max(longest, w.End.Sub(w.Start))
		args = append(args, w.Period, w.Start.Unix(), w.End.Unix(), w.Limit,
			w.Owed, w.Epoch, w.Version, w.Known, w.Settled)
	}
	args[5] = (2*longest + time.Hour).Milliseconds() // clocks differ, and operators may want to read the counts
	key := c.key("{quota:" + calls.Account + "}")
	keys := []string{key, key + ":rate"}
	if calls.N < 0 {
		keys = append(keys, key+":back:"+call)
	}
	answer, err := c.run(ctx, counting, keys, args...)
	if err != nil {
		return ledger.Counted{}, err
	}
	list, _ := answer.([]any)
	if len(list) != 2+len(calls.Windows) {
		return ledger.Counted{}, fmt.Errorf("redis answered a count in %d windows with %d values",
			len(calls.Windows), len(list))
	}
	counted := ledger.Counted{
		Granted: integer(list[0]) == 1,
		RetryIn: time.Duration(integer(list[1])) * time.Microsecond,
	}
	for _, each := range list[2:] {
		w, _ := each.([]any)
		if len(w) != 5 {
			return ledger.Counted{}, fmt.Errorf("redis answered with a window of %d values", len(w))
		}
		epoch, _ := w[1].(string)
		counted.Windows = append(counted.Windows, ledger.WindowCounted{
			Start: time.Unix(integer(w[0]), 0).UTC(), Epoch: epoch, Version: integer(w[2]),
			Used: int(integer(w[3])), Owed: int(integer(w[4])),
		})
	}
	return counted, nil
}

// checkWindows refuses windows that are not present ones by the clock of Redis: with those of a wrong
// clock, the counts of the others would begin anew.
func (c *Client) checkWindows(windows []ledger.WindowCount) error {
	if !c.up.Load() {
		return nil // the call fails at once
	}
	now := c.redisNow()
	for _, w := range windows {
		if now.Before(w.Start.Add(-record.Ahead)) || now.After(w.End.Add(record.Ahead)) {
			return fmt.Errorf("%w: by the clock of Redis it is %s, not in the %s from %s: set this one's clock right",
				errClock, readable(now), w.Period, readable(w.Start))
		}
	}
	return nil
}

// TakeTokens implements limit.Store. It is one exchange.
func (c *Client) TakeTokens(ctx context.Context, b limit.Batch) (bool, time.Duration, error) {
	answer, err := c.run(ctx, tokens, []string{c.key("limit:" + b.Key)},
		b.Rate.Events, microseconds(b.Rate.Per), b.Tokens, microseconds(b.Age))
	if err != nil {
		return false, 0, err
	}
	list, _ := answer.([]any)
	if len(list) != 2 {
		return false, 0, fmt.Errorf("redis answered a batch of tokens with %d values", len(list))
	}
	return integer(list[0]) == 1, time.Duration(integer(list[1])) * time.Microsecond, nil
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// integer returns a number of a reply, or 0 if v is not a number.
func integer(v any) int64 {
	n, _ := v.(int64)
	return n
}
