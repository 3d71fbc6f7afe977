package event

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// said empties the queue and returns what was in it, each event with its data in the order of their names.
func said(d *Emitter) (all []string) {
	for {
		select {
		case e := <-d.Events():
			all = append(all, fmt.Sprint(e.Name[len("ip_reputation_"):], " ", e.Data))
		default:
			return all
		}
	}
}

func want(t *testing.T, d *Emitter, what string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, said(d)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// TestProviders proves that what happens to a provider is said once, and that it is up only when it has answered a call that
// was begun after it went down. The time begins at midnight of 2000-01-01.
func TestProviders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New(16)
		now := time.Now
		d.Answers("p", now())
		want(t, d, "an answer of one that is up")
		before := now()
		time.Sleep(time.Second)
		d.Fails("p", "timeout", now().Add(30*time.Second))
		d.Fails("p", "error", now().Add(time.Minute))
		d.Answers("p", before)
		want(t, d, "failing", "provider_down map[provider:p result:timeout until:2000-01-01T00:00:31Z]")
		time.Sleep(time.Minute)
		d.Answers("p", now())
		d.Answers("p", now())
		want(t, d, "answering", "provider_up map[after:60 provider:p]")

		until := now().Add(15 * time.Minute)
		d.Refused("p", []string{"aaaa", "bbbb"}, until)
		d.Refused("p", []string{"bbbb", "cccc"}, until)
		d.Fails("p", "error", until)
		want(t, d, "refusing",
			"provider_down map[provider:p result:refused until:2000-01-01T00:16:01Z]",
			"key_refused map[key:aaaa provider:p until:2000-01-01T00:16:01Z]",
			"key_refused map[key:bbbb provider:p until:2000-01-01T00:16:01Z]",
			"key_refused map[key:cccc provider:p until:2000-01-01T00:16:01Z]")
		time.Sleep(time.Second)
		d.Answers("p", now())
		d.Refused("p", []string{"aaaa"}, until)
		want(t, d, "refusing again",
			"provider_up map[after:1 provider:p]",
			"provider_down map[provider:p result:refused until:2000-01-01T00:16:01Z]",
			"key_refused map[key:aaaa provider:p until:2000-01-01T00:16:01Z]")

		d.Spent("p", "2/day", until)
		d.Spent("p", "2/day", until)
		d.Spent("p", "9/week", until)
		d.Spent("p", "2/day", until.Add(24*time.Hour))
		want(t, d, "quotas",
			"quota_spent map[provider:p until:2000-01-01T00:16:01Z window:2/day]",
			"quota_spent map[provider:p until:2000-01-01T00:16:01Z window:9/week]",
			"quota_spent map[provider:p until:2000-01-02T00:16:01Z window:2/day]")

		d.Expires("p", "aaaa", now().Add(36*time.Hour), 36*time.Hour)
		d.Expires("p", "aaaa", now().Add(-time.Hour), -time.Hour)
		want(t, d, "keys that end",
			"key_expiring map[days:1 expires:2000-01-02T12:01:02Z key:aaaa provider:p]",
			"key_expiring map[days:-1 expires:1999-12-31T23:01:02Z key:aaaa provider:p]")

		d.Retain([]string{"q"}, nil, true)
		d.Fails("p", "error", until)
		want(t, d, "one that was out of the configuration", "provider_down map[provider:p result:error until:2000-01-01T00:16:01Z]")
	})
}

// TestThrottled proves that a pause is said once, also when many calls are told of it, and no more than once a minute when
// pauses are short.
func TestThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New(16)
		pause := func(length time.Duration) { d.Throttled("p", time.Now().Add(length)) }
		pause(time.Hour)
		pause(2 * time.Hour)
		want(t, d, "a pause that gets longer", "throttled map[provider:p until:2000-01-01T01:00:00Z]")
		time.Sleep(90 * time.Minute)
		pause(time.Hour)
		want(t, d, "within the longer pause")
		time.Sleep(3 * time.Hour)
		for range 90 {
			pause(time.Second)
			time.Sleep(time.Second)
		}
		want(t, d, "a minute and a half of short pauses",
			"throttled map[provider:p until:2000-01-01T04:30:01Z]", "throttled map[provider:p until:2000-01-01T04:31:01Z]")
	})
}

