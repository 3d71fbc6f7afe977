package feed

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/listformat"
)

// TestCredible proves which dates are taken for that of a list, and which are not.
func TestCredible(t *testing.T) {
	now := time.Date(2026, time.November, 30, 10, 20, 30, 7, time.UTC)
	whole := now.Truncate(time.Second)
	for name, test := range map[string]struct{ found, modified, want time.Time }{
		"none":                      {},
		"in the list":               {found: whole.Add(-time.Hour), modified: whole, want: whole.Add(-time.Hour)},
		"Last-Modified":             {modified: whole.Add(-time.Hour), want: whole.Add(-time.Hour)},
		"a local time":              {found: whole.Add(13 * time.Hour), want: whole},
		"of the future":             {found: whole.Add(25 * time.Hour)},
		"of the future, and a good": {found: whole.AddDate(70, 0, 0), modified: whole.AddDate(-1, 0, 0), want: whole.AddDate(-1, 0, 0)},
		"both of the future":        {found: whole.AddDate(1, 0, 0), modified: whole.AddDate(1, 0, 0)},
		"1970":                      {modified: time.Unix(1, 0)},
		"1980":                      {found: time.Date(1980, time.January, 1, 0, 0, 0, 0, time.UTC)},
		"the year 0":                {found: time.Date(0, time.January, 1, 0, 0, 0, 0, time.UTC)},
		"in another zone":           {found: whole.In(time.FixedZone("", 3600)), want: whole},
	} {
		var v validators
		if !test.modified.IsZero() {
			v.LastModified = test.modified.UTC().Format(http.TimeFormat)
		}
		if v.date(test.found, now); v.Published != test.want {
			t.Errorf("%s: %s, want %s", name, v.Published, test.want)
		}
	}
}

// dated serves a list, last modified at the given time unless that is zero.
func dated(body string, at time.Time) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !at.IsZero() {
			w.Header().Set("Last-Modified", at.UTC().Format(http.TimeFormat))
		}
		if since, err := http.ParseTime(r.Header.Get("If-Modified-Since")); err == nil && !at.After(since) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write([]byte(body))
	}
}

// TestPublishersDate proves that the publisher's date is known after a fetch, an answer that nothing has changed, and a
// restart, and that it moves on although the list stays the same.
func TestPublishersDate(t *testing.T) {
	old := time.Now().UTC().Add(-400 * 24 * time.Hour).Truncate(time.Second)
	newer := old.Add(time.Hour)
	_, url := serve(t, dated(addresses(20), old), dated(addresses(20), old), dated(addresses(20), newer), dated(addresses(20), newer))
	_, frozen := serve(t, dated("192.0.2.1\n", old))
	_, undated := serve(t, dated("192.0.2.2\n", time.Time{}))
	options := Options{Dir: t.TempDir()}
	specs := []Spec{
		{Name: "one", URLs: []string{url}},
		{Name: "parts", URLs: []string{frozen, url}},
		{Name: "undated", URLs: []string{undated}},
	}
	s := mustOpen(t, options, specs...)
	check := func(when string, want ...time.Time) {
		t.Helper()
		for i, status := range s.Status() {
			if !status.Published.Equal(want[i]) {
				t.Errorf("%s, %s: published %s, want %s", when, status.Name, status.Published, want[i])
			}
		}
	}
	for range 2 {
		if err := fetchNow(s, "one"); err != nil {
			t.Fatal(err)
		}
	}
	check("unchanged", old, time.Time{}, time.Time{})
	for _, name := range []string{"one", "parts", "undated"} {
		if err := fetchNow(s, name); err != nil {
			t.Fatal(err)
		}
	}
	check("fetched", newer, newer, time.Time{})
	s = mustOpen(t, options, specs...)
	check("restarted", newer, newer, time.Time{})
}

// TestDateOfAnOlderCopy proves that a copy of a version which stored no dates has one: that of Last-Modified, unless it is
// of the future.
func TestDateOfAnOlderCopy(t *testing.T) {
	old := time.Now().UTC().Add(-100 * 24 * time.Hour).Truncate(time.Second)
	_, url := serve(t, dated(addresses(20), old))
	spec := Spec{Name: "one", URLs: []string{url}}
	dir := t.TempDir()
	if err := fetchNow(mustOpen(t, Options{Dir: dir}, spec), "one"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "one.list")
	stored := read(t, path)
	member := `,"published":"` + old.Format(time.RFC3339) + `"`
	if !strings.Contains(stored, member) {
		t.Fatalf("the date is not stored: %.500s", stored)
	}
	for name, test := range map[string]struct {
		member string
		want   time.Time
	}{
		"none":          {"", old},
		"of the future": {`,"published":"2999-01-01T00:00:00Z"`, old},
	} {
		write(t, path, strings.Replace(stored, member, test.member, 1))
		if got := mustOpen(t, Options{Dir: dir}, spec).Status()[0].Published; !got.Equal(test.want) {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

// TestDateOfAFile proves that a file has the date of its modification.
func TestDateOfAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "list.txt")
	write(t, file, addresses(20))
	at := time.Now().UTC().Add(-90 * 24 * time.Hour).Truncate(time.Second)
	if err := os.Chtimes(file, at, at); err != nil {
		t.Fatal(err)
	}
	status := mustOpen(t, Options{}, Spec{Name: "one", File: file}, Spec{Name: "two", File: file, MaxAge: time.Hour}).Status()
	for i, age := range []time.Duration{0, time.Hour} {
		if !status[i].Published.Equal(at) || status[i].MaxAge != age {
			t.Errorf("%s: published %s, maximum age %s", status[i].Name, status[i].Published, status[i].MaxAge)
		}
	}
}

// TestPublishersDateIsShared proves that an instance which takes the copy of another one knows its date.
func TestPublishersDateIsShared(t *testing.T) {
	old := time.Now().UTC().Add(-90 * 24 * time.Hour).Truncate(time.Second)
	server, url := serve(t, dated(addresses(20), old))
	shared, spec := new(store), Spec{Name: "one", URLs: []string{url}}
	for range 2 {
		s := mustOpen(t, Options{Shared: shared}, spec)
		if err := fetchNow(s, "one"); err != nil {
			t.Fatal(err)
		}
		if got := s.Status()[0].Published; !got.Equal(old) {
			t.Errorf("published %s, want %s", got, old)
		}
	}
	if n := len(server.seen()); n != 1 {
		t.Errorf("%d requests, want one", n)
	}
}

// TestDateInTheList proves that a date in the list counts for more than Last-Modified, which may be that of a server which
// hands on what its publisher gave up.
func TestDateInTheList(t *testing.T) {
	written := time.Date(2024, time.January, 3, 10, 0, 0, 0, time.UTC)
	list := `{"creationTime": "` + written.Format(time.RFC3339) + `", "prefixes": [{"ipv4Prefix": "192.0.2.0/24"}]}`
	file := filepath.Join(t.TempDir(), "list.json")
	write(t, file, list)
	_, url := serve(t, dated(list, time.Now()))
	format := listformat.Format{Encoding: listformat.JSON, Members: []string{"ipv4Prefix"}}
	s := mustOpen(t, Options{},
		Spec{Name: "one", URLs: []string{url}, Format: format}, Spec{Name: "two", File: file, Format: format})
	if err := fetchNow(s, "one"); err != nil {
		t.Fatal(err)
	}
	for i, old := range []bool{true, false} { // there is no limit for a file
		if status := s.Status()[i]; !status.Published.Equal(written) || status.Old(time.Now()) != old {
			t.Errorf("%s: published %s, old: %t", status.Name, status.Published, !old)
		}
	}
}
