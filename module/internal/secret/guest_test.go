package secret

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestStoresThatMisbehave(t *testing.T) {
	tests := map[string]struct {
		fetch func() (reputation.Secret, error)
		want  string
	}{
		"panics": {func() (reputation.Secret, error) { panic("boom") }, "panicked"},
		"panics inside": {func() (reputation.Secret, error) {
			none := map[string]map[string]int{}
			none["a"]["b"] = 1
			return reputation.Secret{}, nil
		}, "panicked"},
		"panics with nil":         {func() (reputation.Secret, error) { panic(nil) }, "panicked"}, //nolint:govet // That is the point.
		"ends its goroutine":      {func() (reputation.Secret, error) { runtime.Goexit(); panic("not reached") }, "ended its goroutine"},
		"gives nothing":           {func() (reputation.Secret, error) { return reputation.Secret{}, nil }, "empty value"},
		"gives a value and error": {func() (reputation.Secret, error) { return reputation.Secret{Value: "bad!"}, errAway }, "refused"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := holding("k1")
				var bad atomic.Bool
				k := start(t, storeFunc(func(ctx context.Context) (reputation.Secret, error) {
					if bad.Load() {
						return tt.fetch()
					}
					return s.Fetch(ctx)
				}), Options{})
				synctest.Wait()
				bad.Store(true)
				time.Sleep(2 * DefaultRefresh)
				wantValue(t, k, "k1")
				if got := k.Status().Error; !strings.Contains(got, tt.want) {
					t.Errorf("status says %q", got)
				}
				bad.Store(false)
				s.set("k2")
				time.Sleep(2 * retryMost)
				wantValue(t, k, "k2")
				if got := k.Status().Error; got != "" {
					t.Errorf("status still says %q", got)
				}
			})
		})
	}
}

func TestEachFetchIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := make(chan time.Duration, 100)
		k := start(t, storeFunc(func(ctx context.Context) (reputation.Secret, error) {
			began := time.Now()
			<-ctx.Done()
			limits <- time.Since(began)
			return reputation.Secret{}, fmt.Errorf("dial 192.0.2.1:443: %w", ctx.Err())
		}), Options{Timeout: 3 * time.Second})
		time.Sleep(10 * time.Second)
		if first, second := <-limits, <-limits; first != 3*time.Second || second != first {
			t.Errorf("time limits %s and %s, want 3s each", first, second)
		}
		if got := k.Status().Error; !strings.Contains(got, "dial 192.0.2.1:443") {
			t.Errorf("status says %q, but the store knows what it was waiting for", got)
		}
	})
}

// A store that does not return leaves one goroutine behind, not one for every attempt, and is used again when it has.
func TestAStoreThatDoesNotReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var inside, most, calls atomic.Int32
		k := start(t, storeFunc(func(context.Context) (reputation.Secret, error) {
			most.Store(max(most.Load(), inside.Add(1)))
			defer inside.Add(-1)
			if calls.Add(1) == 1 {
				<-release
				return reputation.Secret{Value: "of long ago"}, nil
			}
			return reputation.Secret{Value: "k1"}, nil
		}), Options{})
		changed := k.Changed()
		time.Sleep(time.Hour)
		if most.Load() != 1 || calls.Load() != 1 {
			t.Errorf("%d calls, %d at once", calls.Load(), most.Load())
		}
		if got := k.Status().Error; !strings.Contains(got, "has not returned") {
			t.Errorf("status says %q", got)
		}
		close(release)
		<-changed
		wantValue(t, k, "k1")
		time.Sleep(time.Hour)
		if st := k.Status(); st.Error != "" || time.Since(st.Fetched) > 2*DefaultRefresh {
			t.Errorf("status %+v an hour later", st)
		}
	})
}

func TestCloseEndsAFetch(t *testing.T) {
	tests := map[string]struct {
		obeys bool
		most  time.Duration
	}{
		"that ends with its context": {true, 0},
		"that does not":              {false, time.Second / 4},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var said logtest.Log
				release := make(chan struct{})
				var obey <-chan struct{}
				var inside atomic.Int32
				k := start(t, storeFunc(func(ctx context.Context) (reputation.Secret, error) {
					inside.Add(1)
					defer inside.Add(-1)
					if tt.obeys {
						obey = ctx.Done()
					}
					select {
					case <-obey:
					case <-release:
					}
					return reputation.Secret{Value: "too late"}, nil
				}), Options{Logger: said.Logger()})
				time.Sleep(time.Second)
				began := time.Now()
				k.Close()
				if took := time.Since(began); took > tt.most {
					t.Errorf("took %s, want %s at the most", took, tt.most)
				}
				if tt.obeys && inside.Load() != 0 {
					t.Error("did not wait for the fetch that it has ended")
				}
				close(release)
				synctest.Wait()
				wantValue(t, k, "")
				if s := k.Status(); s.Error != "" || said.String() != "" {
					t.Errorf("being closed is taken for a failure: %+v\n%s", s, said.String())
				}
			})
		})
	}
}

func TestCloseEndsAPrime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := Open("abuseipdb", storeFunc(func(ctx context.Context) (reputation.Secret, error) {
			<-ctx.Done()
			return reputation.Secret{}, ctx.Err()
		}), quiet())
		time.AfterFunc(time.Second, k.Close)
		began := time.Now()
		if err := k.Prime(t.Context()); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("ended %s after it began, Close came after 1s", took)
		}
	})
}
