package feed

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed/fetch"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/iplist"
)

func collect(r iplist.Ranges) []string {
	var all []string
	for p := range r.Prefixes() {
		all = append(all, p.String())
	}
	return all
}

// TestCopyRoundTrip: what is written is read again, whatever the list and its validators.
func TestCopyRoundTrip(t *testing.T) {
	dir := t.TempDir()
	prefix := rapid.Custom(func(t *rapid.T) netip.Prefix {
		if rapid.Bool().Draw(t, "v4") {
			b := rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "bytes")
			return netip.PrefixFrom(netip.AddrFrom4([4]byte(b)), rapid.IntRange(0, 32).Draw(t, "bits"))
		}
		b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes")
		return netip.PrefixFrom(netip.AddrFrom16([16]byte(b)), rapid.IntRange(0, 128).Draw(t, "bits"))
	})
	rapid.Check(t, func(t *rapid.T) {
		ranges := iplist.NewRanges(rapid.SliceOf(prefix).Draw(t, "prefixes"))
		want := copyHeader{name: "one", source: "192.0.2.1:8080", spec: "f00", fetched: time.Unix(rapid.Int64Range(0, 1<<32).Draw(t, "fetched"), 0).UTC(),
			lines: rapid.IntRange(0, 1<<40).Draw(t, "lines")}
		for range rapid.IntRange(0, 3).Draw(t, "parts") {
			want.parts = append(want.parts, validators{Validators: fetch.Validators{
				ETag: rapid.StringMatching(`(W/)?"[ -~]*"`).Draw(t, "etag"), LastModified: rapid.StringMatching(`[ -~]*`).Draw(t, "modified"),
			}})
		}
		want.sum, want.entries = digest(&body{ranges: ranges})
		now := time.Unix(1_790_000_000, 0)
		path := filepath.Join(dir, "one.list")
		if err := saveCopy(path, &want, &body{ranges: ranges}, now); err != nil {
			t.Fatal(err)
		}
		got, gotBody, confirmed, err := loadCopy(path, "f00")
		if err != nil || !confirmed.Equal(now) {
			t.Fatal(err, confirmed)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(copyHeader{})); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(collect(ranges), collect(gotBody.ranges)); diff != "" {
			t.Error(diff)
		}
	})
}

// TestCopyIsReadable: an operator can search it, and nobody else can.
func TestCopyIsReadable(t *testing.T) {
	server, url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		_, _ = w.Write([]byte("2001:db8:bad::/48\n192.0.2.7 # x\n10.0.0.0/8\n192.0.2.9\n"))
	})
	dir := filepath.Join(t.TempDir(), "feeds")
	s := mustOpen(t, Options{Dir: dir}, Spec{Name: "one", URLs: []string{strings.Replace(url, "//", "//user:pass@", 1) + "/list?key=s3cr3t"}})
	if err := fetchNow(s, "one"); err != nil {
		t.Fatal(err)
	}
	body := read(t, dir, "one.list")
	_, after, _ := strings.Cut(body, "# sha256: ")
	if _, lines, _ := strings.Cut(after, "\n"); lines != "192.0.2.7/32\n192.0.2.9/32\n2001:db8:bad::/48\n" {
		t.Errorf("the copy reads\n%s", body)
	}
	for _, want := range []string{"# name: one\n", "# source: " + strings.TrimPrefix(url, "http://") + "\n", "# lines: 4\n", "# entries: 3\n", `# part: {"etag":"\"v1\""}` + "\n"} {
		if !strings.Contains(body, want) {
			t.Errorf("the copy lacks %q:\n%s", want, body)
		}
	}
	if strings.Contains(body, "pass") || strings.Contains(body, "s3cr3t") {
		t.Error("the copy holds a secret")
	}
	if info, err := os.Stat(dir + "/one.list"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("%d files beside the copy", len(files)-1)
	}
	if len(server.seen()) != 1 {
		t.Error("more than one request")
	}
}

