package ledger

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
)

func TestShareOfWhatIsLeft(t *testing.T) {
	const morning, midnight = "2027-01-30T08:00:00Z", "2027-01-31T00:00:00Z"
	tests := map[string]struct {
		share   float64
		before  int // taken by the other instance, known to this one
		unknown int // and not known
		at      string
		windows []Window
		want    int // calls that are granted while the store is away
	}{
		"half":                         {0.5, 0, 0, morning, []Window{{10, Day}}, 5},
		"a third is three":             {1. / 3, 0, 0, morning, []Window{{9, Day}}, 3},
		"a 49th is one":                {1. / 49, 0, 0, morning, []Window{{49, Day}}, 1},
		"whole calls only":             {0.5, 0, 0, morning, []Window{{3, Day}}, 1},
		"less than one call":           {0.3, 0, 0, morning, []Window{{3, Day}}, 0},
		"nothing":                      {0, 0, 0, morning, []Window{{10, Day}}, 0},
		"all":                          {1, 0, 0, morning, []Window{{10, Day}}, 10},
		"more than all":                {7, 0, 0, morning, []Window{{10, Day}}, 10},
		"less than nothing":            {-1, 0, 0, morning, []Window{{10, Day}}, 0},
		"of what is left":              {0.5, 4, 0, morning, []Window{{10, Day}}, 3},
		"of what it knows to be left":  {0.5, 4, 2, morning, []Window{{10, Day}}, 3},
		"nothing is left":              {1, 10, 0, morning, []Window{{10, Day}}, 0},
		"the limit was lowered":        {1, 8, 0, morning, []Window{{10, Day}, {5, Day}}, 0},
		"a new window":                 {0.5, 4, 0, midnight, []Window{{10, Day}}, 5},
		"a new window within an old":   {0.5, 4, 0, midnight, []Window{{10, Day}, {10, Month}}, 3},
		"the smaller of two":           {0.5, 4, 0, morning, []Window{{100, Month}, {8, Day}}, 2},
		"the smaller of two of a kind": {0.5, 0, 0, morning, []Window{{8, Day}, {4, Day}}, 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, tt.share, time.Now)
			high := Limits{Windows: []Window{{99, Day}, {99, Month}}}
			p.take(1, high, tt.before, mustTime(t, morning))
			p.take(0, high, 0, mustTime(t, morning))
			p.take(1, high, tt.unknown, mustTime(t, morning))
			p.links[0].set(cut)
			got := 0
			for range 20 {
				if p.take(0, Limits{Windows: tt.windows}, 1, mustTime(t, tt.at)).Granted {
					got++
				}
			}
			if got != tt.want {
				t.Errorf("%d calls were granted, want %d", got, tt.want)
			}
		})
	}
}

// Each time that the store goes away there is a share of what is left then, so that the quota is never spent twice.
func TestEachOutageHasItsShare(t *testing.T) {
	at := mustTime(t, "2027-01-15T12:00:00Z")
	limits := Limits{Windows: []Window{{16, Day}}}
	p := newPair(t, 0.5, time.Now)
	for outage, want := range []int{8, 4, 2, 1, 0, 0} {
		p.links[0].set(cut)
		got := 0
		for p.take(0, limits, 1, at).Granted {
			got++
		}
		if got != want {
			t.Errorf("outage %d: %d calls were granted, want %d", outage, got, want)
		}
		p.links[0].set(up)
		p.take(0, limits, 0, at)
	}
}

func TestShareIsAFraction(t *testing.T) {
	for share, want := range map[float64]float64{-1: 0, 0.5: 0.5, 2: 1, math.Inf(1): 1} {
		if got := NewShared(nil, memory(), share, slog.New(slog.DiscardHandler)).share; got != want {
			t.Errorf("%v is taken for %v, want %v", share, got, want)
		}
	}
	if got := NewShared(nil, memory(), math.NaN(), slog.New(slog.DiscardHandler)).share; got != 0 {
		t.Errorf("what is no number is taken for %v", got)
	}
}

// What was owed and told is in the count that an instance brings to a store that has lost its data, and is not added to it.
func TestStoreLosesItsData(t *testing.T) {
	at := mustTime(t, "2027-01-15T12:00:00Z")
	month := Limits{Windows: []Window{{1000, Month}}}
	p := newPair(t, 0.5, time.Now)
	p.take(1, month, 100, at)
	p.links[0].set(cut)
	p.want(0, month, 300, at, true, 300)
	p.links[0].set(up)
	p.want(0, month, 1, at, true, 401)
	p.take(1, month, 100, at)
	p.store.flush()
	p.want(0, month, 1, at, true, 402)
	p.want(1, month, 1, at, true, 503)
	p.want(0, month, 0, at, true, 503)

	p.store.flush()
	for i := range p.ends {
		if err := p.ends[i].settle(t.Context(), at); err != nil {
			t.Fatal(err)
		}
	}
	if used := p.store.window("a", Month, Month.Start(at)).used(); used != 503 {
		t.Errorf("the store has %d calls after all have settled, want 503", used)
	}

	restore := p.store.rollback()
	p.want(1, month, 97, at, true, 600)
	restore() // A replica takes over that had not heard of it.
	p.want(1, month, 400, at, true, 1000)
	p.want(0, month, 1, at, false, 1000)
}

