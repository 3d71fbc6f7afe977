package feed

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestShrunkListIsAcceptedOnRequest proves that the cure in the error works, and the one of before: without its copy, too,
// a list that lost most of its lines is believed.
func TestShrunkListIsAcceptedOnRequest(t *testing.T) {
	for name, accept := range map[string]func(t *testing.T, s *Set, copyPath string) error{
		"accepted": func(t *testing.T, s *Set, _ string) error { // at once, although a publisher is asked once a minute
			t.Helper()
			s.Start()
			err := s.Accept(context.Background(), "one")
			if again := s.Accept(context.Background(), "one"); !errors.Is(again, ErrTooSoon) {
				t.Errorf("accepted again: %v", again)
			}
			return err
		},
		"copy removed": func(t *testing.T, s *Set, copyPath string) error {
			t.Helper()
			if err := os.Remove(copyPath); err != nil {
				t.Fatal(err)
			}
			return fetchNow(s, "one")
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, url := serve(t, text(addresses(20)), text(addresses(9)))
			dir := t.TempDir()
			s := mustOpen(t, Options{Dir: dir}, Spec{Name: "one", URLs: []string{url}})
			if err := fetchNow(s, "one"); err != nil {
				t.Fatal(err)
			}
			err := fetchNow(s, "one")
			if err == nil || !strings.Contains(err.Error(), "`caddy ip-reputation refresh one --accept`") {
				t.Fatalf("got %v", err)
			}
			copyPath := filepath.Join(dir, "one.list")
			if err := accept(t, s, copyPath); err != nil || isListed(s.Current(), "198.51.100.19", "one") {
				t.Errorf("got %v", err)
			}
			if !strings.Contains(read(t, copyPath), "# lines: 9\n") {
				t.Error("the smaller list is not stored")
			}
			if _, err := os.Stat(filepath.Join(dir, "one.shrunk")); err == nil {
				t.Error("what was seen of the smaller list is still there")
			}
		})
	}
}

// shrinking is a publisher whose list has as many lines as the test says.
type shrinking struct {
	lines int
	publisher
}

func newShrinking() *shrinking {
	s := &shrinking{lines: 100}
	s.answer = func(int) (int, string, string) { return http.StatusOK, addresses(s.lines), "" }
	return s
}

// fetch fetches the list as one of so many lines, and reports whether it is in force.
func (p *shrinking) fetch(s *Set, lines int) bool {
	p.lines = lines
	return fetchNow(s, "one") == nil && s.Status()[0].Lines == lines
}

// TestShrunkListIsConfirmed proves that a list which really shrank is believed once enough fetches over a day have brought
// it, by the same and by another process, and that both the log and Status say so.
func TestShrunkListIsConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newShrinking()
		var log bytes.Buffer
		options := Options{Dir: t.TempDir(), Transport: p, Logger: slog.New(slog.NewTextHandler(&log, nil))}
		spec := Spec{Name: "one", URLs: []string{"http://192.0.2.1/"}}
		s := mustOpen(t, options, spec)
		if !p.fetch(s, 100) {
			t.Fatal("the first list is not in force")
		}
		for range 5 {
			if time.Sleep(time.Minute); p.fetch(s, 20) {
				t.Fatal("fetches within minutes are believed")
			}
		}
		if time.Sleep(24*time.Hour - 5*time.Minute); p.fetch(s, 22) {
			t.Error("believed within a day")
		}
		seen := s.Status()[0].Shrunk
		if seen == nil || seen.Before != 100 || seen.Lines != 20 || seen.Seen != 6 {
			t.Errorf("status: %+v", seen)
		}
		s = mustOpen(t, options, spec) // a restart
		if again := s.Status()[0].Shrunk; again == nil || *again != *seen {
			t.Errorf("after a restart: %+v, want %+v", again, seen)
		}
		if time.Sleep(10 * time.Minute); !p.fetch(s, 21) {
			t.Error("not believed after a day")
		}
		if !strings.Contains(log.String(), `msg="a list that shrank is believed" feed=one before=100 lines=21 why="7 fetches agree"`) {
			t.Errorf("log: %s", &log)
		}
		status := s.Status()[0]
		if status.Shrunk != nil || status.Accepted == nil || status.Accepted.Before != 100 || status.Accepted.Lines != 21 {
			t.Errorf("status: %+v, accepted %+v", status.Shrunk, status.Accepted)
		}
		if time.Sleep(acceptedShown); s.Status()[0].Accepted != nil {
			t.Error("status says so for ever")
		}
	})
}

