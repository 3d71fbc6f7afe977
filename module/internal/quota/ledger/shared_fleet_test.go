package ledger

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const instances = 3

// fleet is several instances with one store, and a model of what they have really done.
type fleet struct {
	now     time.Time
	share   float64
	windows []Window // of different periods
	store   *storeTwin
	links   [instances]*link
	shared  [instances]*Shared

	calls     [instances][]time.Time         // made, and not given back
	alone     [instances]map[windowKey]int   // granted without an answer of the store, less given back of these
	uncertain [instances]map[windowKey]bool  // given back after the store may have been told
	stored    map[windowKey]int              // granted by the store, answered or not, less given back
	disturbed map[windowKey]bool             // the store was away from somebody, or was flushed
	flushed   map[windowKey]*[instances]bool // who has spoken since
	answered  map[windowKey]*[instances]bool // and who was answered
	forgotten map[windowKey]bool             // flushed again before all were answered
}

type windowKey struct {
	period Period
	start  int64
}

func newFleet(now time.Time, share float64, windows []Window) *fleet {
	f := &fleet{
		now: now, share: share, windows: windows,
		stored: map[windowKey]int{}, disturbed: map[windowKey]bool{},
		flushed: map[windowKey]*[instances]bool{}, answered: map[windowKey]*[instances]bool{}, forgotten: map[windowKey]bool{},
	}
	f.store = newStoreTwin(func() time.Time { return f.now })
	for i := range instances {
		f.links[i] = &link{store: f.store}
		f.shared[i] = NewShared(f.links[i], memory(), share, slog.New(slog.DiscardHandler))
		f.alone[i], f.uncertain[i] = map[windowKey]int{}, map[windowKey]bool{}
	}
	return f
}

func (f *fleet) key(p Period, at time.Time) windowKey { return windowKey{p, p.Start(at).Unix()} }

// counter returns what an instance knows of the present window of a period.
func (f *fleet) counter(i int, p Period) counter {
	return f.shared[i].local.accounts["a"][p].at(p, f.now).withAllOwed()
}

// made returns how many calls were made in the present window.
func (f *fleet) made(p Period) (n int) {
	for _, calls := range f.calls {
		for _, at := range calls {
			if f.key(p, at) == f.key(p, f.now) {
				n++
			}
		}
	}
	return n
}

// kept returns the present window at the store.
func (f *fleet) kept(p Period) keptWindow { return f.store.window("a", p, p.Start(f.now)) }

// take lets an instance take n calls, made at a time, and keeps the model. It returns whether they were granted.
func (f *fleet) take(t failer, i, n int, at time.Time) bool {
	l := f.links[i]
	before := len(l.asked)
	var knew account
	for _, w := range f.windows {
		c, key := f.counter(i, w.Period), f.key(w.Period, at)
		f.uncertain[i][key] = f.uncertain[i][key] || n < 0 && f.kept(w.Period).owed[f.instance(i)] > c.settled
		knew[w.Period] = c
	}
	grant, err := f.shared[i].Take(context.Background(), "a", Limits{Windows: f.windows}, n, at)
	if err != nil {
		t.Fatalf("take: %v", err)
	}
	reached := len(l.asked) > before
	f.note(i, n, reached)
	for _, w := range f.windows {
		key := f.key(w.Period, at)
		switch {
		case reached && n > 0 && l.last.Granted:
			f.stored[key] += n
		case reached && n < 0 && key == f.key(w.Period, f.now):
			f.stored[key] += n
		case n < 0 && grant.Granted && !knew[w.Period].empty():
			f.alone[i][key] += n
		}
		if n > 0 && grant.Granted && l.state != up {
			f.alone[i][key] += n
		}
	}
	if n > 0 && grant.Granted {
		for range n {
			f.calls[i] = append(f.calls[i], at)
		}
	}
	if n > 0 && !grant.Granted && l.state == up {
		f.checkRefusal(t, n)
	}
	return grant.Granted
}

func (f *fleet) instance(i int) string { return f.shared[i].local.instance }

// note keeps what an instance has gone through.
func (f *fleet) note(i, n int, reached bool) {
	for _, w := range f.windows {
		key := f.key(w.Period, f.now)
		if f.links[i].state != up {
			f.disturbed[key] = true
		}
		if spoken := f.flushed[key]; spoken != nil && reached && n >= 0 {
			spoken[i] = true
			f.answered[key][i] = f.answered[key][i] || f.links[i].state == up
		}
	}
}

