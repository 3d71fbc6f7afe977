package bots

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var discard = slog.New(slog.DiscardHandler)

// stub is a resolver of functions. Names and addresses that exist are those of googlebot.
type stub struct {
	mu      sync.Mutex
	asked   int
	running int
	most    int           // running at once
	takes   time.Duration // each question
	err     error
	panics  bool
}

var errNotFound = &net.DNSError{Err: "no such host", IsNotFound: true}

func (s *stub) begin(ctx context.Context) error {
	s.mu.Lock()
	s.asked++
	s.running++
	s.most = max(s.most, s.running)
	takes, err, panics := s.takes, s.err, s.panics
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.running--
		s.mu.Unlock()
	}()
	if panics {
		panic("a test")
	}
	select {
	case <-time.After(takes):
		return err
	case <-ctx.Done():
		return &net.DNSError{Err: ctx.Err().Error(), IsTimeout: true}
	}
}

func (s *stub) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	if strings.HasPrefix(addr, "240.") || strings.HasSuffix(addr, "6") {
		return nil, errNotFound
	}
	return []string{"crawl-" + strings.NewReplacer(".", "-", ":", "-").Replace(addr) + ".googlebot.com."}, nil
}

func (s *stub) LookupNetIP(ctx context.Context, _, host string) ([]netip.Addr, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	name, ok := strings.CutSuffix(strings.TrimPrefix(host, "crawl-"), ".googlebot.com.")
	if !ok {
		return nil, errNotFound
	}
	addr, err := netip.ParseAddr(strings.ReplaceAll(name, "-", "."))
	if err != nil {
		addr, err = netip.ParseAddr(strings.ReplaceAll(name, "-", ":"))
	}
	return []netip.Addr{netip.AddrFrom16(addr.As16())}, err // mapped, as Go's resolver may return it
}

func (s *stub) set(change func(*stub)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *stub) questions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// googlebots returns a verifier without ranges.
func googlebots(t testing.TB, s *stub) *Verifier {
	r := NewReverse(s, discard)
	t.Cleanup(r.Close)
	return NewVerifier(Named("google"), published{}, r)
}

// at asks as Googlebot.
func at(v *Verifier, addr string, wait time.Duration) Outcome {
	return v.Verify(context.Background(), 0, netip.MustParseAddr(addr), wait)
}

// TestWaits: a request waits as long as it may, and the look-up goes on without it.
func TestWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{takes: 100 * time.Millisecond}
		v := googlebots(t, s)
		for _, wait := range []time.Duration{0, 25 * time.Millisecond} {
			began := time.Now()
			if got := at(v, "192.0.2.1", wait); got != Indeterminate || time.Since(began) != wait {
				t.Errorf("%s after %s", got, time.Since(began))
			}
			if !v.Asks(0, netip.MustParseAddr("192.0.2.1")) || v.Asks(0, netip.MustParseAddr("192.0.2.3")) {
				t.Error("it is not known which claims are being looked up")
			}
		}
		began := time.Now()
		if got := at(v, "192.0.2.1", time.Minute); got != Verified || time.Since(began) > 400*time.Millisecond {
			t.Errorf("%s after %s", got, time.Since(began))
		}
		if v.Asks(0, netip.MustParseAddr("192.0.2.1")) {
			t.Error("a claim that is known is being looked up")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if got := v.Verify(ctx, 0, netip.MustParseAddr("192.0.2.2"), time.Minute); got != Indeterminate {
			t.Errorf("%s for a request that has ended", got)
		}
		v.reverse.Close()
	})
}