// TestRestart: the list is back before anything was started, and nobody was asked.
func TestRestart(t *testing.T) {
	server, url := serve(t, text(addresses(20)))
	dir := t.TempDir()
	spec := Spec{Name: "one", URLs: []string{url}}
	s := mustOpen(t, Options{Dir: dir}, spec)
	if isListed(s.Current(), "198.51.100.3", "one") || s.Current().Lists[0].Loaded {
		t.Error("a list that was never fetched is in force")
	}
	if err := fetchNow(s, "one"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := statusOf(t, s, "one")

	s = mustOpen(t, Options{Dir: dir}, spec)
	if !isListed(s.Current(), "198.51.100.3", "one") || !s.Current().Lists[0].Loaded {
		t.Error("the list is not back")
	}
	after := statusOf(t, s, "one")
	if !after.LastSuccess.Truncate(time.Second).Equal(before.LastSuccess.Truncate(time.Second)) || after.Lines != 20 || !after.Stored {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if wait := time.Until(after.NextRefresh); wait < DefaultRefresh-time.Minute {
		t.Errorf("a fresh copy is due in %s", wait)
	}
	if len(server.seen()) != 1 {
		t.Error("the publisher was asked")
	}

	// Another URL under the same name is another list.
	spec.URLs = []string{url + "/other"}
	if s = mustOpen(t, Options{Dir: dir}, spec); isListed(s.Current(), "198.51.100.3", "one") {
		t.Error("the copy of one list was taken for another")
	}
}

func TestDamagedCopy(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(body string) string
	}{
		{"an entry", func(b string) string { return strings.Replace(b, "198.51.100.16/30", "198.51.100.16/28", 1) }},
		{"breaks off", func(b string) string { return b[:len(b)-1] }},
		{"not a CIDR", func(b string) string { return b + "x\n" }},
		{"one more", func(b string) string { return b + "192.0.2.1\n" }},
		{"header breaks off", func(b string) string { return b[:40] }},
		{"header", func(b string) string { return strings.Replace(b, "# lines: 20", "# lines: x", 1) }},
		{"title", func(b string) string { return strings.Replace(b, "version 1", "version 9", 1) }},
		{"count", func(b string) string { return strings.Replace(b, "# entries: ", "# entries: 9999999999", 1) }},
		{"empty", func(string) string { return "" }},
		{"zeros", func(b string) string { return strings.Repeat("\x00", len(b)) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			server, url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("If-None-Match") != "" {
					w.WriteHeader(http.StatusNotModified)
					return
				}
				w.Header().Set("ETag", `"v1"`)
				text(addresses(20))(w, r)
			})
			dir := t.TempDir()
			path := dir + "/one.list"
			var log bytes.Buffer
			o := Options{Dir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))}
			specs := []Spec{{Name: "one", URLs: []string{url}}, {Name: "other", Values: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}}
			s := mustOpen(t, o, specs...)
			if err := fetchNow(s, "one"); err != nil {
				t.Fatal(err)
			}
			good := read(t, path)
			write(t, path, test.damage(good))

			s = mustOpen(t, o, specs...)
			if s.Current().Lists[0].Loaded || !isListed(s.Current(), "192.0.2.1", "other") {
				t.Error("the damaged copy is in force")
			}
			if !strings.Contains(log.String(), "cannot be read") {
				t.Error("nothing was said")
			}
			if wait := time.Until(statusOf(t, s, "one").NextRefresh); wait > startSpread {
				t.Errorf("the list is due in %s", wait)
			}
			if err := fetchNow(s, "one"); err != nil || !isListed(s.Current(), "198.51.100.16", "one") || len(server.seen()) != 2 || read(t, path) == test.damage(good) {
				t.Errorf("the list was not fetched whole again: %v", err)
			}
		})
	}
}

