package ban

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
)

func TestRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new folder", "bans.json")
	first := open(t, path)
	ban := add(t, first, Ban, "203.0.113.0/24", time.Hour)
	add(t, first, Ban, "198.51.100.7/32", 0)
	exemption := add(t, first, Exemption, "2001:db8::/64", 0)
	if _, err := first.Remove(Ban, netip.MustParsePrefix("198.51.100.7/32")); err != nil {
		t.Fatal(err)
	}

	second := open(t, path) // the first one was not closed: it was killed
	if diff := cmp.Diff([]Entry{ban}, second.List(Ban), comparePrefixes); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Entry{exemption}, second.List(Exemption), comparePrefixes); diff != "" {
		t.Error(diff)
	}
	if got := lookup(second, "203.0.113.9") + " " + lookup(second, "2001:db8::1") + " " + lookup(second, "198.51.100.7"); got != "banned exempt " {
		t.Errorf("after a restart: %s", got)
	}
}

func TestTheFileIsForPeopleAndForItsOwnerOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // its clock begins at 2000-01-01
		path := filepath.Join(t.TempDir(), "bans.json")
		s := open(t, path)
		add(t, s, Ban, "203.0.113.0/24", time.Hour)
		if _, err := s.Add(Entry{Kind: Exemption, Prefix: netip.MustParsePrefix("2001:db8::/64"), Reason: `<office> & "home"`}); err != nil {
			t.Fatal(err)
		}
		want := `[
{"prefix":"203.0.113.0/24","kind":"ban","reason":"test","created":"2000-01-01T00:00:00Z","expires":"2000-01-01T01:00:00Z","version":946684800000},
{"prefix":"2001:db8::/64","kind":"exemption","reason":"<office> & \"home\"","created":"2000-01-01T00:00:00Z","version":946684800000}
]
`
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Error(diff)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v", info.Mode())
		}
		if left, _ := filepath.Glob(path + "?*"); left != nil {
			t.Errorf("left behind: %v", left)
		}
	})
}

func TestWhatIsOverStaysOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "bans.json")
		s := open(t, path)
		add(t, s, Ban, "203.0.113.0/24", time.Minute)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if got := open(t, path).List(Ban); len(got) != 0 {
			t.Errorf("back after the restart: %v", got)
		}
	})
}

func TestDamagedFile(t *testing.T) {
	const good = `{"prefix":"203.0.113.5/32","kind":"ban","reason":"x","created":"2026-01-01T00:00:00Z"}`
	tests := map[string]struct {
		content string
		kept    int
		damaged bool
	}{
		"empty list":                             {"[]", 0, false},
		"good":                                   {"[" + good + "]", 1, false},
		"a member more":                          {`[{"prefix":"203.0.113.5/32","kind":"ban","by":"later versions"}]`, 1, false},
		"empty file":                             {"", 0, true},
		"zeros, as after a crash of the machine": {strings.Repeat("\x00", 100), 0, true},
		"null":                                   {"null", 0, true},
		"an object":                              {"{}", 0, true},
		"cut off":                                {"[" + good + ",", 0, true},
		"text behind":                            {"[" + good + "] x", 0, true},
		"an entry of no kind":                    {`[{"prefix":"203.0.113.6/32"},` + good + "]", 1, true},
		"an entry of new kind":                   {`[{"prefix":"203.0.113.6/32","kind":"maybe"},` + good + "]", 1, true},
		"a prefix with zone":                     {`[{"prefix":"fe80::1%eth0/64","kind":"ban"},` + good + "]", 1, true},
		"a ban of everybody":                     {`[{"prefix":"0.0.0.0/0","kind":"ban"},` + good + "]", 1, true},
		"a time out of range":                    {`[{"prefix":"203.0.113.6/32","kind":"ban","expires":"9999-12-31T23:59:59-10:00"},` + good + "]", 1, true},
		"an entry of wrong type":                 {`["203.0.113.6",` + good + "]", 1, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "bans.json")
			if err := os.WriteFile(path, []byte(tc.content), 0o600); err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			s, err := Open(path, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if s.Len(Ban) != tc.kept {
				t.Errorf("%d entries kept, want %d", s.Len(Ban), tc.kept)
			}
			aside, err := os.ReadFile(path + ".damaged")
			if tc.damaged != (err == nil) || tc.damaged && string(aside) != tc.content {
				t.Errorf("set aside: %q, %v", aside, err)
			}
			if tc.damaged != strings.Contains(log.String(), "damaged") {
				t.Errorf("said: %s", &log)
			}
			add(t, s, Ban, "192.0.2.1/32", 0)
			if got := open(t, path).Len(Ban); got != tc.kept+1 {
				t.Errorf("%d entries after a restart, want %d", got, tc.kept+1)
			}
		})
	}
}

