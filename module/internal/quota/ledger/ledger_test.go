package ledger

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
)

// ledgers are the ledgers that must count alike, and how a new process takes each up again.
var ledgers = map[string]struct {
	first   func() Ledger
	restart func(failer, Ledger, time.Time) Ledger
}{
	"local": {
		func() Ledger { return memory() },
		func(t failer, l Ledger, now time.Time) Ledger { return restarted(t, l.(*Local), now) },
	},
	"shared": {
		func() Ledger { return NewShared(newStoreTwin(time.Now), memory(), 0, slog.New(slog.DiscardHandler)) },
		sharedAgain,
	},
	"shared, with all of a store that is never there": {
		func() Ledger { return NewShared(&link{state: cut}, memory(), 1, slog.New(slog.DiscardHandler)) },
		sharedAgain,
	},
}

func sharedAgain(t failer, l Ledger, now time.Time) Ledger {
	s := l.(*Shared)
	return NewShared(s.store, restarted(t, s.local, now), s.share, s.log)
}

func TestTake(t *testing.T) {
	const morning, evening, tomorrow = "2027-02-28T08:00:00Z", "2027-02-28T23:59:59Z", "2027-03-01T00:00:00Z"
	day, month := Window{2, Day}, Window{3, Month}
	tests := map[string][]takeStep{
		"a window fills and ends at midnight": {
			{morning, []Window{day}, 1, true, []int{1}},
			{evening, []Window{day}, 1, true, []int{2}},
			{evening, []Window{day}, 1, false, []int{2}},
			{tomorrow, []Window{day}, 1, true, []int{1}},
		},
		"all windows or none": {
			{morning, []Window{day, month}, 1, true, []int{1, 1}},
			{morning, []Window{day, month}, 1, true, []int{2, 2}},
			{morning, []Window{day, month}, 1, false, []int{2, 2}},
			{morning, []Window{month}, 0, true, []int{2}},
			{tomorrow, []Window{day, month}, 1, true, []int{1, 1}},
		},
		"the second window refuses": {
			{morning, []Window{month, {9, Day}}, 3, true, []int{3, 3}},
			{morning, []Window{{9, Day}, month}, 1, false, []int{3, 3}},
			{morning, []Window{{9, Day}}, 0, true, []int{3}},
		},
		"windows of the same period count once": {
			{morning, []Window{{2, Day}, {5, Day}}, 1, true, []int{1, 1}},
			{morning, []Window{{2, Day}, {5, Day}}, 1, true, []int{2, 2}},
			{morning, []Window{{5, Day}, {2, Day}}, 1, false, []int{2, 2}},
		},
		"a changed limit keeps the count": {
			{morning, []Window{day}, 2, true, []int{2}},
			{morning, []Window{{3, Day}}, 1, true, []int{3}},
			{morning, []Window{{1, Day}}, 1, false, []int{3}},
		},
		"looking takes nothing": {
			{morning, []Window{day}, 0, true, []int{0}},
			{morning, []Window{day}, 1, true, []int{1}},
			{evening, []Window{day}, 0, true, []int{1}},
			{tomorrow, []Window{day}, 0, true, []int{0}},
		},
		"a call is given back": {
			{morning, []Window{day}, 2, true, []int{2}},
			{morning, []Window{day}, -1, true, []int{1}},
			{morning, []Window{day}, 1, true, []int{2}},
		},
		"nothing to give back": {
			{morning, []Window{day}, -1, true, []int{0}},
			{morning, []Window{day}, 1, true, []int{1}},
		},
		"a call of a window that is over is not given back to the next": {
			{evening, []Window{day}, 1, true, []int{1}},
			{tomorrow, []Window{day}, 1, true, []int{1}},
			{evening, []Window{day}, -1, true, []int{1}},
			{tomorrow, []Window{day}, 0, true, []int{1}},
		},
		"the clock steps back over midnight": {
			{evening, []Window{day}, 1, true, []int{1}},
			{tomorrow, []Window{day}, 2, true, []int{2}},
			{evening, []Window{day}, 1, false, []int{2}},
			{tomorrow, []Window{day}, 1, false, []int{2}},
		},
		"the clock was years ahead": {
			{"2039-01-01T00:00:00Z", []Window{day}, 2, true, []int{2}},
			{morning, []Window{day}, 1, true, []int{1}},
		},
		"no windows": {
			{morning, nil, 1, true, []int{}},
		},
	}
	for name, steps := range tests {
		for kind, ledger := range ledgers {
			t.Run(kind+": "+name, func(t *testing.T) { checkTakes(t, ledger.first(), steps) })
		}
	}
}

type takeStep struct {
	at      string
	windows []Window
	n       int
	granted bool
	used    []int
}

func checkTakes(t *testing.T, l Ledger, steps []takeStep) {
	for i, s := range steps {
		grant, err := l.Take(context.Background(), "a", Limits{Windows: s.windows}, s.n, mustTime(t, s.at))
		if err != nil {
			t.Fatal(err)
		}
		used := make([]int, len(grant.Usage))
		for j, u := range grant.Usage {
			used[j] = u.Used
		}
		if grant.Granted != s.granted || !slices.Equal(used, s.used) {
			t.Fatalf("step %d: granted %t, used %v, want %t, %v", i, grant.Granted, used, s.granted, s.used)
		}
	}
}

