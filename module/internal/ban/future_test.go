package ban

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
)

const year = 365 * 24 * time.Hour

// minutes lets time pass, and each store looks at it.
func (c *clock) minutes(n int, stores ...*Store) {
	for range n {
		c.add(time.Minute)
		for _, s := range stores {
			s.expire(false)
		}
	}
}

// A ban of an instance whose clock was a year ahead reaches the others once the clock is right, and
// lasts as long as it was meant to.
func TestBanOfTheFuture(t *testing.T) {
	c := newClock()
	path := filepath.Join(t.TempDir(), "bans.json")
	c.add(year)
	a, log := openAt(t, path, c.now)
	put(t, a, prefix, 24*time.Hour)
	put(t, a, prefix2, 0)
	unban(t, a, prefix2)
	c.add(-year)
	b, _ := openAt(t, "", c.now)
	put(t, b, prefix2, 0)

	merge(t, b, a.Entries())
	if lookup(b, addr) != "" {
		t.Error("what may be of a wrong clock is taken at once")
	}
	c.minutes(12, a, b)
	if !strings.Contains(log.Take(), "made while the clock was ahead, and count from now on") {
		t.Error("the log does not say it")
	}
	merge(t, b, a.Entries())
	merge(t, a, b.Entries())
	restarted, _ := openAt(t, path, c.now)
	for _, s := range []*Store{a, b, restarted} {
		if lookup(s, addr) != "banned" || len(s.List(Ban)) != 1 {
			t.Errorf("%q of %+v", lookup(s, addr), s.List(Ban))
		}
	}
	unban(t, b, prefix)
	merge(t, a, b.Entries())
	if lookup(a, addr) != "" {
		t.Error("who has the right time cannot undo it")
	}

	put(t, b, prefix, 24*time.Hour)
	merge(t, a, b.Entries())
	c.minutes(24*60, a, b)
	if lookup(a, addr) != "" || lookup(b, addr) != "" {
		t.Error("it does not end")
	}
}

// A clock that is not set yet after a start changes nothing.
func TestClockNotSetYet(t *testing.T) {
	c := newClock()
	path := filepath.Join(t.TempDir(), "bans.json")
	first, _ := openAt(t, path, c.now)
	put(t, first, prefix, time.Hour)
	want := first.List(Ban)[0]
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	c.add(-10 * year)
	s, _ := openAt(t, path, c.now)
	c.minutes(9, s)
	if lookup(s, addr) != "banned" {
		t.Error("the ban is gone while the clock is behind")
	}
	c.add(10 * year)
	c.minutes(20, s)
	if got := s.List(Ban); len(got) != 1 || got[0] != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// However the clocks of instances were wrong, once they are right all agree within minutes, and
// nothing is left of the future.
func TestClocksConverge(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		clocks, stores := []*clock{newClock(), newClock(), newClock()}, []*Store{}
		for _, c := range clocks {
			s, _ := openAt(t, "", c.now)
			stores = append(stores, s)
		}
		exchange := func() {
			for range 2 {
				for _, from := range stores {
					for _, to := range stores {
						to.Merge(from.Entries())
					}
				}
			}
		}
		right := newClock()
		for range rapid.IntRange(1, 12).Draw(rt, "changes") {
			i := rapid.IntRange(0, 2).Draw(rt, "instance")
			c, s := clocks[i], stores[i]
			c.nanos.Store(right.nanos.Load() + int64(time.Duration(rapid.Int64Range(-1e8, 1e8).Draw(rt, "clock"))*time.Second))
			p := rapid.SampledFrom([]string{prefix, prefix2}).Draw(rt, "prefix")
			if listed := s.List(Ban); rapid.Bool().Draw(rt, "remove") && len(listed) > 0 {
				if _, err := s.Remove(Ban, listed[0].Prefix); err != nil { // it may have just ended
					rt.Fatal(err)
				}
			} else {
				put(t, s, p, time.Duration(rapid.IntRange(0, 48).Draw(rt, "hours"))*time.Hour)
			}
			if rapid.Bool().Draw(rt, "exchange") {
				exchange()
			}
		}
		for _, c := range clocks {
			c.nanos.Store(right.nanos.Load())
		}
		for i, c := range clocks {
			c.minutes(12, stores[i])
		}
		exchange()
		now := clocks[0].now()
		for _, s := range stores {
			if got, want := s.List(Ban), stores[0].List(Ban); len(got) != len(want) {
				rt.Fatalf("%+v and %+v", got, want)
			}
			for i, e := range s.List(Ban) {
				if e != stores[0].List(Ban)[i] {
					rt.Errorf("%+v and %+v", e, stores[0].List(Ban)[i])
				}
				if !e.Expires.IsZero() && e.Expires.After(now.Add(48*time.Hour+replica.MaxAhead)) {
					rt.Errorf("%+v at %s", e, now)
				}
			}
			for _, e := range s.Entries() {
				if err := e.Check(now); err != nil {
					rt.Errorf("%s: %v", e.Name, err)
				}
			}
		}
	})
}