// TestCopyIsLostWhileRunning: whatever becomes of the copy, the list stays in force, and the next refresh brings the copy
// back without asking for the whole list.
func TestCopyIsLostWhileRunning(t *testing.T) {
	for _, test := range []struct {
		name string
		lose func(t *testing.T, path string) error
	}{
		{"removed", func(_ *testing.T, path string) error { return os.Remove(path) }},
		{"removed with its folder", func(_ *testing.T, path string) error { return os.RemoveAll(filepath.Dir(path)) }},
		{"damaged", func(_ *testing.T, path string) error { return os.Truncate(path, 400) }},
		{"replaced by another list's", func(t *testing.T, path string) error {
			_, url := serve(t, text("203.0.113.1\n"))
			return fetchNow(mustOpen(t, Options{Dir: filepath.Dir(path)}, Spec{Name: "one", URLs: []string{url}}), "one")
		}},
		{"no file can be opened", func(t *testing.T, path string) error {
			if err := os.Rename(path, path+".away"); err != nil {
				return err
			}
			t.Cleanup(func() { _ = os.RemoveAll(path) })
			return os.Symlink(path, path) // too many levels of symbolic links
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var seen results
			server, url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("If-None-Match") != "" {
					w.WriteHeader(http.StatusNotModified)
					return
				}
				w.Header().Set("ETag", `"v1"`)
				text(addresses(20))(w, r)
			})
			_, changing := serve(t, text("192.0.2.1\n"), text("192.0.2.2\n"))
			path := filepath.Join(t.TempDir(), "feeds", "one.list")
			s := mustOpen(t, Options{Dir: filepath.Dir(path), Observe: seen.observe}, Spec{Name: "one", URLs: []string{url}}, Spec{Name: "other", URLs: []string{changing}})
			for _, name := range []string{"one", "other"} {
				if err := fetchNow(s, name); err != nil {
					t.Fatal(err)
				}
			}
			before, good := s.Current().Lists[0], read(t, path)
			if err := test.lose(t, path); err != nil {
				t.Fatal(err)
			}
			if err := fetchNow(s, "other"); err != nil || !isListed(s.Current(), "192.0.2.2", "other") { // a rebuild
				t.Fatal("the other list did not change", err)
			}
			if !isListed(s.Current(), "198.51.100.16", "one") {
				t.Error("the list is out of force")
			}
			if diff := cmp.Diff(before, s.Current().Lists[0]); diff != "" {
				t.Error(diff)
			}
			if err := fetchNow(s, "one"); err != nil || seen.last(t, "one") != ResultUnchanged {
				t.Errorf("refreshing: %v, %v", seen.of("one"), err)
			}
			if read(t, path) != good || len(server.seen()) != 2 {
				t.Errorf("the copy is not as it was, after %d requests", len(server.seen()))
			}
		})
	}
}

// TestOpenLeavesCopiesAlone: a reload that is refused must not take anything from the Set that goes on running.
func TestOpenLeavesCopiesAlone(t *testing.T) {
	_, url := serve(t, text(addresses(20)))
	dir, folder := t.TempDir(), t.TempDir()
	ours, theirs := filepath.Join(folder, "ours.txt"), filepath.Join(folder, "theirs.txt")
	write(t, ours, "192.0.2.1\n")
	write(t, theirs, "192.0.2.2\n")
	s := mustOpen(t, Options{Dir: dir}, Spec{Name: "deny", File: ours, Own: true}, Spec{Name: "one", URLs: []string{url}})
	if err := fetchNow(s, "one"); err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/damaged.list", "nothing\n")
	files := func() map[string]string {
		found := make(map[string]string)
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			found[e.Name()] = read(t, dir, e.Name())
		}
		return found
	}
	before := files()
	if _, kept := before["deny.list"]; kept {
		t.Error("a local file was copied before the start")
	}
	mustOpen(t, Options{Dir: dir}, []Spec{
		{Name: "deny", File: theirs, Own: true},
		{Name: "one", URLs: []string{url + "/other"}},
		{Name: "damaged", URLs: []string{url}},
		{Name: "missing", File: filepath.Join(folder, "missing.txt")},
	}...)
	if diff := cmp.Diff(before, files()); diff != "" {
		t.Errorf("what is on disk (-before +after):\n%s", diff)
	}
	s.rebuild()
	if !isListed(s.Current(), "192.0.2.1", "deny") || !isListed(s.Current(), "198.51.100.1", "one") {
		t.Error("a list is out of force")
	}
}

