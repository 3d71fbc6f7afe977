package secret

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestRefreshFetchesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := holding("k1")
		k := start(t, s, Options{Refresh: time.Hour})
		time.Sleep(time.Minute)
		s.set("k2")
		began := time.Now()
		changed := k.Changed()
		k.Refresh()
		<-changed
		wantValue(t, k, "k2")
		if took := time.Since(began); took != 0 {
			t.Errorf("the new value came after %s", took)
		}
	})
}

func TestRefreshAtMostEveryTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := holding("k1")
		k := start(t, s, Options{Refresh: time.Hour})
		synctest.Wait()
		for range 999 { // A hundred seconds of calls that are refused.
			k.Refresh()
			time.Sleep(100 * time.Millisecond)
		}
		if got := s.calls() - 1; got != 10 {
			t.Errorf("%d fetches within 100 s, want 10", got)
		}
		for _, pause := range s.gaps(1) {
			if pause < requestedPause {
				t.Errorf("fetched again after %s", pause)
			}
		}
	})
}

// A store that lags behind the service must be looked at again, although nobody asks again.
func TestRefreshTooSoonIsPutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := holding("k1")
		k := start(t, s, Options{Refresh: time.Hour})
		time.Sleep(time.Minute)
		k.Refresh()
		time.Sleep(3 * time.Second)
		s.set("k2")
		k.Refresh()
		time.Sleep(6 * time.Second)
		wantValue(t, k, "k1")
		time.Sleep(time.Second)
		synctest.Wait()
		wantValue(t, k, "k2")
	})
}

func TestAChangeAnswersWhoHasAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, slow := holding("k2"), make(chan struct{})
		k := start(t, storeFunc(func(ctx context.Context) (reputation.Secret, error) {
			<-slow
			return s.Fetch(ctx)
		}), Options{Refresh: time.Hour})
		synctest.Wait()
		k.Refresh() // Refused while the new value was on its way.
		close(slow)
		time.Sleep(10 * time.Minute)
		wantValue(t, k, "k2")
		if s.calls() != 1 {
			t.Errorf("%d fetches, want one: the value had changed", s.calls())
		}
	})
}

func TestRefreshBreaksIntoAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{err: reputation.ErrRefused}
		k := start(t, s, Options{})
		time.Sleep(5 * time.Second)
		s.set("k1")
		k.Refresh()
		synctest.Wait()
		wantValue(t, k, "k1")
	})
}

func TestRefreshBeforeStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := holding("k1")
		k := Open("abuseipdb", s, quiet())
		if err := k.Prime(t.Context()); err != nil {
			t.Fatal(err)
		}
		k.Refresh()
		s.set("k2")
		k.Start()
		synctest.Wait()
		wantValue(t, k, "k2")
		k.Close()
		k.Refresh() // It does nothing, and does not hang.
	})
}

// A store that throttles is left alone for as long as it asks, also by those who were refused with the present value.
func TestAStoreIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := holding("k1")
		throttle := true
		k := start(t, storeFunc(func(ctx context.Context) (reputation.Secret, error) {
			secret, err := s.Fetch(ctx)
			if throttle {
				throttle = false
				return reputation.Secret{}, fmt.Errorf("store: %w", &reputation.ThrottledError{RetryAfter: 7 * time.Minute})
			}
			return secret, err
		}), Options{})
		synctest.Wait()
		for range 6 {
			k.Refresh()
			time.Sleep(time.Minute)
		}
		if got := s.calls(); got != 1 {
			t.Errorf("%d fetches within the time that the store asked for, want 1", got)
		}
		time.Sleep(2 * time.Minute)
		wantValue(t, k, "k1")
	})
}
