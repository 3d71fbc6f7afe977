package redis

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/limit"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// TestOneBudget proves that instances which ask at the same time are together granted what one would be, in every window.
func TestOneBudget(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	clients := []*Client{connect(t, server.Addr), connect(t, server.Addr)}
	windows := []ledger.WindowCount{today(700), today(500)}
	windows[1].Period = "hour"
	var granted atomic.Int64
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for range 100 {
				counted, err := clients[n%2].Count(t.Context(), ledger.Count{Account: "a", N: 1, Windows: windows})
				if err != nil {
					t.Error(err)
				}
				if counted.Granted {
					granted.Add(1)
				}
			}
		})
	}
	all.Wait()
	if n := granted.Load(); n != 500 {
		t.Errorf("%d calls are granted, want 500", n)
	}
	counted, err := clients[0].Count(t.Context(), ledger.Count{Account: "a", Windows: windows})
	if err != nil || counted.Windows[0].Used != 500 || counted.Windows[1].Used != 500 {
		t.Errorf("counted %+v, %v", counted, err)
	}
	if ttl := server.CLI("TTL", "iprep:v1:{quota:a}"); ttl == "-1" {
		t.Error("the counts stay for ever")
	}
}

// step is one call of a story about one account.
type step struct {
	say     string
	n       int
	day     int // whose window it is, as the caller's clock says
	owed    int
	other   bool    // it is another instance's
	lost    string  // what happened to the server before
	goesBy  *answer // what the instance remembers, instead of its last answer
	granted bool
	used    int
}

type answer struct {
	epoch       string
	version     int64
	known, told int
}

// TestCounting proves the rules by which calls are counted, each as a story: a quota of 10 a day.
func TestCounting(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	c := connect(t, server.Addr)
	for name, story := range map[string][]step{
		"up to the limit": {
			{n: 9, granted: true, used: 9},
			{say: "more than is left counts nothing", n: 2, used: 9},
			{n: 1, granted: true, used: 10},
			{say: "a look costs nothing", granted: true, used: 10},
			{n: 1, used: 10},
		},
		"given back": {
			{n: 3, granted: true, used: 3},
			{n: -1, granted: true, used: 2},
			{say: "never below nothing", n: -5, granted: true, used: 0},
		},
		"the next window": {
			{n: 8, granted: true, used: 8},
			{day: 1, n: 8, granted: true, used: 8},
			{say: "a clock that is behind counts in the window that has begun", n: 2, granted: true, used: 10},
			{say: "and is refused there", n: 1, used: 10},
			{say: "what was taken in a window that is over is not given back in the next", n: -1, granted: true, used: 10},
			{say: "nor is what was spent in it counted there", owed: 3, granted: true, used: 10},
			{say: "a clock that was far ahead does not hold up the others", day: 7, n: 1, granted: true, used: 1},
			{day: 1, n: 1, granted: true, used: 1},
		},
		"spent without us": {
			{n: 2, granted: true, used: 2},
			{say: "it is added once", owed: 3, granted: true, used: 5},
			{owed: 3, n: 1, granted: true, used: 6},
			{say: "and what came on top", owed: 5, granted: true, used: 8},
			{say: "an old message changes nothing", owed: 4, granted: true, used: 8},
			{say: "of each instance", other: true, owed: 4, granted: true, used: 12},
			{say: "beyond the limit, too; then nothing is granted", n: 1, owed: 5, used: 12},
			{say: "the next window owes nothing", day: 1, n: 1, granted: true, used: 1},
			{say: "until more is spent", day: 1, owed: 2, granted: true, used: 3},
		},
		"all is lost": {
			{n: 4, granted: true, used: 4},
			{say: "another instance knows of it", other: true, n: 2, granted: true, used: 6},
			{say: "the one that knows less speaks first", lost: "FLUSHALL", n: 1, granted: true, used: 5},
			{say: "what the other knows is more, and what was counted since comes on top", other: true, granted: true, used: 7},
			{say: "it is said once", other: true, n: 1, granted: true, used: 8},
			{n: 1, granted: true, used: 9},
		},
		"lost with debts": {
			{owed: 3, n: 1, granted: true, used: 4},
			{say: "what was told before is not told again", lost: "FLUSHALL", owed: 5, granted: true, used: 6},
		},
		"a replica that lagged": {
			{n: 5, granted: true, used: 5},
			{say: "it has seen more than is there", goesBy: &answer{version: 9, known: 8}, n: 1, granted: true, used: 9},
			{say: "so the others say what they know, too", other: true, goesBy: &answer{epoch: "of old", version: 3, known: 9}, granted: true, used: 10},
		},
	} {
		t.Run(name, func(t *testing.T) {
			server.CLI("FLUSHALL")
			last := map[bool]answer{}
			for i, s := range story {
				if s.lost != "" {
					server.CLI(s.lost)
				}
				goesBy := last[s.other]
				if s.goesBy != nil {
					epoch := goesBy.epoch
					if goesBy = *s.goesBy; goesBy.epoch == "" {
						goesBy.epoch = epoch
					}
				}
				start := time.Date(2026, 11, 24+s.day, 0, 0, 0, 0, time.UTC)
				calls := ledger.Count{Account: name, N: s.n, Instance: "here", Windows: []ledger.WindowCount{{
					Period: "day", Start: start, End: start.AddDate(0, 0, 1), Limit: 10, Owed: s.owed,
					Epoch: goesBy.epoch, Version: goesBy.version, Known: goesBy.known, Settled: goesBy.told,
				}}}
				if s.day != 0 {
					calls.Windows[0].Epoch, calls.Windows[0].Version, calls.Windows[0].Known, calls.Windows[0].Settled = "", 0, 0, 0
				}
				if s.other {
					calls.Instance = "there"
				}
				counted, err := c.count(t.Context(), calls)
				if err != nil {
					t.Fatal(err)
				}
				w := counted.Windows[0]
				if counted.Granted != s.granted || w.Used != s.used {
					t.Errorf("step %d (%s): granted %v with %d used, want %v with %d", i+1, s.say, counted.Granted, w.Used, s.granted, s.used)
				}
				if w.Start.Equal(start) {
					last[s.other] = answer{epoch: w.Epoch, version: w.Version, known: w.Used, told: w.Owed}
				}
			}
		})
	}
}

