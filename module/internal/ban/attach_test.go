package ban

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestTwoProcessesWithOneFile proves that a second process has what is in the file and leaves it alone, and that when it takes the
// file over, of the changes of both the latest ones are in force and on disk.
func TestTwoProcessesWithOneFile(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		path := filepath.Join(t.TempDir(), "bans.json")
		var now atomic.Int64 // in seconds
		now.Store(time.Now().Unix())
		var opened []*Store
		defer func() {
			for _, s := range opened {
				_ = s.Close()
			}
		}()
		open := func() *Store {
			s, err := Open(path, Options{Detached: true, now: func() time.Time { return time.Unix(now.Load(), 0) }})
			if err != nil {
				rt.Fatal(err)
			}
			opened = append(opened, s)
			return s
		}
		banned := map[string]bool{} // by the latest change
		change := func(s *Store, saved bool) {
			n := rapid.IntRange(0, 7).Draw(rt, "a change")
			now.Add(1)
			prefix := netip.MustParsePrefix(fmt.Sprintf("203.0.113.%d/32", n/2))
			var err error
			if n%2 == 0 {
				_, err = s.Add(Entry{Kind: Ban, Prefix: prefix})
				banned[prefix.String()] = true
			} else {
				var found bool
				if found, err = s.Remove(Ban, prefix); found {
					delete(banned, prefix.String())
				} else if saved {
					return
				}
			}
			if !errors.Is(err, ErrNotSaved) && err != nil || saved && err != nil {
				rt.Fatalf("change %d: %v", n, err)
			}
		}
		check := func(when string, s *Store) {
			var got, want []string
			for _, e := range s.List(Ban) {
				got = append(got, e.Prefix.String())
			}
			for prefix := range banned {
				want = append(want, prefix)
			}
			slices.Sort(want)
			if !slices.Equal(got, want) {
				rt.Fatalf("%s: %v are banned, want %v", when, got, want)
			}
		}

		first := open()
		first.Attach()
		for range rapid.IntRange(0, 3).Draw(rt, "changes of the first") {
			change(first, true)
		}
		second := open()
		check("the second, when it starts", second)
		for range rapid.IntRange(0, 5).Draw(rt, "changes of both") {
			if rapid.Bool().Draw(rt, "of the first") {
				change(first, true)
				continue
			}
			before, _ := os.ReadFile(path)
			change(second, false)
			if after, _ := os.ReadFile(path); !slices.Equal(before, after) {
				rt.Fatal("the second has written the file")
			}
		}
		if err := first.Close(); err != nil {
			rt.Fatal(err)
		}
		second.Attach()
		check("the second, alone", second)
		change(second, true)
		if err := second.Close(); err != nil {
			rt.Fatal(err)
		}
		check("on disk", open())
	})
}

// TestADamagedFileOfAnotherProcess proves that a damaged file is used, and set aside only by the process that has the folder.
func TestADamagedFileOfAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bans.json")
	if err := os.WriteFile(path, []byte(`[{"kind":"ban","prefix":"203.0.113.7/32","created":"2026-01-01T00:00:00Z","version":1},{}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path, Options{Detached: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Len(Ban) != 1 {
		t.Errorf("%d bans", s.Len(Ban))
	}
	if _, err := os.Stat(path + ".damaged"); err == nil {
		t.Error("the file was set aside")
	}
	s.Attach()
	if _, err := os.Stat(path + ".damaged"); err != nil {
		t.Error("the file was not set aside")
	}
	if again := open(t, path); s.Len(Ban) != 1 || again.Len(Ban) != 1 {
		t.Errorf("%d bans, %d on disk", s.Len(Ban), again.Len(Ban))
	}
}
