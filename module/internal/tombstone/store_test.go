package tombstone

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	noon     = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	subject  = netip.MustParsePrefix("203.0.113.7/32")
	subject6 = netip.MustParsePrefix("2001:db8:1::/64")

	comparePrefixes = cmpopts.EquateComparable(netip.Prefix{})
)

// instance is a store with a clock, its log and what it was told to forget.
type instance struct {
	*Store
	path      string
	log       logtest.Log
	nanos     atomic.Int64
	forgotten []Tombstone
}

func start(tb testing.TB, path string) *instance {
	tb.Helper()
	i := &instance{path: path}
	i.nanos.Store(noon.UnixNano())
	i.restart()
	return i
}

func (i *instance) restart() {
	i.Store = Open(i.path, Options{
		Logger:  slog.New(slog.NewTextHandler(&i.log, nil)),
		OnMerge: func(t Tombstone) { i.forgotten = append(i.forgotten, t) },
		now:     i.clock,
	})
}

func (i *instance) clock() time.Time { return time.Unix(0, i.nanos.Load()) }

func (i *instance) wait(d time.Duration) { i.nanos.Add(int64(d)) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestFormats proves that files and Redis hold what they held before there was this package, and that it is read.
func TestFormats(t *testing.T) {
	const file = `[{"subject":"203.0.113.7/32","forgotten":"2026-01-01T12:00:00Z","version":1767268800123},` +
		`{"subject":"2001:db8:1::/64","forgotten":"2026-01-01T11:59:00Z","version":1767268740000,"pending":true}]` + "\n"
	path := filepath.Join(t.TempDir(), "forgets.json")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, path)
	if text := s.log.Take(); text != "" {
		t.Errorf("logged %s", text)
	}
	want := []Tombstone{
		{Subject: subject6, At: noon.Add(-time.Minute), Version: 1767268740000, Pending: true},
		{Subject: subject, At: noon, Version: 1767268800123},
	}
	if diff := cmp.Diff(want, s.all.All(), comparePrefixes); diff != "" {
		t.Error(diff)
	}
	inRedis := []replica.Entry{{
		Name: "203.0.113.7/32", Version: 1767268800123, Expires: noon.Add(24 * time.Hour),
		Value: []byte(`{"subject":"203.0.113.7/32","forgotten":"2026-01-01T12:00:00Z","version":1767268800123}`),
	}}
	if diff := cmp.Diff(inRedis, s.Entries()); diff != "" {
		t.Error(diff)
	}
	s.mu.Lock()
	s.save()
	s.mu.Unlock()
	// the order is that of names now, which no version cares about
	const written = `[{"subject":"2001:db8:1::/64","forgotten":"2026-01-01T11:59:00Z","version":1767268740000,"pending":true},` +
		`{"subject":"203.0.113.7/32","forgotten":"2026-01-01T12:00:00Z","version":1767268800123}]` + "\n"
	if got, err := os.ReadFile(path); err != nil || string(got) != written {
		t.Errorf("written as %s, %v", got, err)
	}

	other := start(t, filepath.Join(t.TempDir(), "new folder", "forgets.json"))
	if better := other.Merge(inRedis); better {
		t.Error("the other one knows better")
	}
	if diff := cmp.Diff(want[1:], other.forgotten, comparePrefixes); diff != "" {
		t.Error(diff)
	}
	other.restart()
	if diff := cmp.Diff(inRedis, other.Entries()); diff != "" {
		t.Errorf("after a restart: %s", diff)
	}
}

func TestMerge(t *testing.T) {
	a, b := start(t, filepath.Join(t.TempDir(), "a")), start(t, filepath.Join(t.TempDir(), "b"))
	waiting := a.Changed()
	a.Add(subject, a.clock(), false)
	if !isClosed(waiting) {
		t.Error("the change is not signalled")
	}
	waiting = b.Changed()
	for range 2 {
		if b.Merge(a.Entries()) {
			t.Error("who knew nothing knows better")
		}
	}
	if len(b.forgotten) != 1 || isClosed(waiting) {
		t.Errorf("forgotten: %v; signalled: %v", b.forgotten, isClosed(waiting))
	}
	old := a.Entries()
	b.wait(-time.Hour) // its clock is behind
	b.Add(subject, b.clock(), false)
	if b.all.Version(subject.String()) <= old[0].Version {
		t.Error("a later deletion has not a larger version")
	}
	if !b.Merge(old) || len(b.forgotten) != 1 {
		t.Errorf("an old one: %v", b.forgotten)
	}
	a.Merge(b.Entries())
	if len(a.forgotten) != 1 || !cmp.Equal(a.Entries(), b.Entries()) {
		t.Errorf("they differ: %v, %v", a.Entries(), b.Entries())
	}
}

