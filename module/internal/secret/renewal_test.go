package secret

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// storeOf is a store of secrets that counts how often it is asked.
type storeOf struct {
	value atomic.Value
	asked atomic.Int64
}

func (s *storeOf) Fetch(context.Context) (reputation.Secret, error) {
	s.asked.Add(1)
	return reputation.Secret{Value: s.value.Load().(string)}, nil
}

// TestADeniedPasswordIsFetchedAnew proves that a password which Redis refuses is looked for at once, that a store is not asked
// for ever when that brings the same, and that a new one which is refused is looked for at once again.
func TestADeniedPasswordIsFetchedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(storeOf)
		store.value.Store("first")
		kept := Open("redis", store, Options{Refresh: 24 * time.Hour, Hide: true})
		kept.Start()
		defer kept.Close()
		synctest.Wait()
		r := &Renewal{Password: kept}
		asks := func(during time.Duration) (n int64) {
			before := store.asked.Load()
			for range during / (5 * time.Second) { // as often as the connection is probed
				r.Denied()
				time.Sleep(5 * time.Second)
			}
			return store.asked.Load() - before
		}
		if n := asks(time.Minute); n < 2 || n > 4 {
			t.Errorf("%d fetches in the first minute, want some", n)
		}
		if n := asks(time.Hour); n > 14 {
			t.Errorf("%d fetches in an hour that all bring the same", n)
		}
		store.value.Store("second")
		asks(10 * time.Minute)
		if value, _ := kept.Current(); value != "second" {
			t.Errorf("the password is %q", value)
		}
	})
}