func TestTheLastOfTwoEntriesHolds(t *testing.T) {
	got, unusable, err := decode([]byte(`[
		{"prefix":"203.0.113.5/32","kind":"ban","reason":"old"},
		{"prefix":"::ffff:203.0.113.5/128","kind":"ban","reason":"new"}]`), time.Now())
	if err != nil || unusable != 0 || got.live.len() != 1 || (*got.live.of(Ban))[0].Reason != "new" {
		t.Errorf("%v, %d, %v", got, unusable, err)
	}
}

func TestAFileIsBounded(t *testing.T) {
	var b bytes.Buffer
	b.WriteString("[")
	for i := range maxEntries + 2 {
		fmt.Fprintf(&b, `{"prefix":"203.%d.%d.%d/32","kind":"ban"},`, i>>16, i>>8&255, i&255)
	}
	data := append(bytes.TrimSuffix(b.Bytes(), []byte(",")), ']')
	got, unusable, err := decode(data, time.Now())
	if err != nil || got.live.len() != maxEntries || unusable != 2 {
		t.Errorf("%d entries, %d unusable, %v", got.live.len(), unusable, err)
	}
	if _, _, err := decode(make([]byte, maxFile+1), time.Now()); !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), "larger") {
		t.Errorf("too large a file: %v", err)
	}
}

// TestASparseFileIsSetAside: 6 GB of nothing take no time.
func TestASparseFileIsSetAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bans.json")
	if err := os.WriteFile(path, []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 6<<30); err != nil {
		t.Fatal(err)
	}
	s, log := openAt(t, path, nil)
	if !strings.Contains(log.String(), "set aside") || !strings.Contains(log.String(), "larger than") || s.Len(Ban) != 0 {
		t.Errorf("logged %s", log.String())
	}
	if info, err := os.Stat(path); err != nil || info.Size() > 100 {
		t.Errorf("the file is still there: %v, %v", info, err)
	}
}

func TestAnUnreadableFileIsAnError(t *testing.T) {
	_, err := Open(t.TempDir(), Options{}) // a folder in the file's place
	if err == nil || !strings.Contains(err.Error(), "make the file readable") {
		t.Errorf("got %v", err)
	}
}

func TestADiskThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "data")
		path := filepath.Join(dir, "bans.json")
		s, log := openAt(t, path, nil)
		// a file in the place of the folder fails for every user, root included
		if err := os.WriteFile(dir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		e, err := s.Add(Entry{Kind: Ban, Prefix: netip.MustParsePrefix("203.0.113.5/24")})
		if !errors.Is(err, ErrNotSaved) || !strings.Contains(err.Error(), "data") {
			t.Errorf("Add: %v", err)
		}
		if e.Prefix != netip.MustParsePrefix("203.0.113.0/24") || lookup(s, "203.0.113.1") != "banned" {
			t.Error("the ban does not hold in memory")
		}
		ok, err := s.Remove(Ban, e.Prefix)
		if !ok || !errors.Is(err, ErrNotSaved) || lookup(s, "203.0.113.1") != "" {
			t.Errorf("Remove: %v, %v", ok, err)
		}
		if _, err := s.Add(e); !errors.Is(err, ErrNotSaved) {
			t.Errorf("Add: %v", err)
		}

		if said := log.Take(); strings.Count(said, "level=ERROR") != 1 {
			t.Errorf("the log does not say once that bans cannot be written:\n%s", said)
		}
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(maxPause + time.Second)
		synctest.Wait()
		if got := open(t, path).Len(Ban); got != 1 {
			t.Errorf("a minute after the disk is well it holds %d bans, want 1", got)
		}
	})
}

