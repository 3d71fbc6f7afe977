package postgres

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// TestTogether holds that the timeline of an address says how many requests were counted together of its network and of
// everybody, in the period and on the first page; that they are none of its own; and that the network has them as entries.
func TestTogether(t *testing.T) {
	l := newLibrary(t)
	row := func(prefix string, count int64, ago time.Duration) history.Decision {
		at := readNow.Add(-ago)
		return history.Decision{
			Minute: at.Truncate(time.Minute), Address: netip.MustParsePrefix(prefix), Action: "pass", Mode: "enforce",
			Count: count, First: at, Last: at, Status: "unknown",
		}
	}
	l.add([]history.Decision{
		row("203.0.113.7/32", 1, time.Hour), row("203.0.113.8/32", 2, time.Hour), row("203.0.113.0/24", 40, time.Hour),
		row("203.0.113.0/24", 2, time.Minute), row("203.0.113.0/24", 1000, 48*time.Hour), row("0.0.0.0/0", 7, time.Hour),
		row("198.51.100.0/24", 9, time.Hour), row("2001:db8:1::/48", 5, time.Hour), row("100::/64", 3, time.Hour), row("::/0", 11, time.Hour),
	}, nil)
	at := func(prefix string, requests int64) history.Together {
		return history.Together{Prefix: netip.MustParsePrefix(prefix), Requests: requests}
	}
	for prefix, want := range map[string]struct {
		together []history.Together
		requests int64
	}{
		"203.0.113.7/32":    {[]history.Together{at("203.0.113.0/24", 42), at("0.0.0.0/0", 7)}, 1},
		"203.0.113.0/24":    {[]history.Together{at("0.0.0.0/0", 7)}, 1045},
		"192.0.2.1/32":      {[]history.Together{at("0.0.0.0/0", 7)}, 0},
		"2001:db8:1:2::/64": {[]history.Together{at("2001:db8:1::/48", 5), at("::/0", 11)}, 0},
		"100::1:2:3:4/128":  {[]history.Together{at("100::/64", 3), at("::/0", 11)}, 0},
		"0.0.0.0/0":         {nil, 1061},
	} {
		got, err := l.Timeline(t.Context(), history.Query{
			Period: history.Period{From: readNow.Add(-24 * time.Hour)}, Prefix: netip.MustParsePrefix(prefix),
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.together, got.Together, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", prefix, diff)
		}
		requests := int64(0)
		if got.Seen != nil {
			requests = got.Seen.Requests
		}
		if requests != want.requests {
			t.Errorf("%s has %d requests, want %d", prefix, requests, want.requests)
		}
	}
}