// A process that had no store counts by itself; with one, or with another, it brings what it has counted.
func TestStoreIsGivenAndTakenAway(t *testing.T) {
	at := mustTime(t, "2027-01-15T12:00:00Z")
	day := Limits{Windows: []Window{{20, Day}}}
	p := newPair(t, 0.5, time.Now)
	for i := range p.ends {
		local := memory()
		if _, err := local.Take(t.Context(), "a", day, 3, at); err != nil {
			t.Fatal(err)
		}
		p.ends[i] = NewShared(p.links[i], local, 0.5, slog.New(slog.DiscardHandler))
	}
	p.links[0].set(cut)
	p.want(0, day, 1, at, true, 4)
	p.links[0].set(up)
	p.want(0, day, 1, at, true, 5)
	p.want(1, day, 1, at, true, 9)

	local := p.ends[1].local
	if g, _ := local.Take(t.Context(), "a", day, 2, at); !g.Granted || g.Usage[0].Used != 11 {
		t.Errorf("without the store: %+v", g)
	}
	if g, _ := local.Take(t.Context(), "a", day, -1, at); g.Usage[0].Used != 10 {
		t.Errorf("without the store a call is given back: %+v", g)
	}
	p.want(0, day, 0, at, true, 9)
	p.want(1, day, 0, at, true, 10)
	p.want(0, day, 0, at, true, 10)

	p.store = newStoreTwin(time.Now)
	for i := range p.ends {
		p.ends[i] = NewShared(p.store, p.ends[i].local, 0.5, slog.New(slog.DiscardHandler))
		p.want(i, day, 1, at, true, 11+i)
	}
}

// Of two answers that overtake each other the store's later one counts, whatever the order they come in.
func TestAnswersOvertakeEachOther(t *testing.T) {
	at := mustTime(t, "2027-01-01T12:00:00Z")
	day := Limits{Windows: []Window{{9, Day}}}
	for name, between := range map[string]func(p *pair){
		"nothing":           func(*pair) {},
		"a call given back": func(p *pair) { p.take(1, day, -1, at) },
		"the data are lost": func(p *pair) { p.store.flush() },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, 1, time.Now)
			p.take(1, day, 3, at)
			held := false
			p.ends[0].store = storeFunc(func(ctx context.Context, c Count) (Counted, error) {
				answer, err := p.store.Count(ctx, c)
				if !held { // What is asked while the first answer is on its way is answered before it. No lock is held.
					held = true
					between(p)
					p.take(0, day, 1, at)
				}
				return answer, err
			})
			p.take(0, day, 1, at)
			if name == "the data are lost" {
				p.take(0, day, 0, at) // Two epochs are told apart by the next answer.
			}
			c := p.ends[0].local.accounts["a"][Day]
			if k := p.store.window("a", Day, Day.Start(at)); c.used != k.used() || c.epoch != k.epoch || c.version != k.version {
				t.Errorf("the instance knows %+v, the store has %+v", c, k)
			}
		})
	}
}

func TestAwayAndBackAreSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said logtest.Log
		l := &link{store: newStoreTwin(time.Now)}
		s := NewShared(l, memory(), 0.25, said.Logger())
		for _, state := range []linkState{up, cut, cut, up, up, cut, up, cut} { // within a minute
			l.set(state)
			if _, err := s.Take(t.Context(), "a", Limits{Windows: []Window{{99, Day}}}, 1, time.Now()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		check := func(away, back int) {
			t.Helper()
			text := said.String()
			if a, b := strings.Count(text, "this one goes on with its share"), strings.Count(text, "for all instances again"); a != away || b != back {
				t.Errorf("said %d times that it is away and %d times that it is back, want %d and %d:\n%s", a, b, away, back, text)
			}
		}
		check(1, 1)
		time.Sleep(time.Minute)
		if err := s.Settle(t.Context()); !errors.Is(err, errAway) {
			t.Error(err)
		}
		check(1, 1) // It is the owner who wants to know.
		_, _ = s.Take(t.Context(), "a", Limits{Windows: []Window{{99, Day}}}, 1, time.Now())
		l.set(up)
		if err := s.Settle(t.Context()); err != nil {
			t.Error(err)
		}
		check(2, 2)
		if strings.Count(said.String(), "share=0.25") != 2 || !strings.Contains(said.String(), errAway.Error()) {
			t.Errorf("says neither share nor cause:\n%s", said.String())
		}
	})
}

func TestSettleGoesAsFarAsItCan(t *testing.T) {
	at := mustTime(t, "2027-01-01T12:00:00Z")
	p := newPair(t, 1, time.Now)
	p.links[0].set(cut)
	for _, name := range []string{"a", "b"} {
		_, _ = p.ends[0].Take(t.Context(), name, Limits{Windows: []Window{{9, Minute}, {9, Day}}}, 2, at)
	}
	if err := p.ends[0].settle(t.Context(), at); !errors.Is(err, errAway) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.ends[0].store = storeFunc(func(ctx context.Context, _ Count) (Counted, error) { return Counted{}, ctx.Err() })
	if err := p.ends[0].settle(ctx, at); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	p.ends[0].store = p.links[0]
	p.links[0].set(up)
	if err := p.ends[0].settle(t.Context(), at.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	for _, c := range p.links[0].asked {
		if len(c.Windows) != 1 || c.Windows[0].Period != "day" || c.N != 0 {
			t.Errorf("the store is asked %+v", c)
		}
	}
	for _, name := range []string{"a", "b"} {
		if day, minute := p.store.window(name, Day, Day.Start(at)), p.store.window(name, Minute, at); day.used() != 2 || minute.used() != 0 {
			t.Errorf("%s: the store has %d in the day, and %d in a minute that is over", name, day.used(), minute.used())
		}
	}
}
