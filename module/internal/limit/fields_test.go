package limit

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
)

func TestFields(t *testing.T) {
	perMinute := rate.Rate{Events: 10, Per: time.Minute}
	for name, tt := range map[string]struct {
		policy       string
		rate         rate.Rate
		decision     Decision
		header, want string
		retry        int
	}{
		"first": {
			"rule-3", perMinute, Decision{Allowed: true, Remaining: 9, Reset: 6 * time.Second},
			`"rule-3";q=10;w=60`, `"rule-3";r=9;t=6`, 1,
		},
		"later": { // 3.5 tokens missing
			"rule-3", perMinute, Decision{Allowed: true, Remaining: 6, Reset: 21 * time.Second},
			`"rule-3";q=10;w=60`, `"rule-3";r=6;t=3`, 1,
		},
		"last": {
			"rule-3", perMinute, Decision{Allowed: true, Reset: time.Minute},
			`"rule-3";q=10;w=60`, `"rule-3";r=0;t=6`, 1,
		},
		"refused": {
			"rule-3", perMinute, Decision{Reset: 56 * time.Second, RetryAfter: 2*time.Second + 1},
			`"rule-3";q=10;w=60`, `"rule-3";r=0;t=3`, 3,
		},
		"refused for a moment": {
			"rule-3", perMinute, Decision{Reset: 54*time.Second + 1, RetryAfter: 1},
			`"rule-3";q=10;w=60`, `"rule-3";r=0;t=1`, 1,
		},
		"less than a second": {
			"fast", rate.Rate{Events: 5, Per: 100 * time.Millisecond}, Decision{Allowed: true, Remaining: 3, Reset: 40 * time.Millisecond},
			`"fast";q=5;w=1`, `"fast";r=3;t=1`, 1,
		},
		"nothing is missing": {
			"odd", perMinute, Decision{Allowed: true, Remaining: 10},
			`"odd";q=10;w=60`, `"odd";r=10;t=0`, 1,
		},
		"large": {
			"day", rate.Rate{Events: 1_000_000, Per: 24 * time.Hour}, Decision{Allowed: true, Reset: 24 * time.Hour},
			`"day";q=1000000;w=86400`, `"day";r=0;t=1`, 1,
		},
		"a name that needs care": {
			"a\"b\\c\r\nX-Evil: ü", perMinute, Decision{Allowed: true, Remaining: 9, Reset: 6 * time.Second},
			`"a\"b\\c__X-Evil: _";q=10;w=60`, `"a\"b\\c__X-Evil: _";r=9;t=6`, 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			policy, value := Fields(tt.policy, tt.rate, tt.decision)
			equal(t, "RateLimit-Policy", policy, tt.header)
			equal(t, "RateLimit", value, tt.want)
			equal(t, "Retry-After", tt.decision.RetryAfterSeconds(), tt.retry)
		})
	}
}

// Whatever a bucket decides, the fields are well-formed, and agree with it: a client that waits for t seconds and sends one
// request more than r is not refused; one that is refused is not told to come back before these have passed.
func TestFieldsKeepTheirWord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, err := NewRule(rates(100).Draw(t, "rate"))
		if err != nil {
			t.Fatal(err)
		}
		l, s := NewLocal(1), client(1)
		now := l.began
		name := rapid.String().Draw(t, "name")
		for range rapid.IntRange(1, 110).Draw(t, "requests") {
			d := l.Take(r, s, now)
			policy, value := Fields(name, r.rate, d)
			var events, window, remaining, seconds int
			parse(t, policy, "q=%d;w=%d", &events, &window)
			parse(t, value, "r=%d;t=%d", &remaining, &seconds)
			if events != r.rate.Events || window < 1 || time.Duration(window-1)*time.Second >= r.rate.Per {
				t.Fatalf("%s of %v", policy, r.rate)
			}
			equal(t, "r", remaining, d.Remaining)
			if !d.Allowed && seconds > d.RetryAfterSeconds() {
				t.Fatalf("%s, but Retry-After: %d", value, d.RetryAfterSeconds())
			}
			if left := peek(l, r, s, now.Add(time.Duration(seconds)*time.Second)); left < min(remaining+1, r.rate.Events) {
				t.Fatalf("%s, but %d pass after that", value, left)
			}
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(r.rate.Per)).Draw(t, "pause")))
		}
	})
}

// parse reads the parameters of a String item, and holds the string to its grammar.
func parse(t *rapid.T, field, format string, into ...any) {
	if field[0] != '"' {
		t.Fatalf("no String: %s", field)
	}
	for i := 1; ; i++ {
		switch c := field[i]; {
		case c == '\\' && !strings.ContainsRune(`"\`, rune(field[i+1])), c < ' ', c > '~':
			t.Fatalf("not allowed at %d: %q", i, field)
		case c == '\\':
			i++
		case c == '"':
			if n, err := fmt.Sscanf(field[i+1:], ";"+format, into...); err != nil || n != len(into) {
				t.Fatalf("%s: %v", field, err)
			}
			return
		}
	}
}
