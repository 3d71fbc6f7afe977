package quota

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// tested is a service that is believed only while its test passes.
type tested struct {
	service
	probe func(key string) error
}

func (p *tested) Probe(_ context.Context, key string) error { return p.probe(key) }

func selfTested() Options {
	o := quiet()
	o.SelfTest = true
	return o
}

func wantAsked(t *testing.T, g *Guard, key string, want bool) {
	t.Helper()
	_, err := g.Check(context.Background(), query(key))
	if got := err == nil; got != want {
		t.Errorf("asked with key %q: %t (%v), want %t", key, got, err, want)
	}
	r, why, _ := g.Reserve(key, addr4, worthOf(1), time.Now())
	if r != nil {
		r.Cancel()
	}
	if got := r != nil; got != want {
		t.Errorf("reserved with key %q: %t (%s), want %t", key, got, why, want)
	}
}

// Nobody is asked before the test has passed, nor after a wrong answer to it. That the service is away is no
// evidence.
func TestOnlyWhatPassesItsTestIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lies := fmt.Errorf("%w: the list has everybody", reputation.ErrBadAnswer)
		away := errors.New("connection refused")
		var result error
		p := &tested{probe: func(string) error { return result }}
		var said logtest.Log
		g := New("a", p, Terms{}, NewBudget(), memory(), Options{Logger: said.Logger(), SelfTest: true})
		wantAsked(t, g, "", false)
		if s := g.Status(); !s.Untested || !s.Up || s.SetAside != "" {
			t.Errorf("before the first test: %+v", s)
		}
		for _, tc := range []struct {
			result  error
			asked   bool
			aside   string
			up      bool
			wait    time.Duration
			logged  string
			entries int
		}{
			{away, false, "", false, 5 * time.Second, "the service gave no answer", 1},
			{nil, true, "", true, 0, "the service passes its test", 1},
			{away, true, "", true, 5 * time.Second, "the service passes its test", 1},
			{lies, false, lies.Error(), false, 10 * time.Second, "the service fails its test", 1},
			{lies, false, lies.Error(), false, 20 * time.Second, "the service fails its test", 1},
			{away, false, lies.Error(), false, 40 * time.Second, "the service fails its test", 1},
			{nil, true, "", true, 0, "the service passes its test", 2},
		} {
			result = tc.result
			if err := g.Probe(context.Background(), ""); !errors.Is(err, result) {
				t.Fatalf("Probe returned %v, want %v", err, result)
			}
			s := g.Status()
			if s.SetAside != tc.aside || s.Up != tc.up {
				t.Errorf("after %v: %+v", result, s)
			}
			due, _ := g.NextTest()
			if wait := time.Until(due); tc.wait > 0 && wait != tc.wait || tc.wait == 0 && (wait < 4*time.Hour || wait > testInterval) {
				t.Errorf("after %v: the next test is in %s, want %s", result, wait, tc.wait)
			}
			if n := strings.Count(said.String(), tc.logged); n != tc.entries {
				t.Errorf("after %v: %d entries %q, want %d:\n%s", result, n, tc.logged, tc.entries, said.String())
			}
			wantAsked(t, g, "", tc.asked)
			time.Sleep(recheckClosed)
		}
	})
}

// A probe that is answered ends the failures in a row.
func TestProbeEndsFailures(t *testing.T) {
	p := &tested{probe: func(string) error { return nil }}
	p.answers(errors.New("connection refused"))
	g := New("a", p, Terms{}, NewBudget(), memory(), quiet())
	_, _ = g.Check(context.Background(), query(""))
	if s := g.Status(); s.Failures != 1 || s.LastError == "" {
		t.Fatalf("after a failure: %+v", s)
	}
	if err := g.Probe(context.Background(), ""); err != nil {
		t.Fatal(err)
	}
	if s := g.Status(); s.Failures != 0 || s.LastError != "" {
		t.Errorf("after a probe: %+v", s)
	}
}