func (f *fleet) settle(t failer, i int) {
	before := len(f.links[i].asked)
	err := f.shared[i].settle(context.Background(), f.now)
	f.note(i, 0, len(f.links[i].asked) > before)
	if f.links[i].state != up {
		return
	}
	if err != nil {
		t.Fatalf("settle: %v", err)
	}
	for _, w := range f.windows {
		c, key := f.counter(i, w.Period), f.key(w.Period, f.now)
		if c.unsettled() != 0 {
			t.Fatalf("%s: %d calls of instance %d are owed after it has settled", w, c.unsettled(), i)
		}
		owed, want := f.kept(w.Period).owed[f.instance(i)], f.alone[i][key]
		if owed < want || owed > want && !f.uncertain[i][key] {
			t.Fatalf("%s: the store knows %d calls that instance %d made by itself, want %d", w, owed, i, want)
		}
	}
}

func (f *fleet) flush() {
	f.store.flush()
	for _, w := range f.windows {
		key := f.key(w.Period, f.now)
		f.forgotten[key] = f.forgotten[key] || f.silent(f.answered[key], w.Period) > 0
		f.flushed[key], f.answered[key], f.disturbed[key] = new([instances]bool), new([instances]bool), true
	}
}

// silent returns how many instances know something that they have not yet said since the store was flushed.
func (f *fleet) silent(spoken *[instances]bool, p Period) (n int) {
	for i := range instances {
		if spoken != nil && !spoken[i] && !f.counter(i, p).empty() {
			n++
		}
	}
	return n
}

func (f *fleet) restart(i int) {
	local := restarted(nil, f.shared[i].local, f.now)
	f.shared[i] = NewShared(f.links[i], local, f.share, slog.New(slog.DiscardHandler))
}

// checkRefusal: the store refuses only because a window is full, and nothing is wasted while it was never away.
func (f *fleet) checkRefusal(t failer, n int) {
	for _, w := range f.windows {
		if f.kept(w.Period).used()+n > w.Limit {
			return
		}
	}
	t.Fatalf("%d calls were refused although there was room", n)
}

// bound is the most calls there may be in a window, as long as the store does not lose its data.
func (f *fleet) bound(limit int) int { return limit + (instances-1)*f.shared[0].shareOf(limit) }

func (f *fleet) check(t failer) {
	for _, w := range f.windows {
		key, made, kept := f.key(w.Period, f.now), f.made(w.Period), f.kept(w.Period)
		untold, owed := 0, 0
		for i := range instances {
			c := f.counter(i, w.Period)
			untold += c.unsettled()
			owed += kept.owed[f.instance(i)]
			if most := f.shared[i].shareOf(w.Limit); c.unsettled() > most {
				t.Fatalf("%s: instance %d has spent %d by itself, more than %d", w, i, c.unsettled(), most)
			}
		}
		if f.silent(f.flushed[key], w.Period) == 0 && !f.forgotten[key] && kept.used()+untold < made {
			t.Fatalf("%s: %d calls were made, but the store has %d, and %d are owed", w, made, kept.used(), untold)
		}
		if f.flushed[key] == nil {
			if made > f.bound(w.Limit) {
				t.Fatalf("%s: %d calls were made, more than %d", w, made, f.bound(w.Limit))
			}
			if kept.used() != f.stored[key]+owed {
				t.Fatalf("%s: the store has %d calls, want %d that it has granted and %d that were owed", w, kept.used(), f.stored[key], owed)
			}
		}
		if !f.disturbed[key] && (kept.used() != made || untold != 0 || made > w.Limit) {
			t.Fatalf("%s: in peace %d calls were made, the store has %d and %d are owed", w, made, kept.used(), untold)
		}
	}
}