// TestRemembered: how long each answer is remembered.
func TestRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(stub)
		v := googlebots(t, s)
		ask := func(addr string, want Outcome, questions int) {
			t.Helper()
			before := s.questions()
			if got := at(v, addr, time.Minute); got != want || s.questions()-before != questions {
				t.Errorf("%s is %s after %d questions, want %s after %d", addr, got, s.questions()-before, want, questions)
			}
		}
		ask("192.0.2.1", Verified, 4) // two of them to know that the resolver is honest
		ask("192.0.2.1", Verified, 0)
		ask("192.0.2.6", Fake, 1)
		ask("192.0.2.6", Fake, 0)
		time.Sleep(missedFor)
		ask("192.0.2.6", Fake, 3)
		time.Sleep(confirmedFor - renewedFor - missedFor - time.Minute)
		ask("192.0.2.1", Verified, 0)
		time.Sleep(renewedFor + time.Minute)
		s.set(func(s *stub) { s.err = errors.New("SERVFAIL") })
		ask("192.0.2.1", Indeterminate, 1)
		ask("192.0.2.1", Indeterminate, 0)
		time.Sleep(failedFor)
		s.set(func(s *stub) { s.err = nil })
		ask("192.0.2.1", Verified, 4)
		// another claim of the same address is another question
		if got := v.Verify(t.Context(), 1, netip.MustParseAddr("192.0.2.1"), time.Minute); got != Fake {
			t.Errorf("the second claim of an address is %s", got)
		}
		v.reverse.Close()
	})
}

// TestSlowDNS: a resolver that does not answer is given up, and is no proof.
func TestSlowDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{takes: time.Hour}
		v := googlebots(t, s)
		began := time.Now()
		if got := at(v, "192.0.2.6", time.Minute); got != Indeterminate || time.Since(began) != lookupTimeout {
			t.Errorf("%s after %s", got, time.Since(began))
		}
		v.reverse.Close()
	})
}

// TestFlood: claims from many addresses take no more than their share of places, and of time.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{takes: time.Second}
		v := googlebots(t, s)
		for i := range 100_000 {
			at(v, netip.AddrFrom4([4]byte{198, byte(i >> 16), byte(i >> 8), byte(i)}).String(), 0)
		}
		r := v.reverse
		r.mu.Lock()
		queued, jobs := len(r.queue), len(r.jobs)
		r.mu.Unlock()
		if queued > maxQueue || jobs > maxQueue+workers {
			t.Errorf("%d are queued, %d known", queued, jobs)
		}
		time.Sleep(time.Minute)
		s.set(func(s *stub) {
			if s.most > workers {
				t.Errorf("%d questions at once", s.most)
			}
		})
		v.reverse.Close()
	})
}

// TestShareOfANetwork: one network cannot keep others from being verified.
func TestShareOfANetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(stub)
		v := googlebots(t, s)
		for i := range 5000 {
			at(v, netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 9, byte(i >> 8), byte(i), 15: 1}).String(), 0)
			time.Sleep(time.Millisecond)
		}
		if asked := s.questions(); asked > 4*networkLookups {
			t.Errorf("%d questions because of one network", asked)
		}
		if got := at(v, "192.0.2.1", time.Minute); got != Verified {
			t.Errorf("another network's client is %s", got)
		}
		time.Sleep(time.Minute)
		if got := at(v, "2001:db8:9::77", time.Minute); got != Verified {
			t.Errorf("a minute later a client of the network is %s", got)
		}
		v.reverse.Close()
	})
}

func TestOneLookupForMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{takes: time.Second}
		v := googlebots(t, s)
		var verified atomic.Int32
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if at(v, "192.0.2.1", time.Minute) == Verified {
					verified.Add(1)
				}
			})
		}
		all.Wait()
		if verified.Load() != 50 || s.questions() != 4 {
			t.Errorf("%d are verified, after %d questions", verified.Load(), s.questions())
		}
		v.reverse.Close()
	})
}

func TestPanicOfAResolver(t *testing.T) {
	s := &stub{panics: true}
	v := googlebots(t, s)
	if got := at(v, "192.0.2.1", time.Minute); got != Indeterminate {
		t.Errorf("%s", got)
	}
	s.set(func(s *stub) { s.panics = false })
	if got := at(v, "192.0.2.2", time.Minute); got != Verified {
		t.Errorf("%s: the next one", got)
	}
}

func TestClosed(t *testing.T) {
	s := &stub{takes: time.Hour}
	v := googlebots(t, s)
	at(v, "192.0.2.1", 0)
	v.reverse.Close()
	v.reverse.Close()
	if got := at(v, "192.0.2.2", time.Minute); got != Indeterminate {
		t.Errorf("%s", got)
	}
}