// TestUnwritable: without a disk everything works, from memory.
func TestUnwritable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	gone := filepath.Join(t.TempDir(), "gone")
	for _, test := range []struct {
		name string
		dir  string
		then func()
		want [2]Result
		says string
	}{
		{name: "none", want: [2]Result{ResultOK, ResultUnchanged}},
		{name: "not a directory", dir: file + "/feeds", want: [2]Result{ResultOK, ResultUnchanged}},
		{name: "replaced by a file later", dir: gone, then: func() {
			if err := os.RemoveAll(gone); err != nil {
				t.Fatal(err)
			}
			write(t, gone, "")
		}, want: [2]Result{ResultNotStored, ResultNotStored}, says: gone + ": not a directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, url := serve(t, text(addresses(20)))
			var seen results
			s := mustOpen(t, Options{Dir: test.dir, Observe: seen.observe}, Spec{Name: "one", URLs: []string{url}})
			if test.then != nil {
				test.then()
			}
			for range test.want {
				if err := fetchNow(s, "one"); err != nil {
					t.Fatal(err)
				}
				status := statusOf(t, s, "one")
				if !isListed(s.Current(), "198.51.100.16", "one") || status.Stored || !strings.Contains(status.LastError, test.says) {
					t.Errorf("status: %+v", status)
				}
			}
			if diff := cmp.Diff(test.want[:], seen.of("one")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLeftoversAreRemoved(t *testing.T) {
	dir := t.TempDir()
	old, young := dir+"/one.list.123.tmp", dir+"/one.list.456.tmp"
	write(t, old, "")
	write(t, young, "")
	long := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(old, long, long); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, Options{Dir: dir})
	if _, err := os.Stat(old); err == nil {
		t.Error("the leftover is still there")
	}
	if _, err := os.Stat(young); err != nil {
		t.Error("what may still be in use was removed")
	}
}

func TestWait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "one.wait")
	now := time.Unix(1_790_000_000, 0)
	for _, test := range []struct {
		until time.Time
		who   string
		want  bool
	}{
		{now.Add(time.Hour), "f00", true},
		{now.Add(time.Hour), "bar", false},
		{now.Add(-time.Hour), "f00", false},
		{now.Add(48 * time.Hour), "f00", false},
	} {
		if err := saveWait(path, test.who, test.until); err != nil {
			t.Fatal(err)
		}
		if got := loadWait(path, "f00", now); got.Equal(test.until) != test.want {
			t.Errorf("%+v: got %s", test, got)
		}
	}
	write(t, path, "f00 tomorrow\n")
	if got := loadWait(path, "f00", now); !got.IsZero() {
		t.Errorf("got %s from nonsense", got)
	}
	removeFile(path)
	removeFile(path)
	if _, err := os.Stat(path); err == nil {
		t.Error("still there")
	}
}

func FuzzCopy(f *testing.F) {
	ranges := iplist.NewRanges([]netip.Prefix{netip.MustParsePrefix("192.0.2.0/25"), netip.MustParsePrefix("2001:db8::/32")})
	h := copyHeader{name: "one", spec: "f00", fetched: time.Unix(1_790_000_000, 0), parts: []validators{{Validators: fetch.Validators{ETag: `"x"`}}, {}}}
	h.sum, h.entries = digest(&body{ranges: ranges})
	var b bytes.Buffer
	b.Write(h.appendText(nil))
	if _, err := (&body{ranges: ranges}).write(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(copyTitle + "\n# sha256: x\n"))
	f.Add([]byte(strings.Replace(b.String(), "2001:db8::/32", "AS64500", 1)))
	f.Fuzz(func(t *testing.T, text []byte) {
		h, read, err := readCopy(bytes.NewReader(text))
		if err != nil {
			return
		}
		if !bytes.HasPrefix(text, []byte(copyTitle)) {
			t.Error("a copy without a title was accepted")
		}
		if n := len(collect(read.ranges)) + len(read.names); n > 0 && h.entries == 0 {
			t.Errorf("%d entries, the header says none", n)
		}
	})
}