func TestMergeSkips(t *testing.T) {
	now := noon.UnixMilli()
	with := func(name string, version int64, value string) replica.Entry {
		return replica.Entry{Name: name, Version: version, Value: []byte(value)}
	}
	is := func(at string, version int64) replica.Entry {
		return with("203.0.113.7/32", version, fmt.Sprintf(`{"subject":"203.0.113.7/32","forgotten":%q,"version":%d}`, at, version))
	}
	for title, tc := range map[string]struct {
		entry replica.Entry
		want  string // in the log; empty: it is taken over
	}{
		"good":              {is("2026-01-01T12:00:00Z", now), ""},
		"no JSON":           {with("203.0.113.7/32", now, "\x00"), "invalid character"},
		"null":              {with("203.0.113.7/32", now, "null"), "subject is missing"},
		"another subject":   {with("203.0.113.8/32", now, string(is("2026-01-01T12:00:00Z", now).Value)), "203.0.113.7/32"},
		"another version":   {with("203.0.113.7/32", now+1, string(is("2026-01-01T12:00:00Z", now).Value)), "it is version"},
		"of tomorrow":       {is("2026-01-01T12:00:00Z", now+2*replica.MaxAhead.Milliseconds()), "compare the clocks"},
		"until the year 3k": {is("3000-01-01T12:00:00Z", now), "compare the clocks"},
		"too long":          {with("203.0.113.7/32", now, `{"x":"`+strings.Repeat("x", maxLine)+`"}`), "512 at most"},
		"far too long":      {with("203.0.113.7/32", now, `{"x":"`+strings.Repeat("x", replica.MaxValue)+`"}`), "4096 at most"},
	} {
		t.Run(title, func(t *testing.T) {
			s := start(t, filepath.Join(t.TempDir(), "forgets.json"))
			good := with(subject6.String(), now, fmt.Sprintf(`{"subject":%q,"forgotten":"2026-01-01T12:00:00Z","version":%d}`, subject6, now))
			s.Merge([]replica.Entry{tc.entry, good})
			text := s.log.Take()
			if tc.want == "" {
				if len(s.forgotten) != 2 || text != "" {
					t.Errorf("taken: %v, logged: %s", s.forgotten, text)
				}
				return
			}
			if len(s.forgotten) != 1 || s.forgotten[0].Subject != subject6 {
				t.Errorf("taken: %v", s.forgotten)
			}
			if !strings.Contains(text, "level=WARN") || !strings.Contains(text, "count=1") || !strings.Contains(text, tc.want) {
				t.Errorf("logged %s, want %q", text, tc.want)
			}
		})
	}
}

func TestExpiry(t *testing.T) {
	path := filepath.Join(t.TempDir(), "forgets.json")
	s := start(t, path)
	s.Add(subject, s.clock(), false)
	entries := s.Entries()
	s.wait(lifetime)
	if len(s.Entries()) != 1 {
		t.Error("it is over too soon")
	}
	s.wait(time.Second)
	if len(s.Entries()) != 0 {
		t.Error("it is not over")
	}
	s.Merge(entries)
	s.Add(subject6, s.clock(), false) // writes the file
	if s.all.Len() != 1 || len(s.forgotten) != 0 {
		t.Errorf("left: %v, forgotten: %v", s.all.All(), s.forgotten)
	}
	if text, err := os.ReadFile(path); err != nil || strings.Contains(string(text), "203.0.113.7") {
		t.Errorf("on disk: %s, %v", text, err)
	}
}

