package mmdb

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// country returns a file that says a country of the whole IPv4 Internet.
func countryFile(t testing.TB, code string) []byte {
	t.Helper()
	return testenv.MMDB{Type: "Test-" + code, Networks: []testenv.Network{
		{Prefix: "0.0.0.0/1", Record: m{"country_code": code}}, {Prefix: "128.0.0.0/1", Record: m{"country_code": code}},
	}}.Bytes(t)
}

// watched is a database of a file, and the times at which it is looked at.
type watched struct {
	*Database
	t   testing.TB
	now time.Time
}

func watch(t testing.TB, path string) *watched {
	return &watched{Database: New(Spec{Name: "test", File: path}), t: t, now: time.Unix(1_790_000_000, 0)}
}

// look looks once more, and reports whether there was news.
func (w *watched) look() bool {
	w.now = w.now.Add(5 * time.Second)
	return w.Look(context.Background(), w.now)
}

func (w *watched) want(what, country, trouble string) {
	w.t.Helper()
	s := w.Status()
	if got := (Set{w.Database}).Facts(inside).Country; got != country || !strings.Contains(s.Problem, trouble) || (s.Problem == "") != (trouble == "") {
		w.t.Errorf("%s: country %q, error %q; want %q and %q", what, got, s.Problem, country, trouble)
	}
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// replace puts another file in the place of one, as geoipupdate does.
func replace(t testing.TB, path string, data []byte) {
	t.Helper()
	write(t, path+".temporary", data)
	if err := os.Rename(path+".temporary", path); err != nil {
		t.Fatal(err)
	}
}

func TestFileIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "geo.mmdb")
	replace(t, path, countryFile(t, "DE"))
	d := watch(t, path)
	if err := d.Load(t.Context(), d.now); err != nil {
		t.Fatal(err)
	}
	d.want("loaded", "DE", "")
	if s := d.Status(); !s.Loaded || s.Type != "Test-DE" || s.Networks != 2 || s.Built.Year() != 2026 || !s.LastLoad.Equal(d.now) || s.Size == 0 {
		t.Errorf("got %+v", s)
	}
	for range 2 {
		if d.look() {
			t.Error("news of a file that is as it was")
		}
	}

	replace(t, path, countryFile(t, "NL"))
	if d.look() {
		t.Error("it was read at the first look: somebody may be writing it")
	}
	d.want("seen once", "DE", "")
	if !d.look() {
		t.Error("no news of another file")
	}
	d.want("seen twice", "NL", "")
	if s := d.Status(); !s.LastLoad.Equal(d.now) {
		t.Errorf("loaded at %v; want %v", s.LastLoad, d.now)
	}

	replace(t, path, countryFile(t, "FR"))
	if err := d.Load(t.Context(), d.now); err != nil {
		t.Fatal(err)
	}
	d.want("a reload does not wait for a second look", "FR", "")
}

// A file may be written in place, slowly: it is not read before it stays as it is, and half of it never replaces the old one.
func TestFileIsWrittenInPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "geo.mmdb")
	write(t, path, countryFile(t, "DE"))
	d := watch(t, path)
	if err := d.Load(t.Context(), d.now); err != nil {
		t.Fatal(err)
	}
	data := countryFile(t, "NL")
	for n := 0; n < len(data); n += len(data)/5 + 1 {
		write(t, path, data[:n])
		if d.look() {
			t.Errorf("news of the first %d bytes", n)
		}
		d.want("half written", "DE", "")
	}
	if d.look(); !strings.Contains(d.Status().Problem, "damaged") { // nobody goes on writing
		t.Errorf("got %+v", d.Status())
	}
	d.want("half written for long", "DE", "damaged")
	for range 2 {
		if d.look() {
			t.Error("the same trouble is news again")
		}
	}
	write(t, path, data)
	d.look()
	if !d.look() {
		t.Error("no news of a whole file")
	}
	d.want("whole", "NL", "")
}

// A file that is truncated in place while it is in use must not end the process, as a mapped one would.
func TestTruncatedWhileInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "geo.mmdb")
	write(t, path, countryFile(t, "DE"))
	d := watch(t, path)
	if err := d.Load(t.Context(), d.now); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	d.want("truncated", "DE", "")
	d.look()
	d.look()
	d.want("and seen", "DE", "damaged")
}

func TestBrokenFileKeepsTheOldOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "geo.mmdb")
	replace(t, path, countryFile(t, "DE"))
	d := watch(t, path)
	if err := d.Load(t.Context(), d.now); err != nil {
		t.Fatal(err)
	}
	good := countryFile(t, "NL")
	for _, broken := range []struct {
		what, trouble string
		data          []byte
	}{
		{"a page", "damaged", []byte("<html>404</html>")},
		{"empty", "damaged", nil},
		{"the first half", "damaged", good[:len(good)/2]},
		{"the second half", "damaged", good[len(good)/2:]},
		{"of something else", "nothing in it", testenv.MMDB{Networks: []testenv.Network{{Prefix: "203.0.113.0/24", Record: m{"risk": 1.5}}}}.Bytes(t)},
		{"without networks", "no networks", testenv.MMDB{}.Bytes(t)},
	} {
		replace(t, path, broken.data)
		d.look()
		d.look()
		d.want(broken.what, "DE", broken.trouble)
		if err := d.Load(t.Context(), d.now); err == nil {
			t.Errorf("%s: a reload finds nothing wrong", broken.what)
		}
	}
	for _, gone := range []func(){
		func() { _ = os.Remove(path) },
		func() { _ = os.Mkdir(path, 0o700) },
	} {
		gone()
		d.look()
		d.look()
		if s := d.Status(); s.Problem == "" || !s.Loaded {
			t.Errorf("got %+v", s)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	replace(t, path, good)
	d.look()
	d.look()
	d.want("mended", "NL", "")
}

// A file that comes back after it was missing is read, though it is the one that was read before.
func TestFileIsAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "geo.mmdb")
	d := watch(t, path)
	if err := d.Load(t.Context(), d.now); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	d.want("not there yet", "", "no such file")
	if d.look() {
		t.Error("the same trouble is news again")
	}
	write(t, path, countryFile(t, "DE"))
	d.look()
	if !d.look() {
		t.Error("no news")
	}
	d.want("there", "DE", "")
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if !d.look() || d.look() {
		t.Error("a missing file is news once")
	}
	d.want("away", "DE", "no such file")
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	d.look()
	d.look()
	d.want("back", "DE", "")
}

// A folder of Kubernetes is replaced by turning a symbolic link.
func TestSymbolicLinkIsTurned(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "1"), countryFile(t, "DE"))
	write(t, filepath.Join(dir, "2"), countryFile(t, "NL"))
	path := filepath.Join(dir, "geo.mmdb")
	if err := os.Symlink("1", path); err != nil {
		t.Fatal(err)
	}
	d := watch(t, path)
	if err := d.Load(t.Context(), d.now); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(path)
	if err := os.Symlink("2", path); err != nil {
		t.Fatal(err)
	}
	d.look()
	d.look()
	d.want("turned", "NL", "")
}

// A file that could not be opened is tried again, though it looks the same: its mode may have changed.
func TestFileMayBeReadLater(t *testing.T) {
	if _, tried, err := read(t.Context(), t.TempDir(), nil); err == nil || tried != nil {
		t.Errorf("got %v, %v", tried, err)
	}
}

func TestLargeFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "geo.mmdb")
	write(t, path, nil)
	if err := os.Truncate(path, MaxSize+1); err != nil {
		t.Skip(err)
	}
	d := watch(t, path)
	if err := d.Load(t.Context(), d.now); err == nil || !strings.Contains(err.Error(), "larger than it may be") {
		t.Errorf("got %v", err)
	}
}

func TestEnded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "geo.mmdb")
	write(t, path, countryFile(t, "DE"))
	d := watch(t, path)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Load(ended, d.now); err != nil {
		t.Errorf("an attempt that was given up left %v", err)
	}
	if err := d.Load(t.Context(), d.now); err != nil {
		t.Fatal(err)
	}
	d.want("loaded", "DE", "")
	_ = d.Close()
	d.want("closed", "", "")
	replace(t, path, countryFile(t, "NL"))
	_, _ = d.look(), d.look()
	d.want("looked at though closed", "", "")
}

// Requests go on while files are replaced: each gets the facts of one file, old or new.
func TestReplacedUnderLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "geo.mmdb")
	files := [2][]byte{countryFile(t, "DE"), countryFile(t, "NL")}
	replace(t, path, files[0])
	d := watch(t, path)
	if err := d.Load(t.Context(), d.now); err != nil {
		t.Fatal(err)
	}
	set := Set{d.Database}
	var done atomic.Bool
	var asking sync.WaitGroup
	for range 2 {
		asking.Go(func() {
			addr := netip.MustParseAddr("1.2.3.4")
			for !done.Load() {
				if c := set.Facts(addr).Country; c != "DE" && c != "NL" {
					t.Errorf("got %q", c)
					return
				}
				_ = d.Status()
			}
		})
	}
	for i := range 20 {
		replace(t, path, files[i%2])
		if i%3 == 0 {
			_ = d.Load(t.Context(), d.now)
		}
		d.look()
		d.look()
	}
	done.Store(true)
	asking.Wait()
	d.want("in the end", "NL", "")
}
