package redis

import (
	"context"
	"crypto/rand"
	_ "embed" // the scripts
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

var (
	//go:embed count.lua
	countText string
	//go:embed token.lua
	tokenText string

	counting = goredis.NewScript(countText)
	tokens   = goredis.NewScript(tokenText)
)

// Calls are calls to a service that are to be counted for all instances.
type Calls struct {
	// Account is whose quota it is. N is how many calls: 0 only looks, less gives back.
	Account string
	N       int

	// Instance is the name of the one that asks, the same over restarts.
	Instance string

	// Interval is the time between two calls at the most even pace, 0 for no bound, and Burst how many may come at once.
	Interval time.Duration
	Burst    int

	Windows []Window
}

// Window is one window of a quota, as the asking instance sees it.
type Window struct {
	// Period names it.
	Period string

	// Start and End are when it begins and ends. A window that begins where this one ends, begun by an instance whose clock
	// is ahead, is taken for this one.
	Start, End time.Time

	Limit int

	// Owed is what the instance has spent in the window without Redis, since the window began. What it has said before is
	// not counted again.
	Owed int

	// Epoch, Version, Known and Told are the Epoch, Version, Used and Owed of the answer that the instance goes by. They
	// count if Redis has lost its own.
	Epoch   string
	Version int64
	Known   int
	Told    int
}

// Counted is what came of counting.
type Counted struct {
	// Granted says that the calls were counted, and may be made.
	Granted bool

	// RetryIn is after how long the rate has room, when it was the rate that refused.
	RetryIn time.Duration

	// Windows are those that were asked about, as they are kept.
	Windows []CountedWindow
}

// CountedWindow is a window as it is kept for all instances.
type CountedWindow struct {
	Start   time.Time
	Epoch   string
	Version int64
	Used    int
	Owed    int // by the asking instance, as far as it is in Used
}

// CountCalls counts calls in all windows, unless that would lift one above its limit or be faster than the rate: then
// nothing is counted but what the instance has spent without Redis. It is one exchange.
func (c *Client) CountCalls(ctx context.Context, calls Calls) (Counted, error) {
	call := rand.Text()
	args := []any{calls.N, calls.Instance, call, microseconds(calls.Interval), calls.Burst, 0}
	longest := time.Duration(0)
	for _, w := range calls.Windows {
		longest = max(longest, w.End.Sub(w.Start))
		args = append(args, w.Period, w.Start.Unix(), w.End.Unix(), w.Limit, w.Owed, w.Epoch, w.Version, w.Known, w.Told)
	}
	args[5] = (2*longest + time.Hour).Milliseconds() // for clocks that differ, and to be looked at
	key := c.key("{quota:" + calls.Account + "}")
	keys := []string{key, key + ":rate"}
	if calls.N < 0 {
		keys = append(keys, key+":back:"+call)
	}
	answer, err := c.run(ctx, counting, keys, args...)
	if err != nil {
		return Counted{}, err
	}
	list, _ := answer.([]any)
	if len(list) != 2+len(calls.Windows) {
		return Counted{}, fmt.Errorf("redis answered a count in %d windows with %d values", len(calls.Windows), len(list))
	}
	counted := Counted{Granted: integer(list[0]) == 1, RetryIn: time.Duration(integer(list[1])) * time.Microsecond}
	for _, each := range list[2:] {
		w, _ := each.([]any)
		if len(w) != 5 {
			return Counted{}, fmt.Errorf("redis answered with a window of %d values", len(w))
		}
		epoch, _ := w[1].(string)
		counted.Windows = append(counted.Windows, CountedWindow{
			Start: time.Unix(integer(w[0]), 0).UTC(), Epoch: epoch, Version: integer(w[2]), Used: int(integer(w[3])), Owed: int(integer(w[4])),
		})
	}
	return counted, nil
}

// TakeToken takes a token from the bucket of the given name, which holds so many and fills from empty in a period. It
// returns whether there was one, and how long it takes until the bucket is full. It is one exchange.
func (c *Client) TakeToken(ctx context.Context, name string, events int, period time.Duration) (bool, time.Duration, error) {
	answer, err := c.run(ctx, tokens, []string{c.key("limit:" + name)}, events, microseconds(period))
	if err != nil {
		return false, 0, err
	}
	list, _ := answer.([]any)
	if len(list) != 2 {
		return false, 0, fmt.Errorf("redis answered a token with %d values", len(list))
	}
	return integer(list[0]) == 1, time.Duration(integer(list[1])) * time.Microsecond, nil
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// integer returns a number of an answer. What is none is as good as 0.
func integer(v any) int64 {
	n, _ := v.(int64)
	return n
}