// TestFeeds proves that a feed is stale when its patience is over, is said to be so once a day, and once that it is fresh.
func TestFeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const day = 24 * time.Hour
		d := New(64)
		began := time.Now()
		ok := Feed{Name: "ok", LastSuccess: began, Patience: day, Why: "status 404"}
		never := Feed{Name: "never", Patience: 2 * day}
		look := func() (names []string) {
			for _, f := range d.CheckFeeds([]Feed{ok, never}) {
				names = append(names, f.Name)
			}
			return names
		}
		var stale []string
		for range 60 * 60 {
			stale = append(stale, look()...)
			time.Sleep(time.Minute)
		}
		if diff := cmp.Diff([]string{"ok", "ok", "never"}, stale); diff != "" {
			t.Errorf("stale (-want +got):\n%s", diff)
		}
		want(t, d, "two and a half days",
			"feed_stale map[feed:ok last_success:2000-01-01T00:00:00Z why:status 404]",
			"feed_stale map[feed:ok last_success:2000-01-01T00:00:00Z why:status 404]",
			"feed_stale map[feed:never last_success: why:]")
		ok.LastSuccess = time.Now()
		look()
		look()
		want(t, d, "one is fetched",
			"feed_fresh map[feed:ok]")
	})
}

// TestRedis proves that Redis is said to be back only if it was said to be away.
func TestRedis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New(16)
		d.RedisBack()
		d.RedisAway("refused")
		d.RedisAway("timeout")
		time.Sleep(90 * time.Second)
		d.RedisBack()
		d.RedisBack()
		want(t, d, "away and back", "redis_away map[why:refused]", "redis_back map[after:90]")
		d.RedisAway("refused")
		d.Reset()
		d.RedisBack()
		want(t, d, "after a reset")
	})
}

// TestBurst proves the rule: more than 60 in a minute, and more than five times as many as usual; and that one burst is said
// once.
func TestBurst(t *testing.T) {
	const look = 10 * time.Second
	for name, tc := range map[string]struct {
		usual, burst int // in a look, of which six are a minute
		minutes      int // that the burst lasts
		said         int
	}{
		"nothing":                              {0, 0, 10, 0},
		"60 in a minute":                       {0, 10, 5, 0},
		"66 in a minute":                       {0, 11, 5, 1},
		"five times as many as usual":          {20, 100, 1, 0},
		"more than that":                       {20, 120, 5, 1},
		"what was a burst becomes usual":       {0, 100, 180, 1},
		"many, as always":                      {100, 100, 60, 0},
		"a burst after a burst is over":        {1, 30, 10, 1},
		"fewer than 60, though unusually many": {1, 9, 5, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := New(16)
				var blocked, bans, dropped uint64 = 1000, 1000, 1000 // from before
				run := func(n, minutes int) {
					for range minutes * 6 {
						blocked += uint64(n - n/10 - n/20)
						bans += uint64(n / 20)
						dropped += uint64(n / 10)
						d.CheckBlocks(blocked, bans, dropped)
						d.CheckBlocks(blocked, bans, dropped) // the other configuration
						time.Sleep(look)
					}
				}
				run(0, 1)
				run(tc.usual, 90)
				said(d)
				run(tc.burst, tc.minutes)
				if got := said(d); len(got) != tc.said {
					t.Errorf("said %v, want %d", got, tc.said)
				}
				if len(d.blocks.samples) > 400 {
					t.Errorf("%d samples are kept", len(d.blocks.samples))
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		d := New(16)
		for range 5 { // a restart in the middle of what is usual, or of an attack: nobody knows
			d.CheckBlocks(0, 0, 0)
			time.Sleep(time.Minute)
		}
		d.CheckBlocks(500, 3, 7)
		if got := said(d); len(got) != 0 {
			t.Errorf("said %v after five minutes, of which one is the last", got)
		}
		d.Reset()
		for range 6 {
			d.CheckBlocks(500, 3, 7)
			time.Sleep(time.Minute)
		}
		d.CheckBlocks(1000, 6, 14)
		if got := said(d); len(got) != 1 || got[0] != "block_burst map[ban:3 block:500 count:510 drop:7 usual:0 window:1m]" {
			t.Errorf("said %v", got)
		}
	})
}

// TestBounded proves that nobody waits when nobody takes: what is too much is dropped and counted.
func TestBounded(t *testing.T) {
	d := New(2)
	for i := range 5 {
		d.Fails(fmt.Sprint(i), "error", time.Time{})
	}
	if n := len(said(d)); n != 2 || d.Dropped() != 3 {
		t.Errorf("%d in the queue, %d dropped", n, d.Dropped())
	}
}
