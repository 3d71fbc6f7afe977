package feed

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// store is a Shared in memory, for tests with a clock of their own.
type store struct {
	mu     sync.Mutex
	away   bool
	lists  map[string]*storedList
	loaded int
}

type storedList struct {
	version   string
	text      []byte
	confirmed time.Time
	holder    string
	until     time.Time // the end of the lease, or of the pause
}

var errAway = errors.New("away")

func (s *store) Await(context.Context) {}

// of returns a list; the caller holds the lock.
func (s *store) of(list string) (*storedList, error) {
	if s.away {
		return nil, errAway
	}
	if s.lists == nil {
		s.lists = make(map[string]*storedList)
	}
	if s.lists[list] == nil {
		s.lists[list] = new(storedList)
	}
	return s.lists[list], nil
}

func (s *store) ClaimList(_ context.Context, list, holder string, young, lease time.Duration) (c SharedClaim, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := s.of(list)
	if err != nil {
		return c, err
	}
	now := time.Now()
	c.Version, c.Age = l.version, now.Sub(l.confirmed)
	switch {
	case l.version != "" && c.Age < young:
	case l.holder == "" || l.holder == holder || !now.Before(l.until):
		l.holder, l.until, c.Mine = holder, now.Add(lease), true
	case l.holder == "failed":
		c.Pause = l.until.Sub(now)
	}
	return c, nil
}

func (s *store) LoadList(_ context.Context, list, version string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := s.of(list)
	if err != nil {
		return nil, err
	}
	if l.version != version || l.text == nil {
		return nil, errors.New("gone")
	}
	s.loaded++
	return l.text, nil
}

func (s *store) StoreList(_ context.Context, list, holder, version, before string, text []byte, _ time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := s.of(list)
	if err != nil {
		return err
	}
	if text != nil {
		l.text = text
	} else if version != before || l.text == nil {
		return errors.New("gone")
	}
	l.version, l.confirmed = version, time.Now()
	if l.holder == holder {
		l.holder = ""
	}
	return nil
}

func (s *store) ReleaseList(_ context.Context, list, holder string, pause time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := s.of(list)
	if err != nil {
		return err
	}
	if l.holder == holder {
		if l.holder = ""; pause > 0 {
			l.holder, l.until = "failed", time.Now().Add(pause)
		}
	}
	return nil
}

// only returns the one list that is stored.
func (s *store) only(t *testing.T) *storedList {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.lists) != 1 {
		t.Fatalf("%d lists are shared, want 1", len(s.lists))
	}
	for _, l := range s.lists {
		return l
	}
	return nil
}

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
		if shared.loaded != 9 {
			t.Errorf("the copy was loaded %d times, want 9", shared.loaded)
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

// TestSharedCopyIsGuarded proves that a copy which no publisher could send is refused, and that the list is fetched then.
func TestSharedCopyIsGuarded(t *testing.T) {
	spec := completed(t, secretSpec())
	fingerprint := spec.fingerprint()
	packed := func(body string, change func(*copyHeader)) []byte {
		h := copyHeader{spec: fingerprint, lines: strings.Count(body, "\n"), entries: strings.Count(body, "\n")}
		h.sum = sumOf(body)
		if change != nil {
			change(&h)
		}
		return []byte(compressed(append(h.appendText(nil), body...)))
	}
	for name, text := range map[string][]byte{
		"not gzip":       []byte("nonsense"),
		"no header":      []byte(compressed([]byte("192.0.2.1/32\n"))),
		"wrong sum":      packed("192.0.2.1/32\n", func(h *copyHeader) { h.sum = sumOf("") }),
		"wrong number":   packed("192.0.2.1/32\n", func(h *copyHeader) { h.entries = 2 }),
		"another list":   packed("192.0.2.1/32\n", func(h *copyHeader) { h.spec = "x" }),
		"a wrong line":   packed("192.0.2.1/32\nnonsense\n", nil),
		"the Internet":   packed("0.0.0.0/0\n", nil),
		"a web page":     packed("<html>\n", nil),
		"empty":          packed("", nil),
		"reserved":       packed("10.0.0.0/8\n", nil),
		"a bomb":         packed(strings.Repeat("192.0.2.1/32\n", 1<<20), nil),
		"more than told": packed("192.0.2.1/32\n192.0.2.3/32\n", func(h *copyHeader) { h.lines = 1 }),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				spec := secretSpec()
				spec.MaxBytes = 1 << 20
				spec = completed(t, spec)
				shared := new(store)
				l, _ := shared.of(spec.shareKey())
				l.version, l.text, l.confirmed = "abc", text, time.Now()
				p := &publisher{answer: func(int) (int, string, string) { return http.StatusOK, addresses(20), "" }}
				s := instances(t, 1, shared, p, spec)[0]
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if !isListed(s.Current(), "198.51.100.7", "one_0") || isListed(s.Current(), "192.0.2.1", "one_0") || len(p.times()) != 1 {
					t.Errorf("asked %d times; %+v", len(p.times()), s.Status())
				}
				if shared.only(t).version == "abc" || shared.loaded != 1 {
					t.Errorf("loaded %d times, and the bad copy is still shared", shared.loaded)
				}
			})
		})
	}
}