func TestCloseWritesWhatCouldNotBeWritten(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "bans.json")
	s := open(t, path)
	if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o700); err != nil { // renaming onto it fails
		t.Fatal(err)
	}
	if _, err := s.Add(Entry{Kind: Ban, Prefix: netip.MustParsePrefix("203.0.113.0/24")}); !errors.Is(err, ErrNotSaved) {
		t.Errorf("Add: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); left != nil {
		t.Errorf("left behind: %v", left)
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if got := open(t, path).Len(Ban); got != 1 {
		t.Errorf("%d bans after a restart, want 1", got)
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`[]`, `null`, `[null]`, `[{"prefix":"203.0.113.5/32","kind":"ban","reason":"x","created":"2026-01-01T00:00:00Z","expires":"2999-01-01T00:00:00.5+01:00"}]`,
		`[{"prefix":"::ffff:203.0.113.5/128","kind":"exemption"},{"prefix":"2001:db8::/64","kind":"ban"},{"prefix":"2001:db8::/64","kind":"ban"}]`,
		`[{"prefix":"0.0.0.0/0","kind":"ban"},{"prefix":"fc00::/7","kind":"exemption","created":"0000-01-01T00:00:00+23:00"}]`,
		`[{"prefix":"203.0.113.5/32","kind":"ban","created":"2026-01-01T00:00:00Z","version":1767225600000,"removed":true}]`,
		`[{"prefix":"203.0.113.5/32","kind":"ban","expires":"2025-12-31T00:00:00Z","version":1767225600000,"keep":"2026-02-01T00:00:00Z"}]`,
		`[{"prefix":"203.0.113.5/32","kind":"ban","version":253402300799999,"keep":"9999-12-31T23:59:59-01:00"},{"prefix":"fc00::/7","kind":"exemption","version":-1}]`,
	} {
		f.Add([]byte(seed))
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, data []byte) {
		all, _, err := decode(data, now)
		if err != nil {
			if !errors.Is(err, errDamaged) || all.live.len()+all.tombstones.len() != 0 {
				t.Fatalf("%v with %v", err, all)
			}
			return
		}
		checkState(t, all, now)
		written, err := encode(all)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		again, unusable, err := decode(written, now)
		if err != nil || unusable != 0 || !sameState(again, all) {
			t.Fatalf("written as %s and read as %v, %d, %v", written, again, unusable, err)
		}
	})
}

// checkState looks whether entries have the form and the place that they must have.
func checkState(t *testing.T, all state, now time.Time) {
	for past, lists := range []entries{all.live, all.tombstones} {
		for i, list := range lists {
			for j, e := range list {
				if e.Kind != Kind(i+1) || e.Prefix != e.Prefix.Masked() || e.Prefix.Addr().Is4In6() || e.Version < 0 {
					t.Fatalf("kept: %+v", e)
				}
				if e.over(now) != (past == 1) || e.obsolete(now) {
					t.Fatalf("in the wrong place: %+v", e)
				}
				if j > 0 && list[j-1].Prefix.Compare(e.Prefix) >= 0 {
					t.Fatalf("not in order: %v, %v", list[j-1], e)
				}
				if len(e.value()) > maxLine {
					t.Fatalf("longer than %d bytes: %s", maxLine, e.value())
				}
			}
		}
	}
}