// TestPending proves that the others learn of a deletion only after the shared memory has deleted the subject, also when a
// restart comes in between.
func TestPending(t *testing.T) {
	s := start(t, filepath.Join(t.TempDir(), "forgets.json"))
	pending, changed := s.PendingChanged(), s.Changed()
	s.Add(subject, s.clock(), true)
	s.Add(subject6, s.clock(), true)
	if !isClosed(pending) || isClosed(changed) || len(s.Entries()) != 0 {
		t.Errorf("pending signalled: %v, changed signalled: %v, shared: %v", isClosed(pending), isClosed(changed), s.Entries())
	}
	s.restart()
	away := errors.New("away")
	var asked []netip.Prefix
	err := s.Settle(t.Context(), func(_ context.Context, p netip.Prefix) error {
		if asked = append(asked, p); len(asked) == 2 {
			return away
		}
		return nil
	})
	if !errors.Is(err, away) || len(s.Entries()) != 1 || s.Entries()[0].Name != asked[0].String() {
		t.Errorf("settled in part: %v, %v", err, s.Entries())
	}
	changed = s.Changed()
	err = s.Settle(t.Context(), func(_ context.Context, p netip.Prefix) error {
		if p != asked[1] {
			t.Errorf("%s is deleted again", p)
		}
		s.Add(p, s.clock(), true) // again, meanwhile
		return nil
	})
	if err != nil || len(s.Entries()) != 1 || isClosed(changed) {
		t.Errorf("deleted again meanwhile, and shared: %v, %v", err, s.Entries())
	}
	if err = s.Settle(t.Context(), func(context.Context, netip.Prefix) error { return nil }); err != nil || len(s.Entries()) != 2 {
		t.Errorf("settled: %v, %v", err, s.Entries())
	}
	s.restart()
	if len(s.Entries()) != 2 {
		t.Errorf("after a restart: %v", s.Entries())
	}
}

func TestDamagedFile(t *testing.T) {
	const good = `{"subject":"203.0.113.7/32","forgotten":"2026-01-01T12:00:00Z","version":1767268800000}`
	for title, tc := range map[string]struct {
		text   string
		usable int
		want   string // in the log
	}{
		"empty list":       {"[]", 0, ""},
		"a member more":    {`[{"by":"later versions",` + good[1:] + "]", 1, ""},
		"cut off":          {"[" + good + ",", 0, "unexpected end"},
		"one unusable":     {`[{"subject":"x"},` + good + "]", 1, "not usable"},
		"one of no time":   {`[{"subject":"203.0.113.8/32"},` + good + "]", 1, "not usable"},
		"one of the wrong": {`[7,` + good + "]", 1, "not usable"},
		"too large":        {"[" + strings.Repeat(" ", maxFile) + "]", 0, "larger"},
	} {
		t.Run(title, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "forgets.json")
			if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			s := start(t, path)
			text := s.log.Take()
			if s.all.Len() != tc.usable || (text == "") != (tc.want == "") || !strings.Contains(text, tc.want) {
				t.Errorf("%v, logged %s", s.all.All(), text)
			}
			s.Add(subject6, s.clock(), false)
			s.restart()
			if s.all.Len() != tc.usable+1 {
				t.Errorf("after a restart: %v", s.all.All())
			}
		})
	}
}

func TestADiskThatFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "forgets.json")
	if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := start(t, path)
	s.Add(subject, s.clock(), false)
	if text := s.log.Take(); !strings.Contains(text, "cannot be read") || !strings.Contains(text, "cannot be written") || len(s.Entries()) != 1 {
		t.Errorf("%v, logged %s", s.Entries(), text)
	}
}

