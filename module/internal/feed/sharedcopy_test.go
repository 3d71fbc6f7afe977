package feed

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed/fetch"
)

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
				if shared.only(t).version == "abc" || shared.loads() != 1 {
					t.Errorf("loaded %d times, and the bad copy is still shared", shared.loads())
				}
			})
		})
	}
}

// TestRemovedCopyIsFetchedAnew proves that an operator who removes the copy on disk gets what the publisher has, not
// what is shared.
func TestRemovedCopyIsFetchedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &publisher{answer: func(n int) (int, string, string) {
			return http.StatusOK, addresses(map[bool]int{true: 200, false: 20}[n == 1]), ""
		}}
		dir := t.TempDir()
		s := mustOpen(t, Options{Dir: dir, Transport: p, Shared: new(store)}, secretSpec())
		s.Start()
		time.Sleep(70 * time.Minute)
		synctest.Wait()
		if got := s.Status()[0]; got.LastResult != "refused_shrunk" {
			t.Fatalf("%+v", got)
		}
		if err := os.Remove(filepath.Join(dir, "one.list")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		err := s.Refresh(t.Context(), "one") // unless the schedule was faster
		if err != nil && !errors.Is(err, ErrTooSoon) || s.Status()[0].Lines != 20 {
			t.Errorf("%v; %+v", err, s.Status()[0])
		}
	})
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
	h := copyHeader{spec: l.fingerprint, lines: 2, entries: 2, sum: sumOf(body), parts: []validators{{Validators: fetch.Validators{ETag: `"1"`}}}}
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
				if !v.Sendable() {
					t.Errorf("%+v is sent", v)
				}
			}
		}
	})
}
