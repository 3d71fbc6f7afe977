package ledger

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
)

// The contract of a Store in examples. Each step may go by the answer of an earlier one.
func TestStore(t *testing.T) {
	tests := map[string][]storeStep{
		"counts up to the limit": {
			{1, "a", 1, 2, 0, 0, "", "granted 1: 1 owed 0"},
			{1, "b", 1, 2, 0, 0, "", "granted 1: 2 owed 0"},
			{1, "a", 1, 2, 0, 1, "", "refused 1: 2 owed 0"},
			{1, "a", 0, 2, 0, 3, "", "granted 1: 2 owed 0"},
			{1, "a", -5, 2, 0, 4, "", "granted 1: 0 owed 0"},
			{1, "a", 3, 2, 0, 5, "", "refused 1: 0 owed 0"},
		},
		"what is owed counts once, whatever the limit": {
			{1, "a", 0, 2, 3, 0, "", "granted 1: 3 owed 3"},
			{1, "a", 1, 2, 3, 0, "", "refused 1: 3 owed 3"},
			{1, "b", 1, 2, 2, 0, "", "refused 1: 5 owed 2"},
			{1, "a", 0, 2, 5, 1, "", "granted 1: 7 owed 5"},
			{1, "a", 0, 2, 4, 2, "", "granted 1: 7 owed 5"},
		},
		"a clock that is behind goes on in the window of the others": {
			{2, "a", 1, 9, 0, 0, "", "granted 2: 1 owed 0"},
			{1, "b", 1, 9, 5, 0, "", "granted 2: 2 owed 0"},
			{1, "b", -1, 9, 0, 0, "", "granted 2: 2 owed 0"},
			{2, "b", 1, 9, 0, 2, "", "granted 2: 3 owed 0"},
		},
		"no window gives way to calls given back": {
			{1, "a", 2, 9, 0, 0, "", "granted 1: 2 owed 0"},
			{3, "b", 3, 9, 0, 0, "", "granted 3: 3 owed 0"},
			{1, "a", -1, 9, 0, 1, "", "granted 1: 2 owed 0"},
			{3, "b", 1, 9, 0, 2, "", "granted 3: 4 owed 0"},
		},
		"the next window begins at zero": {
			{1, "a", 5, 9, 3, 0, "", "granted 1: 8 owed 3"},
			{2, "a", 5, 9, 0, 0, "", "granted 2: 5 owed 0"},
		},
		"clocks that are two windows apart bring what they know": {
			{1, "a", 5, 9, 0, 0, "", "granted 1: 5 owed 0"},
			{3, "b", 1, 9, 0, 0, "", "granted 3: 1 owed 0"},
			{1, "a", 1, 9, 0, 1, "", "granted 1: 6 owed 0 new"},
			{3, "b", 9, 9, 0, 2, "", "refused 3: 1 owed 0 new"},
		},
		"lost data begin at the most that instances know": {
			{1, "a", 3, 20, 2, 0, "", "granted 1: 5 owed 2"},
			{1, "b", 3, 20, 0, 0, "", "granted 1: 8 owed 0"},
			{1, "a", 1, 20, 2, 1, "flush", "granted 1: 6 owed 2 new"},
			{1, "b", 1, 20, 0, 2, "", "granted 1: 10 owed 0 new"},
			{1, "a", 1, 20, 3, 3, "", "granted 1: 12 owed 3"},
			{1, "b", 0, 20, 0, 2, "", "granted 1: 12 owed 0 new"},
		},
		"a late answer of the lost data does no harm": {
			{1, "a", 3, 20, 2, 0, "", "granted 1: 5 owed 2"},
			{1, "a", 1, 20, 2, 1, "flush", "granted 1: 6 owed 2 new"},
			{1, "a", 1, 20, 4, 1, "", "granted 1: 9 owed 4 new"},
			{1, "a", 1, 20, 4, 1, "", "granted 1: 10 owed 4 new"},
		},
		"a store that is thrown back": {
			{1, "a", 3, 20, 2, 0, "", "granted 1: 5 owed 2"},
			{1, "b", 3, 20, 0, 0, "save", "granted 1: 8 owed 0"},
			{1, "a", 2, 20, 4, 1, "", "granted 1: 12 owed 4"},
			{1, "b", 0, 20, 0, 2, "rollback", "granted 1: 8 owed 0 new"},
			{1, "a", 1, 20, 4, 3, "", "granted 1: 13 owed 4 new"},
			{1, "b", 1, 20, 0, 4, "", "granted 1: 14 owed 0"},
		},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) { checkStore(t, newStoreTwin(time.Now), steps) })
	}
}

type storeStep struct {
	day      int // of the window
	instance string
	n, limit int
	owed     int
	knows    int    // the number of the step, from 1, whose answer the instance goes by
	before   string // what happens before: "flush", "save" or "rollback"

	want string // granted or refused, the day, used, the instance's owed; "new" for another epoch than in the step known
}