func sameState(a, b state) bool {
	return slices.Equal(a.live[0], b.live[0]) && slices.Equal(a.live[1], b.live[1]) &&
		slices.Equal(a.tombstones[0], b.tombstones[0]) && slices.Equal(a.tombstones[1], b.tombstones[1])
}

// TestFormats proves that a file and entries in Redis written before there was package replica are read without loss, and
// are written as they were.
func TestFormats(t *testing.T) {
	const file = `[
{"prefix":"203.0.113.0/24","kind":"ban","reason":"<a> & \"b\"","created":"2026-01-01T10:00:00Z","expires":"2026-01-01T14:00:00Z","version":1767261600000}
{"prefix":"2001:db8::/64","kind":"exemption","created":"2026-01-01T11:00:00Z","version":1767265200001}
{"prefix":"192.0.2.1/32","kind":"ban","created":"2026-01-01T10:00:00Z","expires":"2026-01-01T11:00:00Z","version":1767261600002,"keep":"2026-01-31T10:00:01Z"}
{"prefix":"198.51.100.7/32","kind":"ban","reason":"test","created":"2026-01-01T10:00:00Z","expires":"2026-01-31T12:00:00Z","version":1767268800000,"removed":true}
]
`
	lines := strings.Split(strings.TrimSpace(file), "\n")
	lines = lines[1 : len(lines)-1]
	content := "[\n" + strings.Join(lines, ",\n") + "\n]\n"
	c := newClock()
	path := filepath.Join(t.TempDir(), "bans.json")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	s, log := openAt(t, path, c.now)
	s.mu.Lock()
	err := s.save()
	s.mu.Unlock()
	if err != nil || log.Take() != "" {
		t.Errorf("saving: %v", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != content {
		t.Errorf("written as\n%s, %v, want\n%s", got, err, content)
	}

	// Redis has the line but for `keep`, and escaped for HTML.
	at := func(hour, minute, second int) time.Time {
		return time.Date(2026, 1, 31, hour, minute, second, 0, time.UTC)
	}
	inRedis := []replica.Entry{
		{Name: "ban 203.0.113.0/24", Version: 1767261600000, Expires: time.Date(2026, 1, 1, 14, 0, 0, 0, time.UTC), Value: []byte(lines[0])},
		{Name: "exemption 2001:db8::/64", Version: 1767265200001, Value: []byte(lines[1])},
		{Name: "ban 192.0.2.1/32", Version: 1767261600002, Expires: at(10, 0, 1), Value: []byte(strings.Replace(lines[2], `,"keep":"2026-01-31T10:00:01Z"`, "", 1))},
		{Name: "ban 198.51.100.7/32", Version: 1767268800000, Expires: at(12, 0, 0), Value: []byte(lines[3])},
	}
	byName := cmpopts.SortSlices(func(a, b replica.Entry) bool { return a.Name < b.Name })
	if diff := cmp.Diff(inRedis, s.Entries(), byName); diff != "" {
		t.Error(diff)
	}
	other, log := openAt(t, "", c.now)
	escaped := slices.Clone(inRedis)
	escaped[0].Value = []byte(strings.NewReplacer("<", `\u003c`, ">", `\u003e`, "&", `\u0026`).Replace(lines[0]))
	if other.Merge(escaped) {
		t.Error("who knows nothing knows better")
	}
	if diff := cmp.Diff(s.List(Ban), other.List(Ban), comparePrefixes); diff != "" {
		t.Error(diff)
	}
	want := slices.DeleteFunc(slices.Clone(inRedis), func(e replica.Entry) bool { return e.Name == "ban 192.0.2.1/32" }) // it is over
	if diff := cmp.Diff(want, other.Entries(), byName); diff != "" {
		t.Error(diff)
	}
	if s.Merge(escaped) || other.Merge(inRedis) {
		t.Error("they do not agree")
	}
	if text := log.Take(); strings.Contains(text, "WARN") {
		t.Errorf("logged %s", text)
	}
}
