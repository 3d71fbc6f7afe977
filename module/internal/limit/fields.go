package limit

import (
	"fmt"
	"math/bits"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
)

// Fields returns the values of the header fields RateLimit-Policy and RateLimit as defined by
// draft-ietf-httpapi-ratelimit-headers-11, such as `"rule-3";q=10;w=60` and `"rule-3";r=0;t=6`.
//
// The name of the policy may be any text; characters that a header cannot carry become underscores.
// q is how many requests pass in w seconds, r how many would pass now, and t the seconds until more
// than r would pass. The draft's section 4.1.2 defines t so; in earlier versions it was the time
// until all are restored. Seconds are rounded up. For a refused request t is never more than
// RetryAfterSeconds, as section 6 requires.
func Fields(policy string, r rate.Rate, d Decision) (policyValue, value string) {
	name := quote(policy)
	return fmt.Sprintf("%s;q=%d;w=%d", name, r.Events, wholeSeconds(r.Per)),
		fmt.Sprintf("%s;r=%d;t=%d", name, d.Remaining, wholeSeconds(untilMore(r, d)))
}

// untilMore returns the time until one request more than Remaining would pass.
func untilMore(r rate.Rate, d Decision) time.Duration {
	if !d.Allowed {
		return d.RetryAfter
	}
	missing := r.Events - d.Remaining - 1
	if missing < 0 {
		return 0
	}
	high, low := bits.Mul64(uint64(missing), uint64(r.Per))
	others, _ := bits.Div64(high, low, uint64(r.Events))
	return max(d.Reset-time.Duration(others), 0)
}

// quote returns the text as a String of RFC 9651, section 3.3.3.
func quote(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c < ' ' || c > '~':
			b.WriteByte('_')
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
