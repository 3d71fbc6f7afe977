package ban

import (
	"log/slog"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
)

// clock is one that tests move.
type clock struct{ nanos atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.add(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC).Sub(time.Unix(0, 0)))
	return c
}

func (c *clock) now() time.Time { return time.Unix(0, c.nanos.Load()) }

func (c *clock) add(d time.Duration) { c.nanos.Add(int64(d)) }

// openAt returns a store with a clock of its own and what it logs.
func openAt(t testing.TB, path string, now func() time.Time) (*Store, *logtest.Log) {
	t.Helper()
	log := new(logtest.Log)
	s, err := Open(path, Options{Logger: slog.New(slog.NewTextHandler(log, nil)), now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, log
}

// put bans a prefix for a time, for good if that is 0.
func put(t testing.TB, s *Store, prefix string, lasts time.Duration) {
	t.Helper()
	e := Entry{Kind: Ban, Prefix: netip.MustParsePrefix(prefix), Reason: "test", Created: s.now()}
	if lasts > 0 {
		e.Expires = e.Created.Add(lasts)
	}
	if _, err := s.Add(e); err != nil {
		t.Fatal(err)
	}
}

func unban(t testing.TB, s *Store, prefix string) {
	t.Helper()
	if ok, err := s.Remove(Ban, netip.MustParsePrefix(prefix)); !ok || err != nil {
		t.Fatalf("Remove: %v, %v", ok, err)
	}
}

// known returns all that a store knows.
func known(s *Store) state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state()
}

func merge(t testing.TB, s *Store, changes []replica.Entry) (changed int, newer []replica.Entry) {
	t.Helper()
	changed, newer, err := s.merge(changes)
	if err != nil {
		t.Fatal(err)
	}
	return changed, newer
}

// exchange tells every store what every other one knows, and that what is newer, until all have heard it.
func exchange(t testing.TB, stores ...*Store) {
	t.Helper()
	for range 2 {
		for _, from := range stores {
			for _, to := range stores {
				_, newer := merge(t, to, from.Entries())
				merge(t, from, newer)
			}
		}
	}
}

const (
	prefix  = "203.0.113.0/24"
	prefix2 = "198.51.100.7/32"
	addr    = "203.0.113.9"
)