// TestConvergence proves that any exchange lets all know the newest deletion of each subject; clocks stand still, so that
// versions tie.
func TestConvergence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all []*Store
		for range 3 {
			all = append(all, Open("", Options{now: func() time.Time { return noon }}))
		}
		draw := func(t *rapid.T) *Store { return rapid.SampledFrom(all).Draw(t, "instance") }
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				at := noon.Add(-time.Duration(rapid.IntRange(0, 2).Draw(t, "seconds")) * time.Second)
				draw(t).Add(rapid.SampledFrom([]netip.Prefix{subject, subject6}).Draw(t, "subject"), at, rapid.Bool().Draw(t, "pending"))
			},
			"merge": func(t *rapid.T) { draw(t).Merge(rapid.Permutation(draw(t).Entries()).Draw(t, "entries")) },
		})
		for range 2 {
			for _, s := range all {
				_ = s.Settle(t.Context(), func(context.Context, netip.Prefix) error { return nil })
				for _, other := range all {
					other.Merge(s.Entries())
				}
			}
		}
		for _, s := range all[1:] {
			if diff := cmp.Diff(all[0].Entries(), s.Entries()); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`[]`, `null`, `{}`, `[null]`, `[{"subject":"203.0.113.7/32","forgotten":"2026-01-01T12:00:00Z","version":1767268800000,"pending":true}]`,
		`[{"subject":"2001:db8::1/64","forgotten":"2026-01-01T13:00:00.5+01:00","version":9223372036854775807}]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		list, _ := decode(data, noon)
		for _, want := range list {
			got, err := parseEntry(want.entry(), noon)
			want.Pending = false
			if err != nil && want.entry().Check(noon) == nil || err == nil && got != want {
				t.Fatalf("%v is read as %v, %v", want, got, err)
			}
		}
	})
}

func FuzzMerge(f *testing.F) {
	f.Add("203.0.113.7/32", int64(1767268800000), []byte(`{"subject":"203.0.113.7/32","forgotten":"2026-01-01T12:00:00Z","version":1767268800000}`))
	f.Add("2001:db8::1/64", int64(5), []byte(`{"subject":"2001:db8::1/64","forgotten":"2026-01-01T12:00:00Z","version":5,"pending":true}`))
	f.Fuzz(func(t *testing.T, name string, version int64, value []byte) {
		s := &Store{
			log: slog.New(slog.DiscardHandler), onMerge: func(Tombstone) {},
			now: func() time.Time { return noon }, all: replica.NewMap[Tombstone](2),
		}
		s.Add(subject, noon.Add(-time.Hour), false)
		s.Merge([]replica.Entry{{Name: name, Version: version, Value: value}})
		if s.Merge(s.Entries()) || slices.ContainsFunc(s.all.All(), func(t Tombstone) bool { return t.Pending }) {
			t.Fatalf("not agreed on: %v", s.all.All())
		}
	})
}

// TestTwoProcessesWithOneFile proves that a second process leaves the file alone, and that when it takes the file over, what both
// have deleted is in it.
func TestTwoProcessesWithOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "forgets.json")
	first := Open(path, Options{Detached: true})
	first.Attach()
	var forgotten []netip.Prefix
	second := Open(path, Options{Detached: true, OnMerge: func(t Tombstone) { forgotten = append(forgotten, t.Subject) }})
	first.Add(subject, time.Now(), false)
	second.Add(subject6, time.Now(), false)
	if n := len(Open(path, Options{}).Entries()); n != 1 {
		t.Errorf("%d are on disk, want that of the first process", n)
	}
	first.Detach()
	second.Attach()
	if n := len(Open(path, Options{}).Entries()); n != 2 || len(second.Entries()) != 2 {
		t.Errorf("%d are on disk, %d in memory, want both", n, len(second.Entries()))
	}
	if len(forgotten) != 1 || forgotten[0] != subject {
		t.Errorf("the second process forgets %v, want what the first has deleted", forgotten)
	}
	first.Add(netip.MustParsePrefix("198.51.100.1/32"), time.Now(), false)
	if n := len(Open(path, Options{}).Entries()); n != 2 {
		t.Errorf("%d are on disk after a change of the first process, which has left", n)
	}
}

// TestDeletionOfTheFuture proves that a deletion of an instance whose clock was a year ahead reaches the others once the
// clock is right, after a restart too.
func TestDeletionOfTheFuture(t *testing.T) {
	for name, restart := range map[string]bool{"running": false, "restarted": true} {
		t.Run(name, func(t *testing.T) {
			a, b := start(t, filepath.Join(t.TempDir(), "forgets.json")), start(t, "")
			a.wait(365 * 24 * time.Hour)
			a.Add(subject, a.clock(), false)
			b.Merge(a.Entries())
			if len(b.forgotten) > 0 {
				t.Fatal("a deletion of the future is taken")
			}
			a.wait(-365 * 24 * time.Hour)
			if restart {
				a.restart()
			}
			b.Merge(a.Entries())
			if len(b.forgotten) != 1 || b.forgotten[0].Subject != subject || !b.forgotten[0].At.Equal(noon) {
				t.Errorf("%+v", b.forgotten)
			}
		})
	}
}