// TestRememberedTable holds that a claim is found as it was stored or not at all, and that confirmed ones stay in a
// flood of misses.
func TestRememberedTable(t *testing.T) {
	r := newRemembered()
	key := func(i int) claimKey {
		return claimKey{bot: uint16(i % 7), addr: netip.AddrFrom4([4]byte{198, byte(i >> 16), byte(i >> 8), byte(i)})}
	}
	const good = 1000
	for i := range good {
		r.put(key(i), confirmed)
	}
	for i := good; i < 300_000; i++ {
		r.put(key(i), missed)
	}
	for i := range good {
		if f, _ := r.get(key(i)); f != confirmed {
			t.Fatalf("a confirmed claim is %d", f)
		}
	}
	if f, _ := r.get(claimKey{bot: 1, addr: key(0).addr}); f == confirmed {
		t.Error("another claim of the address is confirmed, too")
	}
	rapid.Check(t, func(t *rapid.T) {
		r, twin := newRemembered(), map[claimKey]found{}
		for range rapid.IntRange(0, 50).Draw(t, "puts") {
			k, f := key(rapid.IntRange(0, 20).Draw(t, "key")), found(rapid.IntRange(1, 3).Draw(t, "found"))
			r.put(k, f)
			twin[k] = f
		}
		for i := range 21 {
			if got, _ := r.get(key(i)); got != twin[key(i)] {
				t.Fatalf("claim %d is %d, want %d", i, got, twin[key(i)])
			}
		}
	})
}

func TestVerifyDoesNotAllocate(t *testing.T) {
	if testenv.Race {
		t.Skip("the race detector allocates")
	}
	v := googlebots(t, new(stub))
	at(v, "192.0.2.1", time.Minute)
	addr := netip.MustParseAddr("192.0.2.1")
	if n := testing.AllocsPerRun(100, func() { v.Verify(context.Background(), 0, addr, time.Minute) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkVerify measures a claim that is remembered.
func BenchmarkVerify(b *testing.B) {
	v := googlebots(b, new(stub))
	at(v, "192.0.2.1", time.Minute)
	addr := netip.MustParseAddr("192.0.2.1")
	b.ReportAllocs()
	for b.Loop() {
		v.Verify(context.Background(), 0, addr, time.Minute)
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"*.googlebot.com", "crawl-1.googlebot.com", true},
		{"*.googlebot.com", "a.geo.googlebot.com", true},
		{"*.googlebot.com", "googlebot.com", false},
		{"*.googlebot.com", ".googlebot.com", false},
		{"*.googlebot.com", "evilgooglebot.com", false},
		{"*.googlebot.com", "crawl.googlebot.com.example.net", false},
		{"rate-limited-proxy-*.google.com", "rate-limited-proxy-1-2.google.com", true},
		{"rate-limited-proxy-*.google.com", "rate-limited-proxy-1.evil.google.com", false},
		{"rate-limited-proxy-*.google.com", "rate-limited-proxy-.google.com", false},
		{"crawl.*.web.naver.com", "crawl.1-2.web.naver.com", true},
	} {
		if got := nameMatches(c.pattern, c.name); got != c.want {
			t.Errorf("%s and %s: %t", c.pattern, c.name, got)
		}
	}
}

func FuzzNames(f *testing.F) {
	for _, name := range []string{
		"crawl-1.googlebot.com.", "", ".", "a..googlebot.com", "ä.googlebot.com", "\x00.googlebot.com",
	} {
		f.Add(name)
	}
	bot := Named("googlebot")[0]
	f.Fuzz(func(t *testing.T, raw string) {
		for _, name := range bot.namesOf([]string{raw, raw, raw, raw, raw, raw}) {
			label, found := strings.CutSuffix(name, ".googlebot.com")
			if !found || label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
				t.Fatalf("%q is a name of Googlebot", raw)
			}
		}
		if n := len(bot.namesOf([]string{raw, raw, raw, raw, raw, raw})); n > maxNames {
			t.Fatal(fmt.Sprint(n, " names"))
		}
	})
}
