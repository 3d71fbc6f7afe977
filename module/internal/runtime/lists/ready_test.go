package lists

import (
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
)

// TestAwaited proves that only a list that must come from elsewhere delays readiness, only after a start, and only
// for a bounded time; and that a reload neither begins to wait nor ends the waiting.
func TestAwaited(t *testing.T) {
	fetched := feed.Spec{Name: "fetched", URLs: []string{"http://192.0.2.1/"}}
	missing := feed.Spec{Name: "missing", File: t.TempDir() + "/missing", Own: true}
	with := func(specs ...feed.Spec) *Lists {
		set, err := feed.Open(specs, feed.Options{}) // never started: nothing is fetched
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = set.Close() })
		return &Lists{Set: NewSet(set)}
	}
	now := time.Now()
	check := func(what string, l *Lists, at time.Duration, want bool) {
		t.Helper()
		if got := l.Awaited(now.Add(at)); got != want {
			t.Errorf("%s, after %s: waiting is %v, want %v", what, at, got, want)
		}
	}
	var serving *Lists
	start := func(l *Lists, at time.Duration) *Lists {
		l.Expect(serving, now.Add(at))
		serving = l
		return l
	}

	check("before the start", with(fetched), 0, false)
	own := start(with(missing), 0)
	check("a file is no reason", own, 0, false)
	check("a reload", start(with(fetched), time.Second), time.Second, false)

	serving = nil
	first := start(with(missing, fetched), 0)
	check("a start", first, 0, true)
	check("a start", first, firstLists-1, true)
	check("a start", first, firstLists, false)
	next := start(with(fetched), 4*time.Second)
	check("a reload of one that waits", next, 4*time.Second, true)
	check("a reload of one that waits", next, firstLists, false)
}
