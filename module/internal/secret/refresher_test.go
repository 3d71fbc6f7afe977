package secret

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestStartIsNeverInTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		release := make(chan struct{})
		k := start(t, storeFunc(func(context.Context) (reputation.Secret, error) {
			<-release
			return reputation.Secret{Value: "k1"}, nil
		}), Options{})
		k.Start()
		k.Refresh()
		wantValue(t, k, "")
		if s := k.Status(); s.Has || s.Fingerprint != "" || s.Error != "" || !s.Fetched.IsZero() {
			t.Errorf("status %+v before the store has answered", s)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("waited %s for the store", took)
		}
		close(release)
	})
}

func TestOpenAsksNobodyAndStartOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := holding("k1")
		k := Open("abuseipdb", s, quiet())
		time.Sleep(time.Hour)
		if s.calls() != 0 {
			t.Error("asked before Start")
		}
		for range 3 {
			k.Start()
		}
		synctest.Wait()
		wantValue(t, k, "k1")
		k.Close()
		k.Close()
		k.Start()
		time.Sleep(time.Hour)
		if s.calls() != 1 {
			t.Errorf("asked %d times, want once: started once, and not again after Close", s.calls())
		}
		wantValue(t, k, "k1")
	})
}

func TestHowOftenItIsFetched(t *testing.T) {
	tests := map[string]struct {
		refresh, ttl, want time.Duration
	}{
		"default":                   {0, 0, 5 * time.Minute},
		"as configured":             {time.Hour, 0, time.Hour},
		"nothing is too short":      {time.Millisecond, 0, time.Second},
		"a shorter TTL wins":        {0, 3 * time.Minute, 2 * time.Minute},
		"a longer TTL does not":     {0, time.Hour, 5 * time.Minute},
		"nor does the longest":      {0, 1<<63 - 1, 5 * time.Minute},
		"a TTL of next to nothing":  {0, time.Millisecond, time.Second},
		"a TTL that makes no sense": {0, -time.Hour, 5 * time.Minute},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &store{secret: reputation.Secret{Value: "k1", TTL: tt.ttl}}
				start(t, s, Options{Refresh: tt.refresh})
				time.Sleep(50 * tt.want)
				pauses := s.gaps(0)
				if len(pauses) < 40 {
					t.Fatalf("fetched %d times during 50 × %s", len(pauses), tt.want)
				}
				apart := map[time.Duration]bool{}
				for _, pause := range pauses {
					if !about(pause, tt.want) {
						t.Errorf("fetched after %s, want %s give or take a tenth", pause, tt.want)
					}
					apart[pause] = true
				}
				if tt.want > minPause && len(apart) < 30 {
					t.Errorf("%d different pauses: instances that started together stay together", len(apart))
				}
			})
		})
	}
}

func TestPausesAfterFailures(t *testing.T) {
	s := time.Second
	tests := map[string]struct {
		err     error
		refresh time.Duration
		want    []time.Duration
	}{
		"away":                          {errAway, 0, []time.Duration{s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 60 * s, 60 * s, 60 * s}},
		"refused":                       {reputation.ErrRefused, 0, []time.Duration{60 * s, 60 * s, 60 * s}},
		"unknown":                       {reputation.ErrUnknown, 0, []time.Duration{60 * s, 60 * s, 60 * s}},
		"empty":                         {nil, 0, []time.Duration{60 * s, 60 * s}},
		"away, looked at every second":  {errAway, s, []time.Duration{s, s, s, s}},
		"unknown, looked at every 10 s": {reputation.ErrUnknown, 10 * s, []time.Duration{10 * s, 10 * s}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &store{err: tt.err}
				k := start(t, s, Options{Refresh: tt.refresh})
				var total time.Duration
				for _, pause := range tt.want {
					total += pause
				}
				time.Sleep(total * 5 / 4)
				for i, got := range s.gaps(0)[:len(tt.want)] {
					if !about(got, tt.want[i]) {
						t.Errorf("pause %d is %s, want %s give or take a tenth", i, got, tt.want[i])
					}
				}
				if st := k.Status(); st.Has || st.Error == "" {
					t.Errorf("status %+v", st)
				}

				s.set("k1")
				time.Sleep(2 * retryMost)
				wantValue(t, k, "k1")
				if st := k.Status(); !st.Has || st.Error != "" {
					t.Errorf("status %+v after a good fetch", st)
				}
				s.fail(errAway) // A new series of failures begins with the shortest pause.
				from := s.calls()
				time.Sleep(2 * DefaultRefresh)
				if got := s.gaps(from); len(got) == 0 || !about(got[0], retryFirst) {
					t.Errorf("after success the pauses are %v", got)
				}
			})
		})
	}
}

func TestTheLastGoodValueStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := holding("k1")
		k := start(t, s, Options{})
		synctest.Wait()
		fetched := k.Status().Fetched
		for _, err := range []error{errAway, reputation.ErrRefused, reputation.ErrUnknown, nil} {
			s.fail(err)
			time.Sleep(day)
			wantValue(t, k, "k1")
			if st := k.Status(); !st.Has || st.Error == "" || !st.Fetched.Equal(fetched) || st.Fingerprint != Fingerprint("k1") {
				t.Errorf("status %+v after a day without the store", st)
			}
		}
	})
}

func TestChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := holding("k1")
		k := Open("abuseipdb", s, quiet())
		first, also := k.Changed(), k.Changed()
		k.Start()
		synctest.Wait()
		if !closed(first) || !closed(also) {
			t.Error("the first value is no change")
		}
		second := k.Changed()
		time.Sleep(time.Hour)
		if closed(second) {
			t.Error("a fetch that brought the same value is a change")
		}
		s.set("k2")
		<-second
		wantValue(t, k, "k2")
		third := k.Changed()
		k.Close()
		if closed(third) {
			t.Error("Close is a change")
		}
	})
}

func TestStatus(t *testing.T) {
	at := func(days int) time.Time { return time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, days) }
	tests := map[string]struct {
		configured, stored time.Time
		ttl                time.Duration
		want               time.Time
		lease              bool
	}{
		"nobody says":              {},
		"the operator says":        {configured: at(5), want: at(5)},
		"the store says":           {stored: at(5), want: at(5)},
		"the operator says before": {configured: at(4), stored: at(5), want: at(4)},
		"the store says before":    {configured: at(6), stored: at(5), want: at(5)},
		"a lease":                  {configured: at(6), stored: at(5), ttl: 40000 * time.Hour * 6, want: at(5), lease: true},
		"ends long after its TTL":  {stored: at(5), ttl: time.Hour, want: at(5)},
		"ends before the lease":    {configured: at(4), stored: at(5), ttl: 40000 * time.Hour * 6, want: at(4)},
		"only a TTL":               {ttl: time.Hour},
		"is past, and no lease":    {stored: at(-10000), want: at(-10000)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // It begins in the year 2000.
				began := time.Now()
				s := &store{secret: reputation.Secret{Value: "k1", Expires: tt.stored, TTL: tt.ttl}}
				k := start(t, s, Options{Expires: tt.configured, Source: "{file./run/secrets/abuseipdb}"})
				synctest.Wait()
				want := Status{
					Name: "abuseipdb", Source: "{file./run/secrets/abuseipdb}", Fingerprint: Fingerprint("k1"),
					Has: true, Fetched: began, Expires: tt.want, Lease: tt.lease,
				}
				if diff := cmp.Diff(want, k.Status()); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func TestWhatIsConfiguredEndsBeforeAnythingIsFetched(t *testing.T) {
	end := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	if got := Open("abuseipdb", holding("k1"), Options{Expires: end}).Status(); !got.Expires.Equal(end) || got.Has {
		t.Errorf("status %+v", got)
	}
}

func TestPrime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said logtest.Log
		s := holding("k1")
		k := Open("abuseipdb", s, Options{Logger: said.Logger()})
		if err := k.Prime(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantValue(t, k, "k1")
		k.Start()
		time.Sleep(DefaultRefresh / 2)
		if s.calls() != 1 {
			t.Errorf("%d fetches: what Prime has just fetched is fetched again at once", s.calls())
		}
		s.fail(reputation.ErrUnknown)
		err := k.Prime(t.Context())
		if !errors.Is(err, reputation.ErrUnknown) || !strings.Contains(err.Error(), "abuseipdb") {
			t.Errorf("error %v", err)
		}
		if text := said.String(); strings.Contains(text, "no such secret") {
			t.Errorf("what was returned is logged too:\n%s", text)
		}
		wantValue(t, k, "k1")
		if got := k.Status().Error; got != err.Error() {
			t.Errorf("status says %q", got)
		}
		s.set("k2")
		time.Sleep(retryMost + retryMost/5) // The goroutine follows what Prime has found.
		wantValue(t, k, "k2")
		k.Close()
		s.set("k3")
		if err := k.Prime(t.Context()); err == nil {
			t.Error("no error after Close")
		}
		wantValue(t, k, "k2")
	})
}

func TestPrimeIsBounded(t *testing.T) {
	tests := map[string]struct {
		ctx, want time.Duration
	}{
		"by the time limit": {time.Hour, DefaultTimeout},
		"by the caller":     {time.Second, time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := Open("abuseipdb", storeFunc(func(ctx context.Context) (reputation.Secret, error) {
					<-ctx.Done()
					return reputation.Secret{}, ctx.Err()
				}), quiet())
				ctx, cancel := context.WithTimeout(t.Context(), tt.ctx)
				defer cancel()
				began := time.Now()
				if err := k.Prime(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				if took := time.Since(began); took != tt.want {
					t.Errorf("took %s, want %s", took, tt.want)
				}
				go k.Prime(t.Context()) //nolint:errcheck // It only has to be in the way.
				synctest.Wait()
				short, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := k.Prime(short); !errors.Is(err, context.DeadlineExceeded) {
					t.Error("waited for another fetch for longer than ctx allows:", err)
				}
				k.Close()
			})
		})
	}
}
