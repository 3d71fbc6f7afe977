package redis

import (
	"context"
	_ "embed" // the script
	"net/netip"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

var (
	//go:embed reported.lua
	reportedText string

	reportedScript = goredis.NewScript(reportedText)
)

// MayReport reports whether this instance may report the subject to a service now. If so, no other instance may for the
// given time. This one may try again, which begins the time anew. It is one exchange.
func (c *Client) MayReport(ctx context.Context, service string, subject netip.Prefix, within time.Duration) (bool, error) {
	key := c.key("{" + subject.String() + "}:reported:" + service)
	answer, err := c.run(ctx, reportedScript, []string{key}, c.token, within.Milliseconds())
	return integer(answer) == 1, err
}