func TestFleet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFleet(
			time.Unix(rapid.Int64Range(1_700_000_000, 1_900_000_000).Draw(t, "start"), 0),
			rapid.SampledFrom([]float64{0, 1. / instances, 0.5, 1}).Draw(t, "share"),
			[]Window{{rapid.IntRange(1, 9).Draw(t, "in a minute"), Minute}, {rapid.IntRange(1, 30).Draw(t, "in a day"), Day}},
		)
		one := func(t *rapid.T) int { return rapid.IntRange(0, instances-1).Draw(t, "instance") }
		t.Repeat(map[string]func(*rapid.T){
			"wait": func(t *rapid.T) {
				unit := rapid.SampledFrom([]time.Duration{time.Second, time.Minute, time.Hour}).Draw(t, "unit")
				f.now = f.now.Add(time.Duration(rapid.IntRange(1, 30).Draw(t, "units")) * unit)
			},
			"take":        func(t *rapid.T) { f.take(t, one(t), 1, f.now) },
			"take again":  func(t *rapid.T) { f.take(t, one(t), 1, f.now) },
			"take two":    func(t *rapid.T) { f.take(t, one(t), 2, f.now) },
			"take all":    func(t *rapid.T) { f.takeAll(t, one(t)) },
			"look":        func(t *rapid.T) { f.take(t, one(t), 0, f.now) },
			"settle":      func(t *rapid.T) { f.settle(t, one(t)) },
			"restart":     func(t *rapid.T) { f.restart(one(t)) },
			"lose answer": func(t *rapid.T) { f.lose(t, one(t)) },
			"flush":       func(t *rapid.T) { f.flush() },
			"give back": func(t *rapid.T) {
				i := one(t)
				if len(f.calls[i]) == 0 {
					return
				}
				k := rapid.IntRange(0, len(f.calls[i])-1).Draw(t, "call")
				at := f.calls[i][k]
				f.calls[i] = append(f.calls[i][:k:k], f.calls[i][k+1:]...)
				f.take(t, i, -1, at)
			},
			"link": func(t *rapid.T) {
				f.links[one(t)].set(rapid.SampledFrom([]linkState{up, cut, deaf}).Draw(t, "state"))
			},
			"store goes": func(t *rapid.T) { f.allLinks(cut) },
			"store is back": func(t *rapid.T) {
				f.allLinks(up)
				for i := range instances {
					f.settle(t, i)
				}
			},
			"": func(t *rapid.T) { f.check(t) },
		})
	})
}

func (f *fleet) allLinks(s linkState) {
	for _, l := range f.links {
		l.set(s)
	}
}

func (f *fleet) takeAll(t failer, i int) (n int) {
	for f.take(t, i, 1, f.now) {
		n++
	}
	return n
}

// lose lets the store hear one Take that it cannot answer.
func (f *fleet) lose(t failer, i int) {
	before := f.links[i].state
	f.links[i].set(deaf)
	f.take(t, i, 1, f.now)
	f.links[i].set(before)
}

// The claim that 1/k of what is left keeps k instances within the limit holds if they knew the same when the store went
// away. What one did not know, it takes its share of: each may go beyond by its share of what the others took since it last
// heard of the store.
func TestShareKeepsTheLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		day := Window{rapid.IntRange(1, 50).Draw(t, "limit"), Day}
		f := newFleet(time.Date(2027, 1, 1, 10, 0, 0, 0, time.UTC), 1./instances, []Window{day})
		for range rapid.IntRange(0, 60).Draw(t, "before") {
			f.take(t, rapid.IntRange(0, instances-1).Draw(t, "instance"), 1, f.now)
		}
		if rapid.Bool().Draw(t, "all know") {
			for i := range instances {
				f.take(t, i, 0, f.now)
			}
		}
		count := f.kept(Day).used()
		most := count
		for i := range instances {
			most += f.shared[i].shareOf(day.Limit - f.counter(i, Day).used)
		}

		f.allLinks(cut)
		for i := range instances {
			f.takeAll(t, i)
			f.restart(i)
			f.takeAll(t, i)
		}
		if made := f.made(Day); made != most {
			t.Fatalf("%d of %d calls were made, of which %d before the store went away; want %d", made, day.Limit, count, most)
		}
		f.allLinks(up)
		for i := range instances {
			f.settle(t, i)
		}
		for i := range instances {
			f.takeAll(t, i)
		}
		if made := f.made(Day); made != max(most, day.Limit) {
			t.Fatalf("%d calls were made in all, want %d", made, max(most, day.Limit))
		}
		f.check(t)
	})
}

// The bound of the documentation is reached: whoever is back first spends what the others owe.
func TestTheBoundIsReached(t *testing.T) {
	f := newFleet(mustTime(t, "2027-01-01T10:00:00Z"), 1./instances, []Window{{9, Day}})
	f.allLinks(cut)
	for i := range instances {
		f.takeAll(t, i)
	}
	if made := f.made(Day); made != 9 {
		t.Errorf("%d calls were made while the store was away, want 9", made)
	}
	f.allLinks(up)
	for i := range instances {
		f.takeAll(t, i)
	}
	if made := f.made(Day); made != 15 || made != f.bound(9) {
		t.Errorf("%d calls were made, want 15, the bound %d", made, f.bound(9))
	}
	f.check(t)
}
