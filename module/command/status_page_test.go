package command

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
)

// TestStatusShowsTroubleOfLists proves that the page says what is wrong with a list, and nothing of one that is well.
func TestStatusShowsTroubleOfLists(t *testing.T) {
	now := time.Now()
	const day = 24 * time.Hour
	for name, test := range map[string]struct {
		status   feed.Status
		want     string
		overlaps []health.Overlap
	}{
		"well":  {status: feed.Status{Loaded: true, LastSuccess: now.Add(-time.Hour), Changed: now.Add(-3 * time.Hour)}, want: ""},
		"empty": {status: feed.Status{Failures: 3, LastResult: "timeout"}, want: "no contents yet, 3 attempts failed: timeout"},
		"old":   {status: feed.Status{Loaded: true, LastSuccess: now, Changed: now.Add(-9 * day)}, want: "unchanged for 9d0h"},
		"shrank": {status: feed.Status{
			Loaded: true, LastSuccess: now, Changed: now, Failures: 2, LastResult: "refused_shrunk", Confirm: 3,
			Shrunk: &feed.Shrunk{Before: 100, Lines: 20, Seen: 2, Since: now.Add(-5 * time.Hour)},
		}, want: "2 attempts failed: refused_shrunk, shrank from 100 lines to 20, believed after 3 fetches over a day: 2 in 5h0m"},
		"shrank, never believed": {status: feed.Status{
			Loaded: true, LastSuccess: now, Changed: now, Shrunk: &feed.Shrunk{Before: 100, Lines: 20, Seen: 2, Since: now},
		}, want: "shrank from 100 lines to 20, not believed"},
		"shrank, believed": {status: feed.Status{
			Loaded: true, LastSuccess: now, Changed: now, Accepted: &feed.Shrunk{Before: 100, Lines: 20, At: now.Add(-time.Hour)},
		}, want: "shrank from 100 lines to 20, believed 1h0m ago"},
		"ignored": {status: feed.Status{Loaded: true, LastSuccess: now, Changed: now, Ignored: 1}, want: "1 line ignored"},
		"refused for days": {
			status: feed.Status{
				Loaded: true, LastSuccess: now.Add(-3 * day), Changed: now.Add(-3 * day), Failures: 71,
				LastResult: "refused_shrunk", Ignored: 12,
			},
			want: "71 attempts failed: refused_shrunk, 12 lines ignored",
		},
		"lists others": {
			status:   feed.Status{Loaded: true, LastSuccess: now, Changed: now},
			want:     "lists 3 prefixes of bot_googlebot, lists 1 prefix of exempt",
			overlaps: []health.Overlap{{List: "bot_googlebot", Prefixes: 3}, {List: "exempt", Prefixes: 1}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			test.status.Name, test.status.Kind, test.status.Source = "one", feed.KindURL, "lists.example.org"
			var out bytes.Buffer
			p := newPage(&out, 0)
			p.now = now
			p.status(adminapi.Status{Lists: []health.List{{Role: "feed", Status: test.status, Overlaps: test.overlaps}}})
			if err := p.flush(); err != nil {
				t.Fatal(err)
			}
			_, lists, _ := strings.Cut(out.String(), "lists ")
			_, trouble, _ := strings.Cut(strings.TrimSpace(lists), "\n")
			if got := strings.TrimSpace(trouble); got != test.want {
				t.Errorf("the page says %q, want %q:\n%s", got, test.want, out.String())
			}
		})
	}
}

// TestStatusShowsViolations holds what the page says of violations, and of bans that no operator made.
func TestStatusShowsViolations(t *testing.T) {
	for _, tc := range []struct {
		status adminapi.Status
		want   []string
	}{
		{adminapi.Status{Bans: 3, BansBy: map[string]int{"operator": 3, "rule": 0}}, []string{"bans         3\n"}},
		{
			adminapi.Status{
				Bans: 6, BansBy: map[string]int{"operator": 1, "rule": 2, "violation": 3},
				Violations: &health.Violations{
					Clients: 40, Capacity: 100, Evictions: 7, LastHour: map[string]int{"trap": 3, "login_failed": 12},
				},
			},
			[]string{
				"bans         6, 2 of them by rules and 3 by violations\n",
				"violations   40 of 100 clients, 7 evicted, in the last hour 12 login_failed, 3 trap\n",
			},
		},
		{adminapi.Status{Violations: new(health.Violations)}, []string{"0 evicted, in the last hour none\n"}},
	} {
		var out bytes.Buffer
		p := newPage(&out, 0)
		p.status(tc.status)
		if err := p.flush(); err != nil {
			t.Fatal(err)
		}
		for _, want := range tc.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("the page lacks %q:\n%s", want, &out)
			}
		}
	}
}
