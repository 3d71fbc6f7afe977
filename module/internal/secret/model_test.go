package secret

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Whatever a store does and whenever it is asked for: the last good value is the one in use, it is fetched often enough and
// not too often, and a change is told exactly once.
func TestModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		synctest.Test(t, func(*testing.T) { model(r) })
	})
}

func model(r *rapid.T) {
	refresh := time.Duration(rapid.IntRange(1, 200).Draw(r, "refresh")) * time.Second
	s := &store{err: errAway}
	o := quiet()
	o.Refresh = refresh
	k := Open("a", s, o)
	k.Start()
	defer k.Close()
	synctest.Wait()
	inUse, changed, asked := "", k.Changed(), 0
	for range rapid.IntRange(1, 30).Draw(r, "steps") {
		switch rapid.IntRange(0, 3).Draw(r, "step") {
		case 0:
			s.set(fmt.Sprintf("k%d", rapid.IntRange(1, 3).Draw(r, "value")))
		case 1:
			s.fail(rapid.SampledFrom([]error{errAway, nil, reputation.ErrRefused, reputation.ErrUnknown}).Draw(r, "error"))
		case 2:
			k.Refresh()
			asked++
		}
		s.mu.Lock()
		good := s.secret.Value
		s.mu.Unlock()
		from := s.calls()
		wait := time.Duration(rapid.IntRange(1, 300).Draw(r, "wait")) * time.Second
		time.Sleep(wait)
		synctest.Wait()
		fetched := s.calls() > from
		if wait > refresh*11/10 && !fetched {
			r.Fatalf("not fetched during %s", wait)
		}
		if fetched && good != "" {
			if tells := good != inUse; tells != closed(changed) {
				r.Fatalf("from %q to %q: told of a change: %t", inUse, good, !tells)
			}
			inUse, changed = good, k.Changed()
		}
		if got, ok := k.Current(); got != inUse || ok != (inUse != "") || closed(changed) {
			r.Fatalf("value %q, want %q", got, inUse)
		}
		if st := k.Status(); st.Has != (inUse != "") || st.Fingerprint != Fingerprint(inUse) || fetched && (st.Error == "") != (good != "") {
			r.Fatalf("status %+v of %q", st, inUse)
		}
	}
	early := 0
	for _, gap := range s.gaps(0) {
		if gap < minPause {
			early++
		}
	}
	if early > asked {
		r.Fatalf("%d fetches came less than a second after another, %d were asked for", early, asked)
	}
}

// Everything at once, for the race detector.
func TestConcurrentUse(t *testing.T) {
	s := holding("k0")
	k := Open("a", s, quiet())
	ring := NewRing(k, k)
	var users sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		users.Go(func() {
			for !closed(stop) {
				k.Refresh()
				value, ok := k.Current()
				st := k.Status()
				if ok && (value == "" || !st.Has || st.Fingerprint == "") {
					t.Errorf("%q, %+v", value, st)
				}
				for key := range ring.Each {
					if key == "" {
						t.Error("an empty key")
					}
				}
			}
		})
	}
	k.Start()
	for i := range 200 {
		changed := k.Changed()
		s.set(fmt.Sprintf("k%d", i+1))
		if err := k.Prime(t.Context()); err != nil {
			t.Error(err)
		}
		<-changed
	}
	users.Go(k.Start)
	users.Go(k.Close)
	users.Go(func() {
		if err := k.Prime(t.Context()); err != nil && !errors.Is(err, k.ctx.Err()) {
			t.Error(err)
		}
	})
	close(stop)
	users.Wait()
	k.Close()
}
