package feed

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// publisher answers without a network, so that tests can let time pass as they like.
type publisher struct {
	mu     sync.Mutex
	asked  []time.Time
	answer func(n int) (code int, body, retryAfter string)
}

func (p *publisher) RoundTrip(*http.Request) (*http.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, time.Now())
	code, body, retryAfter := p.answer(len(p.asked))
	return &http.Response{StatusCode: code, Header: http.Header{"Retry-After": {retryAfter}}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

func (p *publisher) times() []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]time.Time(nil), p.asked...)
}

func good(int) (code int, body, retryAfter string) { return http.StatusOK, "192.0.2.1\n", "" }

func broken(int) (code int, body, retryAfter string) { return http.StatusBadGateway, "", "" }

func startSet(t *testing.T, p *publisher, dir string, specs ...Spec) *Set {
	t.Helper()
	s := mustOpen(t, Options{Dir: dir, Transport: p}, specs...)
	s.Start()
	return s
}

func checkWithin(t *testing.T, what string, got, low, high time.Duration) {
	t.Helper()
	if got < low || got > high {
		t.Errorf("%s: %s, want %s to %s", what, got, low, high)
	}
}

func TestSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &publisher{answer: good}
		began := time.Now()
		s := startSet(t, p, t.TempDir(), Spec{Name: "one", URLs: []string{"http://192.0.2.1/"}, Refresh: time.Hour})
		time.Sleep(startSpread + coalesce + time.Second)
		synctest.Wait()
		if !isListed(s.Current(), "192.0.2.1", "one") {
			t.Error("the first fetch is not in force")
		}
		snapshot := s.Current()
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		asked := p.times()
		checkWithin(t, "first", asked[0].Sub(began), 0, startSpread)
		for i := 1; i < len(asked); i++ {
			checkWithin(t, "interval", asked[i].Sub(asked[i-1]), time.Hour, time.Hour+6*time.Minute)
		}
		if n := len(asked); n < 22 || n > 25 {
			t.Errorf("asked %d times in a day", n)
		}
		if s.Current() != snapshot {
			t.Error("a new snapshot without a change")
		}
	})
}

// TestRestartAsksWhenDue: a start within the refresh interval asks nobody until it is over.
func TestRestartAsksWhenDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &publisher{answer: good}
		dir := t.TempDir()
		spec := Spec{Name: "one", URLs: []string{"http://192.0.2.1/"}, Refresh: time.Hour}
		s := startSet(t, p, dir, spec)
		time.Sleep(10 * time.Minute)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for range 50 { // reloads, as an operator who edits does
			s = startSet(t, p, dir, spec)
			time.Sleep(time.Minute / 2)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(p.times()); n != 1 {
			t.Fatalf("asked %d times within the first hour", n)
		}
		startSet(t, p, dir, spec)
		time.Sleep(time.Hour)
		synctest.Wait()
		if asked := p.times(); len(asked) != 2 {
			t.Errorf("asked %d times in two hours", len(asked))
		} else {
			checkWithin(t, "interval", asked[1].Sub(asked[0]), time.Hour-time.Second, 66*time.Minute)
		}
	})
}

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &publisher{answer: func(n int) (int, string, string) {
			if n == 1 {
				return good(n)
			}
			return broken(n)
		}}
		startSet(t, p, "", Spec{Name: "one", URLs: []string{"http://192.0.2.1/"}, Refresh: 10 * time.Minute})
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		asked := p.times()[1:]
		for i, want := range []time.Duration{1, 2, 4, 8, 10, 10, 10} {
			want *= time.Minute
			checkWithin(t, "wait", asked[i+1].Sub(asked[i]), want, want+want/4)
		}
	})
}

// TestEmptyListIsRetriedSoon proves that a list without contents is in force within seconds after its publisher is
// back, that the pauses grow all the same, and that a publisher which refuses is not pressed.
func TestEmptyListIsRetriedSoon(t *testing.T) {
	for name, test := range map[string]struct {
		code int
		want []time.Duration
	}{
		"broken":    {http.StatusBadGateway, []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600}},
		"forbidden": {http.StatusForbidden, []time.Duration{60, 120, 240, 480, 600, 600}},
		"throttled": {http.StatusTooManyRequests, []time.Duration{60, 120, 240, 480, 600, 600}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &publisher{answer: func(int) (int, string, string) { return test.code, "", "" }}
				startSet(t, p, "", Spec{Name: "one", URLs: []string{"http://192.0.2.1/"}, Refresh: 10 * time.Minute})
				time.Sleep(3 * time.Hour)
				synctest.Wait()
				asked := p.times()
				for i, want := range test.want {
					want *= time.Second
					checkWithin(t, "wait", asked[i+1].Sub(asked[i]), want, 2*want)
				}
			})
		})
	}
}

// TestRetryAfterIsHonoured: over a restart too, and by an operator in a hurry.
func TestRetryAfterIsHonoured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &publisher{answer: func(n int) (int, string, string) {
			if n == 1 {
				return http.StatusTooManyRequests, "", "7200"
			}
			return good(n)
		}}
		dir := t.TempDir()
		spec := Spec{Name: "one", URLs: []string{"http://192.0.2.1/"}, Refresh: 10 * time.Minute}
		s := startSet(t, p, dir, spec)
		for range 4 {
			time.Sleep(15 * time.Minute)
			synctest.Wait()
			if err := s.Refresh(t.Context(), "one"); !errors.Is(err, ErrTooSoon) || !strings.Contains(err.Error(), "left alone until") {
				t.Errorf("got %v", err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = startSet(t, p, dir, spec)
		}
		time.Sleep(time.Hour + 10*time.Second)
		synctest.Wait()
		asked := p.times()
		if len(asked) != 2 {
			t.Fatalf("asked %d times", len(asked))
		}
		checkWithin(t, "wait", asked[1].Sub(asked[0]), 2*time.Hour-time.Second, 2*time.Hour+time.Second)
	})
}

func TestManualRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &publisher{answer: func(n int) (int, string, string) {
			if n == 3 {
				return broken(n)
			}
			return http.StatusOK, addresses(n), ""
		}}
		s := startSet(t, p, t.TempDir(), Spec{Name: "one", URLs: []string{"http://192.0.2.1/"}, Refresh: time.Hour})
		time.Sleep(10 * time.Second)
		err := s.Refresh(t.Context(), "one")
		if !errors.Is(err, ErrTooSoon) || !strings.Contains(err.Error(), "ask again in") || len(p.times()) != 1 {
			t.Errorf("within a minute: %v, asked %d times", err, len(p.times()))
		}
		time.Sleep(time.Minute)
		if err := s.Refresh(t.Context(), "one"); err != nil || !isListed(s.Current(), "198.51.100.1", "one") {
			t.Errorf("after a minute: %v", err)
		}
		time.Sleep(time.Minute)
		if err := s.Refresh(t.Context(), "one"); err == nil || !strings.Contains(err.Error(), "status 502") {
			t.Errorf("a failure: %v", err)
		}
		// A failure is followed by backoff, although the schedule had been set for an hour.
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		asked := p.times()
		if len(asked) != 4 {
			t.Fatalf("asked %d times", len(asked))
		}
		checkWithin(t, "backoff", asked[3].Sub(asked[2]), firstPause, firstPause*5/4)
	})
}

// TestClose ends everything at once, a request that hangs included, and refuses what comes later.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := roundTripper(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		var seen results
		s := mustOpen(t, Options{Transport: hang, Observe: seen.observe}, Spec{Name: "one", URLs: []string{"http://192.0.2.1/"}, Timeout: time.Hour})
		s.Start()
		time.Sleep(startSpread)
		done := make(chan error, 1)
		go func() { done <- s.Refresh(t.Context(), "one") }()
		synctest.Wait()
		closing := time.Now()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if time.Since(closing) != 0 {
			t.Errorf("Close took %s", time.Since(closing))
		}
		if err := <-done; err == nil {
			t.Error("Refresh succeeded")
		}
		if err := s.Refresh(t.Context(), "one"); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		if got := seen.of("one"); len(got) != 0 {
			t.Errorf("being closed was counted as %v", got)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestStatusSaysWhatIsInForce: while the snapshot that holds a list is not published yet, the list is not loaded.
func TestStatusSaysWhatIsInForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startSet(t, &publisher{answer: good}, t.TempDir(), Spec{Name: "one", URLs: []string{"http://192.0.2.1/"}})
		for range 1000 {
			time.Sleep(5 * time.Millisecond)
			synctest.Wait()
			want, got := s.Current().Lists[0], statusOf(t, s, "one")
			if got.Loaded != want.Loaded || got.Entries != want.Entries {
				t.Fatalf("in force: %+v, status: %+v", want, got)
			}
		}
		if !statusOf(t, s, "one").Loaded {
			t.Error("the list was never loaded")
		}
	})
}

// TestChangesCoalesce: twenty lists that arrive together make one or two snapshots, not twenty.
func TestChangesCoalesce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &publisher{answer: good}
		var specs []Spec
		for _, c := range "abcdefghijklmnopqrst" {
			specs = append(specs, Spec{Name: string(c), URLs: []string{"http://192.0.2.1/"}})
		}
		s := startSet(t, p, t.TempDir(), specs...)
		snapshots := map[*Snapshot]bool{}
		for range 1000 {
			snapshots[s.Current()] = true
			time.Sleep(5 * time.Millisecond)
			synctest.Wait()
		}
		if n := len(snapshots); n < 2 || n > 1+int((startSpread+coalesce)/coalesce) {
			t.Errorf("%d snapshots", n)
		}
		if got := len(listing(s.Current(), "192.0.2.1")); got != 20 {
			t.Errorf("listed by %d of 20", got)
		}
	})
}

// TestFailuresAreCounted proves that the status counts failures in a row, of which there are three within ten minutes.
func TestFailuresAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &publisher{answer: func(n int) (int, string, string) {
			if n == 1 || n > 4 {
				return good(n)
			}
			return broken(n)
		}}
		s := startSet(t, p, t.TempDir(), Spec{Name: "one", URLs: []string{"http://192.0.2.1/"}, Refresh: time.Hour})
		most, first, third := 0, time.Time{}, time.Time{}
		for len(p.times()) < 5 {
			time.Sleep(30 * time.Second)
			synctest.Wait()
			n := s.Status()[0].Failures
			if n == 1 && first.IsZero() {
				first = time.Now()
			}
			if n == 3 && third.IsZero() {
				third = time.Now()
			}
			most = max(most, n)
		}
		if most != 3 || third.Sub(first) > 10*time.Minute {
			t.Errorf("%d failures are counted, three of them within %s", most, third.Sub(first))
		}
		if n := s.Status()[0].Failures; n != 0 {
			t.Errorf("after a success there are %d failures", n)
		}
	})
}