func TestLocalReset(t *testing.T) {
	at := mustTime(t, "2028-02-29T12:34:56Z")
	grant, _ := memory().Take(context.Background(), "a",
		Limits{Windows: []Window{{1, Minute}, {1, Hour}, {1, Day}, {1, Week}, {1, Month}}}, 1, at)
	var got []string
	for _, u := range grant.Usage {
		got = append(got, u.Reset.Format(time.RFC3339))
	}
	want := []string{
		"2028-02-29T12:35:00Z", "2028-02-29T13:00:00Z", "2028-03-01T00:00:00Z", "2028-03-06T00:00:00Z", "2028-03-01T00:00:00Z",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// twin is the slow ledger: it remembers every call and counts those within a window.
type twin map[string][]time.Time

func (w twin) used(account string, p Period, at time.Time) int {
	n := 0
	for _, call := range w[account] {
		if !call.Before(p.Start(at)) && call.Before(p.End(at)) {
			n++
		}
	}
	return n
}

func (w twin) take(account string, windows []Window, at time.Time) bool {
	for _, win := range windows {
		if w.used(account, win.Period, at)+1 > win.Limit {
			return false
		}
	}
	w[account] = append(w[account], at)
	return true
}

func (w twin) giveBack(account string, at time.Time) {
	if i := slices.IndexFunc(w[account], at.Equal); i >= 0 {
		w[account] = slices.Delete(w[account], i, i+1)
	}
}

func TestTakeAgainstTwin(t *testing.T) {
	ctx := context.Background()
	rapid.Check(t, func(t *rapid.T) {
		kind := ledgers[rapid.SampledFrom(slices.Sorted(maps.Keys(ledgers))).Draw(t, "ledger")]
		windows := make([]Window, rapid.IntRange(1, 4).Draw(t, "windows"))
		for i := range windows {
			windows[i] = Window{rapid.IntRange(1, 6).Draw(t, "limit"), Period(rapid.IntRange(0, NumPeriods-1).Draw(t, "period"))}
		}
		ledger, slow := kind.first(), twin{}
		now := time.Unix(rapid.Int64Range(1_700_000_000, 1_900_000_000).Draw(t, "start"), 0)
		account := rapid.SampledFrom([]string{"a", "b"})
		taken := map[string][]time.Time{}
		t.Repeat(map[string]func(*rapid.T){
			"wait": func(t *rapid.T) {
				unit := rapid.SampledFrom([]time.Duration{time.Second, time.Minute, time.Hour, 24 * time.Hour}).Draw(t, "unit")
				now = now.Add(time.Duration(rapid.IntRange(1, 40).Draw(t, "units")) * unit)
			},
			"take": func(t *rapid.T) {
				name := account.Draw(t, "account")
				grant, _ := ledger.Take(ctx, name, Limits{Windows: windows}, 1, now)
				if want := slow.take(name, windows, now); grant.Granted != want {
					t.Fatalf("granted %t, the twin %t", grant.Granted, want)
				}
				if grant.Granted {
					taken[name] = append(taken[name], now)
				}
			},
			"give back": func(t *rapid.T) {
				name := account.Draw(t, "account")
				if len(taken[name]) == 0 {
					return
				}
				i := rapid.IntRange(0, len(taken[name])-1).Draw(t, "call")
				at := taken[name][i]
				taken[name] = slices.Delete(taken[name], i, i+1)
				_, _ = ledger.Take(ctx, name, Limits{Windows: windows}, -1, at)
				slow.giveBack(name, at)
			},
			"restart": func(t *rapid.T) {
				ledger = kind.restart(t, ledger, now)
			},
			"": func(t *rapid.T) {
				for _, name := range []string{"a", "b"} {
					grant, _ := ledger.Take(ctx, name, Limits{Windows: windows}, 0, now)
					for i, u := range grant.Usage {
						if want := slow.used(name, windows[i].Period, now); u.Used != want || u.Used > windows[i].Limit {
							t.Fatalf("%s of %s: used %d, the twin %d", windows[i], name, u.Used, want)
						}
					}
				}
			},
		})
	})
}

func TestLocalDoesNotKeepARate(t *testing.T) {
	l := memory()
	for range 9 {
		g, err := l.Take(t.Context(), "a", Limits{Rate: rate.Rate{Events: 1, Per: time.Hour}}, 1, time.Now())
		if err != nil || !g.Granted || len(l.accounts) != 0 {
			t.Fatalf("%+v, %v, %d accounts", g, err, len(l.accounts))
		}
	}
}

// restarted returns what a new process reads from the file that this ledger would write.
func restarted(t failer, l *Local, now time.Time) *Local {
	data, err := encode(ledgerState{l.instance, l.accounts})
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	r, err := decode(data)
	if err != nil {
		t.Fatalf("decode: %v", err)
	}
	again := memory()
	again.instance, again.accounts = r.instance, current(r.accounts, now)
	return again
}

// failer is what *testing.T and *rapid.T have in common.
type failer interface {
	Fatalf(format string, args ...any)
}

func TestLocalConcurrent(t *testing.T) {
	l, at := memory(), mustTime(t, "2027-01-01T00:00:00Z")
	windows := []Window{{300, Day}, {250, Month}}
	var granted atomic.Int64
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			if g, _ := l.Take(context.Background(), "a", Limits{Windows: windows}, 1, at); g.Granted {
				granted.Add(1)
			}
		})
	}
	wg.Wait()
	if granted.Load() != 250 {
		t.Errorf("%d calls were granted, want 250", granted.Load())
	}
}
