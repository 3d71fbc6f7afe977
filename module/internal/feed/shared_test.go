package feed

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const secretURL = "http://user:hunter2-password@192.0.2.1/list?key=hunter2-query"

func secretSpec() Spec {
	return Spec{
		Name: "one", URLs: []string{secretURL}, Refresh: time.Hour,
		Header: http.Header{"Authorization": {"Bearer hunter2-token"}, "X-Key": {"hunter2-key"}},
	}
}

// instances starts instances that share a store, each with a folder of its own.
func instances(t *testing.T, n int, shared Shared, transport http.RoundTripper, spec Spec) []*Set {
	t.Helper()
	var all []*Set
	for i := range n {
		spec.Name = fmt.Sprintf("one_%d", i) // names are of no account
		s := mustOpen(t, Options{Dir: t.TempDir(), Transport: transport, Shared: shared}, spec)
		s.Start()
		all = append(all, s)
	}
	return all
}

// TestOneFetchForAll proves that of many instances one fetches a list, at the start and whenever it is due, that all have
// it in force and on disk, and that no secret is shared.
func TestOneFetchForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &publisher{answer: func(n int) (int, string, string) { return http.StatusOK, addresses(20 + (n-1)/2), "" }}
		shared := new(store)
		sets := instances(t, 10, shared, p, secretSpec())
		time.Sleep(10 * time.Second)
		synctest.Wait()
		for i, s := range sets {
			if !isListed(s.Current(), "198.51.100.19", fmt.Sprintf("one_%d", i)) {
				t.Errorf("instance %d lacks the list", i)
			}
			if got := s.Status()[0]; !got.Stored || got.Lines != 20 || got.Failures != 0 || got.LastError != "" {
				t.Errorf("instance %d: %+v", i, got)
			}
		}
		if n := len(p.times()); n != 1 {
			t.Errorf("%d fetches at the start, want 1", n)
		}
		if n := shared.loads(); n != 9 {
			t.Errorf("the copy was loaded %d times, want 9", n)
		}
		time.Sleep(12 * time.Hour)
		synctest.Wait()
		if n := len(p.times()); n < 11 || n > 13 {
			t.Errorf("%d fetches in half a day, want one an hour", n)
		}
		for i, s := range sets {
			age := time.Since(s.Status()[0].LastSuccess)
			if age > 2*time.Hour || s.Current().Lists[0].Entries != sets[0].Current().Lists[0].Entries {
				t.Errorf("instance %d has a list that was confirmed %s ago", i, age)
			}
		}
		l := shared.only(t)
		plain, err := gzip.NewReader(bytes.NewReader(l.text))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(plain)
		if err != nil || strings.Contains(string(text), "hunter2") || !strings.Contains(string(text), "198.51.100.0/28\n") {
			t.Errorf("shared: %v\n%s", err, text)
		}
	})
}

// TestDeadFetcher proves that the lease of an instance that dies while it fetches ends, and that one that takes long keeps
// its lease.
func TestDeadFetcher(t *testing.T) {
	for name, dies := range map[string]bool{"dies": true, "is slow": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				shared := new(store)
				var mu sync.Mutex
				asked := 0
				p := roundTripper(func(r *http.Request) (*http.Response, error) {
					mu.Lock()
					asked++
					n := asked
					mu.Unlock()
					if n == 1 {
						select {
						case <-time.After(25 * time.Second):
						case <-r.Context().Done():
							return nil, r.Context().Err()
						}
					}
					return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(addresses(20)))}, nil
				})
				spec := Spec{Name: "one", URLs: []string{"http://192.0.2.1/"}}
				first := mustOpen(t, Options{Transport: p, Shared: &mortal{store: shared, dead: dies}}, spec)
				first.Start()
				time.Sleep(startSpread)
				second := mustOpen(t, Options{Transport: p, Shared: shared}, spec)
				second.Start()
				time.Sleep(fetchLease + 5*time.Second)
				synctest.Wait()
				if got := isListed(second.Current(), "198.51.100.1", "one"); got != dies {
					t.Errorf("after the lease, the other instance has the list: %v", got)
				}
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if !isListed(second.Current(), "198.51.100.1", "one") {
					t.Error("the other instance never has the list")
				}
				mu.Lock()
				defer mu.Unlock()
				if want := map[bool]int{true: 2, false: 1}[dies]; asked != want {
					t.Errorf("the publisher was asked %d times, want %d", asked, want)
				}
			})
		})
	}
}

// mortal is the store of an instance that is dead after its first claim.
type mortal struct {
	*store
	dead   bool
	claims int
}

func (m *mortal) ClaimList(ctx context.Context, list, holder string, young, lease time.Duration) (SharedClaim, error) {
	if m.claims++; m.dead && m.claims > 1 {
		return SharedClaim{}, errAway
	}
	return m.store.ClaimList(ctx, list, holder, young, lease)
}

// TestStoreAway proves that instances fetch by themselves while nothing can be shared.
func TestStoreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &publisher{answer: good}
		sets := instances(t, 3, &store{away: true}, p, secretSpec())
		time.Sleep(5 * time.Second)
		synctest.Wait()
		for i, s := range sets {
			if !isListed(s.Current(), "192.0.2.1", fmt.Sprintf("one_%d", i)) {
				t.Errorf("instance %d lacks the list", i)
			}
		}
		if n := len(p.times()); n != 3 {
			t.Errorf("%d fetches, want 3", n)
		}
	})
}

// TestPauseIsShared proves that one instance is asked to leave a publisher alone, and all do.
func TestPauseIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &publisher{answer: func(int) (int, string, string) { return http.StatusTooManyRequests, "", "7200" }}
		sets := instances(t, 5, new(store), p, secretSpec())
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(p.times()); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
		for i, s := range sets {
			if got := s.Status()[0]; got.LastResult != "throttled" || !got.NextRefresh.After(time.Now().Add(50*time.Minute)) {
				t.Errorf("instance %d: %+v", i, got)
			}
		}
	})
}

// TestOldCopyIsBetterThanNone proves that an instance without contents takes a copy that is due, while the publisher is
// away, and says how old it is.
func TestOldCopyIsBetterThanNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := new(store)
		p := &publisher{answer: func(n int) (int, string, string) {
			if n == 1 {
				return http.StatusOK, addresses(20), ""
			}
			return broken(n)
		}}
		first := instances(t, 1, shared, p, secretSpec())[0]
		time.Sleep(10 * time.Second)
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Hour)
		s := instances(t, 1, shared, p, secretSpec())[0]
		time.Sleep(10 * time.Second)
		synctest.Wait()
		got := s.Status()[0]
		if !isListed(s.Current(), "198.51.100.7", "one_0") || got.Failures == 0 {
			t.Errorf("status: %+v", got)
		}
		if age := time.Since(got.LastSuccess); age < 5*time.Hour || age > 5*time.Hour+time.Minute {
			t.Errorf("it was confirmed %s ago", age)
		}
	})
}

// TestLostTextIsSharedAgain proves that a copy whose text Redis has evicted is written again by the next fetch.
func TestLostTextIsSharedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &publisher{answer: func(int) (int, string, string) { return http.StatusOK, addresses(20), "" }}
		shared := new(store)
		instances(t, 1, shared, p, secretSpec())
		time.Sleep(10 * time.Second)
		l := shared.only(t)
		l.text = nil
		instances(t, 2, shared, p, secretSpec())
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := len(p.times()); n != 2 || l.text == nil {
			t.Errorf("%d fetches, want 2, of which the second shares the text", n)
		}
	})
}