// TestOneRate proves that instances together keep a rate, and are told when there is room.
func TestOneRate(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	clients := []*Client{connect(t, server.Addr), connect(t, server.Addr)}
	calls := ledger.Count{Account: "a", N: 1, Interval: time.Hour, Burst: 5, Windows: []ledger.WindowCount{today(1000)}}
	granted := 0
	for n := range 20 {
		counted, err := clients[n%2].Count(t.Context(), calls)
		if err != nil {
			t.Fatal(err)
		}
		if counted.Granted {
			granted++
			continue
		}
		if counted.RetryIn < 50*time.Minute || counted.RetryIn > time.Hour {
			t.Errorf("room in %s, want about an hour", counted.RetryIn)
		}
	}
	if granted != 5 {
		t.Errorf("%d calls are granted, want the 5 that may come at once", granted)
	}
	counted, err := clients[0].Count(t.Context(), ledger.Count{Account: "a", Windows: []ledger.WindowCount{today(1000)}})
	if err != nil || counted.Windows[0].Used != 5 {
		t.Errorf("%+v, %v: what the rate refused was counted", counted, err)
	}
	calls.Account, calls.Interval = "b", time.Millisecond
	eventually(t, "the rate has room again", func() bool {
		for range 10 {
			counted, err := clients[0].Count(t.Context(), calls)
			if err != nil {
				t.Fatal(err)
			}
			if counted.Granted {
				granted++
			}
		}
		return granted > 50
	})
}

// TestOneBucket proves that a bucket gives so many tokens, whoever asks, and says when it is full.
func TestOneBucket(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	clients := []*Client{connect(t, server.Addr), connect(t, server.Addr)}
	for _, tc := range []struct {
		events int
		period time.Duration
	}{{1, time.Hour}, {3, time.Hour}, {10, 24 * time.Hour}, {7, 13 * time.Hour}, {997, 24 * time.Hour}} {
		server.CLI("FLUSHALL")
		allowed, ahead := 0, time.Duration(0)
		for n := range 2*tc.events + 5 {
			ok, full, err := clients[n%2].TakeTokens(t.Context(), one("rule:203.0.113.7", tc.events, tc.period))
			if err != nil {
				t.Fatal(err)
			}
			if ok {
				allowed++
				if full < ahead {
					t.Fatalf("%d in %s: full in %s after a token, in %s before", tc.events, tc.period, full, ahead)
				}
			}
			ahead = full - tc.period/time.Duration(tc.events)/2
		}
		if allowed != tc.events {
			t.Errorf("%d tokens of a bucket of %d in %s", allowed, tc.events, tc.period)
		}
		if ttl := server.CLI("PTTL", "iprep:v1:limit:rule:203.0.113.7"); ttl == "-1" {
			t.Error("the bucket stays for ever")
		}
	}
	// a server whose clock was ahead by a day has handed over
	server.CLI("SET", "iprep:v1:limit:ahead", "99999999999999999")
	if ok, full, err := clients[0].TakeTokens(t.Context(), one("ahead", 3, time.Hour)); ok || full > time.Hour || err != nil {
		t.Errorf("%v, full in %s, %v", ok, full, err)
	}
	for _, foreign := range [][]string{
		{"SET", "iprep:v1:limit:foreign", "letters"}, {"SET", "iprep:v1:limit:foreign", "nan"},
		{"HSET", "iprep:v1:limit:foreign", "a", "b"}, {"SET", "iprep:v1:limit:foreign", "-inf"},
	} {
		server.CLI("DEL", "iprep:v1:limit:foreign")
		server.CLI(foreign...)
		for n := range 4 {
			if ok, _, err := clients[0].TakeTokens(t.Context(), one("foreign", 3, time.Hour)); ok != (n < 3) || err != nil {
				t.Errorf("token %d after %v: %v, %v", n+1, foreign, ok, err)
			}
		}
	}
	eventually(t, "an empty bucket fills", func() bool {
		ok, _, err := clients[0].TakeTokens(t.Context(), one("fast", 1, 20*time.Millisecond))
		again, _, _ := clients[0].TakeTokens(t.Context(), one("fast", 1, 20*time.Millisecond))
		return err == nil && ok && !again
	})
}

// one is a batch of one token.
func one(key string, events int, per time.Duration) limit.Batch {
	return limit.Batch{Key: key, Rate: rate.Rate{Events: events, Per: per}, Tokens: 1}
}

func BenchmarkExchange(b *testing.B) {
	c := connect(b, testenv.Redis(b).Addr)
	b.Run("count", func(b *testing.B) {
		for b.Loop() {
			if _, err := c.Count(b.Context(), ledger.Count{Account: "a", N: 1, Windows: []ledger.WindowCount{today(1 << 30)}}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("token", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := c.TakeTokens(b.Context(), one("a", 10, time.Minute)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("claim", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := c.Claim(b.Context(), key4, []string{"abuseipdb"}, time.Minute); err != nil {
				b.Fatal(err)
			}
		}
	})
}