// A service that was away for long is tested soon after it is back, one that lies is left alone.
func TestPausesOfTests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for result, most := range map[error]time.Duration{
			errors.New("connection refused"): silentPause, fmt.Errorf("%w: everybody", reputation.ErrBadAnswer): testPauses.Most,
		} {
			p := &tested{probe: func(string) error { return result }}
			g := New("a", p, Terms{}, NewBudget(), memory(), selfTested())
			for range 20 {
				_ = g.Probe(t.Context(), "")
				due, _ := g.NextTest()
				time.Sleep(time.Until(due))
			}
			_ = g.Probe(t.Context(), "")
			if due, _ := g.NextTest(); time.Until(due) != most {
				t.Errorf("%v: the next test is in %s, want %s", result, time.Until(due), most)
			}
		}
	})
}

// A service may call nobody listed to whoever has a wrong key: a new key is tested before it is used.
func TestEachKeyIsTested(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &tested{probe: func(key string) error {
			if key == "good" {
				return nil
			}
			return reputation.ErrRefused
		}}
		g := New("a", p, Terms{}, NewBudget(), memory(), selfTested())
		if err := g.Probe(context.Background(), "bad"); !errors.Is(err, reputation.ErrRefused) || g.RefusedUntil("bad").IsZero() {
			t.Errorf("%v, refused until %s", err, g.RefusedUntil("bad"))
		}
		if err := g.Probe(context.Background(), "good"); err != nil {
			t.Error(err)
		}
		wantAsked(t, g, "good", true)
		time.Sleep(time.Hour) // the pause of the bad key has ended
		wantAsked(t, g, "bad", false)
		if due, _ := g.NextTest(); due.After(time.Now()) {
			t.Errorf("another key is not tested before %s", due)
		}
	})
}

// What a test has found out survives a reload, and the calls of one cost what calls cost.
func TestAProbeIsCounted(t *testing.T) {
	var probes atomic.Int32
	p := &tested{probe: func(string) error { probes.Add(1); return nil }}
	terms := Terms{Windows: windows("2/day")}
	budget, counts := NewBudget(), memory()
	g := New("a", p, terms, budget, counts, selfTested())
	for _, want := range []reputation.Result{reputation.ResultOK, reputation.ResultOK, reputation.ResultSkippedQuota} {
		if got := reputation.ResultOf(g.Probe(t.Context(), "")); got != want {
			t.Errorf("the probe is %s, want %s", got, want)
		}
	}
	if s := g.Status(); probes.Load() != 2 || s.Windows[0].Used != 2 || s.InFlight != 0 || s.NotAsked {
		t.Errorf("%d probes, %+v", probes.Load(), s)
	}
	after := New("a", p, Terms{}, budget, memory(), selfTested())
	wantAsked(t, after, "", true)

	plain := New("b", new(service), Terms{}, NewBudget(), memory(), quiet())
	if err := plain.Probe(t.Context(), ""); !errors.Is(err, reputation.ErrUnsupported) {
		t.Errorf("a provider without a probe: %v", err)
	}
	if _, has := plain.NextTest(); has {
		t.Error("a provider without a self-test has a test")
	}
}

// The status says why the last call failed, without the key and the address.
func TestStatusSaysWhatFailedLast(t *testing.T) {
	s := new(service)
	g := New("a", s, Terms{}, NewBudget(), memory(), quiet())
	s.answers(errors.New("no route for sesame and " + addr4.String()))
	_, _ = g.Check(t.Context(), query("sesame"))
	if got := g.Status().LastError; got != "no route for [key] and [address]" {
		t.Errorf("the last error is %q", got)
	}
	s.answers(nil)
	_, _ = g.Check(t.Context(), query("sesame"))
	if got := g.Status().LastError; got != "" {
		t.Errorf("after an answer, the last error is %q", got)
	}
}