// TestSharedCopyMayNotShrink proves that the guard against lists that lose most of their lines holds for copies.
func TestSharedCopyMayNotShrink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &publisher{answer: func(n int) (int, string, string) {
			if n == 1 {
				return http.StatusOK, addresses(200), ""
			}
			return http.StatusOK, addresses(20), ""
		}}
		shared := new(store)
		careful := instances(t, 1, shared, p, secretSpec())[0]
		time.Sleep(10 * time.Second)
		spec := secretSpec()
		spec.MaxShrink = new(1.0)
		spec.Refresh = 30 * time.Minute
		instances(t, 1, shared, p, spec)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if got := careful.Status()[0]; got.Lines != 200 || got.LastResult != "refused_shrunk" {
			t.Errorf("%+v", got)
		}
	})
}

// TestLargeListsAreNotShared proves that a list beyond the bound is fetched by each instance.
func TestLargeListsAreNotShared(t *testing.T) {
	if text := compress(func(w io.Writer) error {
		noise := make([]byte, 1<<20)
		for i := range noise {
			noise[i] = byte(i * i >> 3)
		}
		for range 40 {
			for i := range noise {
				noise[i] = noise[i]*31 + byte(i>>7) + noise[(i+7919)%len(noise)]
			}
			if _, err := w.Write(noise); err != nil {
				return err
			}
		}
		return nil
	}); text != nil {
		t.Errorf("%d bytes are not too many", len(text))
	}
}

func TestShareKey(t *testing.T) {
	one := secretSpec()
	for name, test := range map[string]struct {
		change func(*Spec)
		same   bool
	}{
		"another name":     {func(s *Spec) { s.Name = "two" }, true},
		"another secret":   {func(s *Spec) { s.Header.Set("Authorization", "Bearer other") }, true},
		"other limits":     {func(s *Spec) { s.Refresh, s.MaxBytes = time.Minute, 1 }, true},
		"another URL":      {func(s *Spec) { s.URLs = []string{secretURL + "2"} }, false},
		"another format":   {func(s *Spec) { s.Format.MinCount = 3 }, false},
		"another language": {func(s *Spec) { s.Header.Set("Accept", "text/csv") }, false},
		"another header":   {func(s *Spec) { s.Header.Set("X-Tier", "gold") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			other := secretSpec()
			test.change(&other)
			if same := one.shareKey() == other.shareKey(); same != test.same {
				t.Errorf("the same: %v, want %v", same, test.same)
			}
		})
	}
}

// completed returns a spec with its defaults, as it is identified by.
func completed(t *testing.T, s Spec) Spec {
	t.Helper()
	s, err := s.complete()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sumOf(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}

// FuzzReadShared proves that nothing in Redis makes the reader panic, or gets more into a list than a publisher could.
func FuzzReadShared(f *testing.F) {
	spec, err := secretSpec().complete()
	if err != nil {
		f.Fatal(err)
	}
	spec.MaxBytes = 4 << 10
	l := newList(nil, 0, spec)
	body := "192.0.2.1/32\n2001:db8::/32\n"
	h := copyHeader{spec: l.fingerprint, lines: 2, entries: 2, sum: sumOf(body), parts: []validators{{ETag: `"1"`}}}
	whole := append(h.appendText(nil), body...)
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte("nonsense"))
	f.Fuzz(func(t *testing.T, text []byte) {
		packed := compress(func(w io.Writer) error {
			_, err := w.Write(text)
			return err
		})
		for _, text := range [][]byte{text, packed} {
			c, err := l.readShared(text)
			if err != nil {
				continue
			}
			if c.Wrong > 0 || c.Lines > len(text)*1000 {
				t.Errorf("%d entries, %d wrong ones", c.Lines, c.Wrong)
			}
			for _, v := range c.parts {
				if !v.sendable() {
					t.Errorf("%+v is sent", v)
				}
			}
		}
	})
}
