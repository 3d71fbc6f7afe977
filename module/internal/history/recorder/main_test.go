package recorder

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestMain(m *testing.M) {
	if os.Getenv(childDir) != "" {
		child()
		return
	}
	goleak.VerifyTestMain(m)
}

var start = time.Date(2026, 11, 24, 17, 16, 23, 0, time.UTC)

// request returns an event of an address in 203.0.113.0/24.
func request(low byte) history.Event {
	return history.Event{
		At: start, Address: netip.AddrFrom4([4]byte{203, 0, 113, low}), Host: "app.example.com", Rule: "block score 85",
		Action: reputation.Block, Enforce: true, RequestID: "0af7651916cd43dd8448eb211c80319c", Config: "1f8a",
		Verdict: reputation.Verdict{Status: reputation.Pending},
	}
}

// scored returns an event with a verdict by sources.
func scored(low byte, score uint8, sources ...string) history.Event {
	e := request(low)
	e.Verdict = reputation.Verdict{Score: score, Scored: true, Coverage: 1, Categories: reputation.CategoriesOf(reputation.Scanner)}
	for _, name := range sources {
		e.Verdict.Reasons = append(e.Verdict.Reasons, reputation.Reason{Source: name, Points: 20, Categories: e.Verdict.Categories})
	}
	return e
}

// shelf is a Store that has each batch once.
type shelf struct {
	mu      sync.Mutex
	batches map[history.ID]bool
	all     []*history.Batch // in the order in which they came
	calls   int
	answer  func(*history.Batch) error // before it stores; nil: all is well
}

func (s *shelf) Write(_ context.Context, b *history.Batch) (history.Stored, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.answer != nil {
		if err := s.answer(b); err != nil {
			return history.Stored{}, err
		}
	}
	s.put(b)
	return history.Stored{Entries: entriesOf(b)}, nil
}

func (s *shelf) put(b *history.Batch) {
	if s.batches == nil {
		s.batches = make(map[history.ID]bool)
	}
	if !s.batches[b.ID] {
		s.batches[b.ID] = true
		s.all = append(s.all, b)
	}
}

// answers changes how the store answers.
func (s *shelf) answers(answer func(*history.Batch) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// called returns how often it was asked.
func (s *shelf) called() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// merged returns all that is stored as one window.
func (s *shelf) merged() *window {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &window{}
	for _, b := range s.all {
		for i := range b.Decisions {
			w.add(&b.Decisions[i])
		}
		for i := range b.Changes {
			w.change(&b.Changes[i])
		}
	}
	return w
}

// perAddress returns how many requests are stored of each address.
func (s *shelf) perAddress() map[netip.Prefix]int64 {
	counts := make(map[netip.Prefix]int64)
	for _, d := range s.merged().decisions {
		counts[d.Address] += d.Count
	}
	return counts
}

// failer is what a test and a property have in common.
type failer interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
	Errorf(string, ...any)
}

// rig is a Recorder that does what the test says, when it says so: none of its goroutines runs.
type rig struct {
	*Recorder
	log logtest.Log
}

func newRig(tb failer, o Options) *rig {
	tb.Helper()
	k := &rig{}
	o.Logger = k.log.Logger()
	o.timing = defaultTiming
	o.timing.subjects = 0 // any number
	if o.timing.orphanAge = time.Minute; o.files.replace == nil {
		o.files.replace = replaceFast
	}
	k.Recorder = Open(o)
	k.Use(Settings{})
	return k
}

// Use changes the settings. Tests do not run into the limit of rows unless they name one.
func (k *rig) Use(s Settings) {
	if s.Rows == 0 {
		s.Rows = 1 << 30
	}
	k.Recorder.Use(s)
}

func (k *rig) record(events ...history.Event) {
	for _, e := range events {
		k.Record(e)
		k.collector.take(false)
		k.collector.sealIfFull()
	}
}

func (k *rig) flush() { k.collector.flush() }
func (k *rig) seal()  { k.collector.seal() }

// sendAll sends until nothing is left, or the store fails.
func (k *rig) sendAll(store history.Store) error {
	for {
		w := k.spool.next(false)
		if w == nil {
			return nil
		}
		if err := k.attempt(context.Background(), store, w); err != nil {
			return err
		}
	}
}

// die leaves everything as the death of the process would.
func (k *rig) die() {
	k.collector.journal.close()
	k.collector.flushing.Stop()
	for _, w := range k.spool.list {
		if w.journal != nil {
			w.journal.close()
		}
	}
}

// check holds that nothing is unaccounted for.
func (k *rig) check(tb failer, recorded int64) {
	tb.Helper()
	c := k.Counts()
	sum := c.Waiting + c.Written
	for _, n := range c.Dropped {
		sum += n
	}
	if sum != recorded {
		tb.Fatalf("%d of %d entries are accounted for: %+v", sum, recorded, c)
	}
}

// replaceFast writes a file without waiting for the disk.
func replaceFast(path string, write func(io.Writer) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.Create(path + ".123.tmp")
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		_ = f.Close()
		_ = os.Remove(f.Name())
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// names returns the names in a folder that end so.
func names(tb failer, dir, end string) (list []string) {
	tb.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		tb.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), end) {
			list = append(list, e.Name())
		}
	}
	return list
}

// age makes the files of a folder older.
func age(tb failer, dir string, by time.Duration) {
	tb.Helper()
	for _, name := range names(tb, dir, "") {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			tb.Fatal(err)
		}
		at := info.ModTime().Add(-by)
		if err := os.Chtimes(filepath.Join(dir, name), at, at); err != nil {
			tb.Fatal(err)
		}
	}
}

func checkCounts(tb failer, what string, got, want map[netip.Prefix]int64) {
	tb.Helper()
	if maps.Equal(got, want) {
		return
	}
	var diff []string
	for p, n := range want {
		if got[p] != n && len(diff) < 10 {
			diff = append(diff, fmt.Sprintf("%s %d, want %d", p, got[p], n))
		}
	}
	tb.Errorf("%s: %d addresses, want %d: %s", what, len(got), len(want), strings.Join(diff, "; "))
}

// mustStored returns the prefix of an event's client.
func mustStored(e history.Event) netip.Prefix { return reputation.Subject(e.Address) }