func checkStore(t *testing.T, store *storeTwin, steps []storeStep) {
	first := mustTime(t, "2027-02-27T00:00:00Z")
	answers := []Counted{{Windows: make([]WindowCounted, 1)}}
	var restore func()
	for i, s := range steps {
		switch s.before {
		case "flush":
			store.flush()
		case "save":
			restore = store.rollback()
		case "rollback":
			restore()
		}
		known := answers[s.knows].Windows[0]
		start := first.AddDate(0, 0, s.day)
		got, err := store.Count(t.Context(), Count{Account: "x", Instance: s.instance, N: s.n, Windows: []WindowCount{{
			Period: "day", Start: start, End: Day.End(start), Limit: s.limit, Owed: s.owed,
			Epoch: known.Epoch, Version: known.Version, Known: known.Used, Settled: known.Owed,
		}}})
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, got)
		w := got.Windows[0]
		verb := map[bool]string{true: "granted", false: "refused"}[got.Granted]
		say := fmt.Sprintf("%s %d: %d owed %d", verb, int(w.Start.Sub(first).Hours()/24), w.Used, w.Owed)
		if s.knows > 0 && w.Epoch != known.Epoch {
			say += " new"
		}
		if say != s.want {
			t.Fatalf("step %d: %s, want %s", i+1, say, s.want)
		}
	}
}

func TestStoreRate(t *testing.T) {
	now := mustTime(t, "2027-01-01T00:00:00Z")
	store := newStoreTwin(func() time.Time { return now })
	take := func(n, limit int) string {
		c := Count{Account: "x", Instance: "a", N: n, Interval: time.Second, Burst: 2, Windows: []WindowCount{
			{Period: "day", Start: Day.Start(now), End: Day.End(now), Limit: limit},
		}}
		got, _ := store.Count(t.Context(), c)
		return fmt.Sprint(got.Granted, " ", got.RetryIn, " ", got.Windows[0].Used)
	}
	var got []string
	for _, n := range []int{1, 1, 1, 0, -1, 1} {
		got = append(got, take(n, 9))
	}
	now = now.Add(time.Second)
	got = append(got, take(1, 1), take(1, 9), take(2, 9))
	want := []string{
		"true 0s 1", "true 0s 2", "false 1s 2", "true 0s 2", "true 0s 1", "false 1s 1", // nothing is given back to the rate
		"false 0s 1", "true 0s 2", "false 2s 2", // the window refuses, and takes nothing from the rate
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestUselessAnswers(t *testing.T) {
	at := mustTime(t, "2027-01-01T12:00:00Z")
	start := Day.Start(at)
	good := WindowCounted{Start: start, Epoch: "e", Version: 1, Used: 3}
	tests := map[string]struct {
		windows []WindowCounted
		ok      bool
	}{
		"good":           {[]WindowCounted{good}, true},
		"next window":    {[]WindowCounted{{Start: Day.End(at), Epoch: "e", Version: 1}}, true},
		"other zone":     {[]WindowCounted{{Start: start.In(time.FixedZone("", 3600)), Epoch: "e", Version: 1}}, true},
		"none":           {nil, false},
		"two":            {[]WindowCounted{good, good}, false},
		"another window": {[]WindowCounted{{Start: start.AddDate(0, 0, -1), Epoch: "e", Version: 1}}, false},
		"no epoch":       {[]WindowCounted{{Start: start, Version: 1}}, false},
		"long epoch":     {[]WindowCounted{{Start: start, Epoch: strings.Repeat("e", maxNameSize+1), Version: 1}}, false},
		"broken epoch":   {[]WindowCounted{{Start: start, Epoch: "\xff", Version: 1}}, false},
		"no version":     {[]WindowCounted{{Start: start, Epoch: "e"}}, false},
		"negative count": {[]WindowCounted{{Start: start, Epoch: "e", Version: 1, Used: -1}}, false},
		"negative owed":  {[]WindowCounted{{Start: start, Epoch: "e", Version: 1, Owed: -1}}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var said logtest.Log
			store := storeFunc(func(context.Context, Count) (Counted, error) { return Counted{Windows: tt.windows}, nil })
			s := NewShared(store, memory(), 1, said.Logger())
			grant, err := s.Take(t.Context(), "a", Limits{Windows: []Window{{9, Day}}}, 1, at)
			if err != nil || grant.Granted == tt.ok { // The store refuses, so that what is granted was decided here.
				t.Errorf("granted %t, %v", grant.Granted, err)
			}
			if (said.String() == "") != tt.ok {
				t.Errorf("says %q", said.String())
			}
			restarted(t, s.local, at)
		})
	}
}

// storeFunc is a store made of one function.
type storeFunc func(context.Context, Count) (Counted, error)

func (f storeFunc) Count(ctx context.Context, c Count) (Counted, error) { return f(ctx, c) }