// TestShrunkListIsDoubted proves what does not make a list believed, however long it goes on.
func TestShrunkListIsDoubted(t *testing.T) {
	for name, test := range map[string]struct {
		confirm *int
		lines   func(hour int) int
	}{
		"never":             {new(0), func(int) int { return 20 }},
		"more fetches":      {new(60), func(int) int { return 20 }},
		"whole in between":  {nil, func(hour int) int { return 20 + 80*(hour%20/19) }},
		"ever another size": {nil, func(hour int) int { return []int{20, 45, 5}[hour%3] }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newShrinking()
				s := mustOpen(t, Options{Transport: p},
					Spec{Name: "one", URLs: []string{"http://192.0.2.1/"}, Confirm: test.confirm})
				p.fetch(s, 100)
				for hour := range 48 {
					time.Sleep(time.Hour)
					if lines := test.lines(hour); p.fetch(s, lines) && lines < 100 {
						t.Fatalf("%d lines are believed after %d hours", lines, hour)
					}
				}
			})
		})
	}
}

// TestForeignShrunk proves that what another list or another clock has left on disk confirms nothing.
func TestForeignShrunk(t *testing.T) {
	for name, stored := range map[string]string{
		"of another list":  `{"spec":"f00","before":100,"lines":20,"seen":9,"since":"2001-01-01T00:00:00Z"}`,
		"of an older list": `{"spec":"<spec>","before":200,"lines":20,"seen":9,"since":"2001-01-01T00:00:00Z"}`,
		"of another clock": `{"spec":"<spec>","before":100,"lines":20,"seen":9,"since":"2999-01-01T00:00:00Z"}`,
		"never seen":       `{"spec":"<spec>","before":100,"lines":20,"seen":-1,"since":"2001-01-01T00:00:00Z"}`,
		"damaged":          `{"spec":"<spec>","befo`,
		"something else":   `[]`,
		"large":            strings.Repeat(" ", maxShrunk+1),
	} {
		t.Run(name, func(t *testing.T) {
			_, url := serve(t, text(addresses(100)), text(addresses(20)))
			spec := Spec{Name: "one", URLs: []string{url}}
			dir := t.TempDir()
			if err := fetchNow(mustOpen(t, Options{Dir: dir}, spec), "one"); err != nil {
				t.Fatal(err)
			}
			complete, err := spec.complete()
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, "one.shrunk"), strings.ReplaceAll(stored, "<spec>", complete.fingerprint()))
			s := mustOpen(t, Options{Dir: dir}, spec)
			for range 3 {
				if fetchNow(s, "one") == nil {
					t.Fatal("the shrunken list is believed")
				}
			}
		})
	}
}

// TestShrunkListIsConfirmedByEach proves that instances which share their copies come to believe the list too: each by
// what it fetched itself, since what another one believes is guarded as well.
func TestShrunkListIsConfirmedByEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, shared := newShrinking(), new(store)
		spec := Spec{Name: "one", URLs: []string{"http://192.0.2.1/"}}
		sets := []*Set{
			mustOpen(t, Options{Transport: p, Shared: shared}, spec), mustOpen(t, Options{Transport: p, Shared: shared}, spec),
		}
		var began time.Time // when the list shrank
		believed := map[int]bool{}
		for round := range 30 {
			if round == 1 {
				p.lines, began = 20, time.Now()
			}
			for i, s := range sets {
				believed[i] = fetchNow(s, "one") == nil && s.Status()[0].Lines == 20
				if believed[i] && time.Since(began) < confirmTime {
					t.Fatalf("instance %d believes the list after %s", i, time.Since(began))
				}
			}
			time.Sleep(time.Hour + time.Minute) // then the copy that is shared is due
		}
		if !believed[0] || !believed[1] {
			t.Errorf("not all instances believe the list: %v", believed)
		}
	})
}

func TestSmallAndLooseListsMayShrink(t *testing.T) {
	for _, test := range []struct {
		name   string
		shrink *float64
		before int
		after  int
		want   Result
	}{
		{name: "small", before: minGuarded - 1, after: 1, want: ResultOK},
		{name: "half is allowed", before: 20, after: 10, want: ResultOK},
		{name: "more is not", before: 20, after: 9, want: ResultShrunk},
		{name: "a set share", shrink: new(0.1), before: 100, after: 89, want: ResultShrunk},
		{name: "all", shrink: new(1.0), before: 100, after: 1, want: ResultOK},
		{name: "none", shrink: new(0.0), before: 100, after: 99, want: ResultShrunk},
		{name: "none, and it does not", shrink: new(0.0), before: 100, after: 101, want: ResultOK},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, url := serve(t, text(addresses(test.before)), text(addresses(test.after)))
			var seen results
			s := mustOpen(t, Options{Observe: seen.observe}, Spec{Name: "one", URLs: []string{url}, MaxShrink: test.shrink})
			if err := fetchNow(s, "one"); err != nil {
				t.Fatal(err)
			}
			_ = fetchNow(s, "one")
			if got := seen.last(t, "one"); got != test.want {
				t.Errorf("from %d to %d lines: got %s, want %s", test.before, test.after, got, test.want)
			}
		})
	}
}
