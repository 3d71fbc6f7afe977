package feed

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/listformat"
)

// drip sends a line, and then nothing until the client gives up.
func drip(w http.ResponseWriter, r *http.Request) {
	_, _ = w.Write([]byte("192.0.2.1\n"))
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
}

// TestRefusedAnswers sends a good list first and then something else: the good one must stay, and so must the other
// list's.
func TestRefusedAnswers(t *testing.T) {
	other, elsewhere := serve(t, text("203.0.113.66\n"))
	var many strings.Builder
	for i := range 40 {
		fmt.Fprintf(&many, "192.0.2.%d\nnot an address %d\n", i, i)
	}
	var most strings.Builder // of IPv4, without what is reserved
	for i := range 140 {
		fmt.Fprintf(&most, "%d.0.0.0/8\n", i)
	}
	const secret = "s3cr3t-key"
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		want   Result
		says   string
	}{
		{name: "HTML", answer: text("<!DOCTYPE html><title>Just a moment</title>"), want: ResultHTML},
		{name: "binary", answer: text("\x89PNG\r\n\x1a\n\x00\x00"), want: ResultNotText},
		{name: "empty", answer: text(""), want: ResultEmpty},
		{name: "comments only", answer: text("# nothing today\n"), want: ResultEmpty},
		{name: "reserved only", answer: text(strings.Repeat("10.0.0.0/8\n192.168.1.1\n", 10)), want: ResultEmpty, says: "reserved"},
		{name: "shrunk", answer: text(addresses(9)), want: ResultShrunk, says: "from 20 lines to 9: it is believed once 3 fetches over a day or more agree, or at once by `caddy ip-reputation refresh one --accept`"},
		{name: "garbage", answer: text(many.String()), want: ResultUnparsable, says: "40 of 80 lines are wrong"},
		{name: "a sentence", answer: text("invalid key " + secret), want: ResultUnparsable},
		{name: "huge", answer: text(addresses(200)), want: ResultTooLarge, says: "larger than 2048 bytes: allow more with `max_size`"},
		{name: "most of the Internet", answer: text(most.String()), want: ResultTooLarge, says: "more than half of the Internet"},
		{name: "zip breaks off", answer: text("PK\x03\x04\x14\x00"), want: ResultNotText, says: "begins as a zip archive does, and is none"},
		{name: "bomb in a .gz file", answer: gzipFile(bytes.Repeat([]byte("# zeros\n"), 1<<17)), want: ResultTooLarge},
		{name: "long status line", answer: hijack("HTTP/1.1 " + strings.Repeat("x", 60_000) + "\r\n\r\n"), want: ResultError, says: "…"},
		{name: "gzip bomb", answer: gzipped(bytes.Repeat([]byte("# zeros\n"), 1<<17)), want: ResultTooLarge},
		{name: "neither gzip nor a list", answer: rawGzip([]byte("\x89PNG\r\n\x1a\n\x00\x00")), want: ResultNotText},
		{name: "gzip breaks off", answer: rawGzip([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")), want: ResultError, says: "unexpected EOF"},
		{name: "half of a .gz file", answer: text(compressed([]byte(addresses(200)))[:60]), want: ResultError, says: "unexpected EOF"},
		{name: "a JSON error with status 200", answer: text(`{"error": "too many requests"}` + "\n"), want: ResultUnparsable},
		{name: "other encoding", answer: status(http.StatusOK, "Content-Encoding", "br"), want: ResultNotText, says: `"br"`},
		{name: "breaks off", answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte(addresses(20)))
		}, want: ResultError, says: "unexpected EOF"},
		{name: "not found", answer: status(http.StatusNotFound), want: ResultStatus, says: "status 404"},
		{name: "unasked 304", answer: status(http.StatusNotModified), want: ResultStatus, says: "status 304"},
		{name: "no content", answer: status(http.StatusNoContent), want: ResultStatus},
		{name: "429", answer: status(http.StatusTooManyRequests, "Retry-After", "7200"), want: ResultThrottled},
		{name: "503 for a while", answer: status(http.StatusServiceUnavailable, "Retry-After", "60"), want: ResultThrottled},
		{name: "503", answer: status(http.StatusServiceUnavailable), want: ResultStatus},
		{name: "slow drip", answer: drip, want: ResultTimeout, says: "no whole answer within"},
		{name: "other host", answer: redirect(elsewhere + "/?key=" + secret), want: ResultError, says: "write its new URL in place of that on 127.0.0.1:"},
		{name: "other scheme", answer: redirect("ftp://127.0.0.1/"), want: ResultError, says: "refused a redirect"},
		{name: "redirect to itself", answer: redirect("/again"), want: ResultError, says: "more than 5 redirects"},
		{name: "redirect to nonsense", answer: status(http.StatusFound, "Location", "http://%zz/?key="+secret), want: ResultError},
		{name: "hangs up", answer: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, want: ResultError},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, url := serve(t, text(addresses(20)), test.answer)
			var log bytes.Buffer
			var seen results
			dir := t.TempDir()
			s := mustOpen(t, Options{Dir: dir, Observe: seen.observe, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))},
				Spec{Name: "one", URLs: []string{strings.Replace(url, "//", "//user:"+secret+"@", 1) + "/list?key=" + secret}, MaxBytes: 2048, Timeout: 200 * time.Millisecond,
					Header: http.Header{"Authorization": {"Bearer " + secret}}},
				Spec{Name: "other", URLs: []string{elsewhere}})
			for _, name := range []string{"one", "other"} {
				if err := fetchNow(s, name); err != nil {
					t.Fatal(err)
				}
			}
			asked := len(other.seen())
			err := fetchNow(s, "one")
			if len(err.Error()) > 1000 {
				t.Errorf("an error of %d letters", len(err.Error()))
			}
			if got := seen.last(t, "one"); err == nil || got != test.want || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %s, %v, want %s saying %q", got, err, test.want, test.says)
			}
			if len(other.seen()) != asked {
				t.Error("the other host was called")
			}
			now := s.Current()
			if !isListed(now, "198.51.100.19", "one") || isListed(now, "192.0.2.1", "one") || !isListed(now, "203.0.113.66", "other") {
				t.Error("the last good lists are not in force")
			}
			status := statusOf(t, s, "one")
			if !status.Loaded || status.LastError == "" || status.LastResult != test.want.String() {
				t.Errorf("status: %+v", status)
			}
			for where, said := range map[string]string{"error": err.Error(), "status": status.LastError, "log": log.String(), "copy": read(t, dir, "one.list")} {
				if strings.Contains(said, secret) {
					t.Errorf("the %s holds the secret: %s", where, said)
				}
			}
			if strings.Contains(read(t, dir, "one.list"), "not an address") {
				t.Error("the refused list was stored")
			}
		})
	}
}

// TestContentTypeDoesNotDecide proves that a list is read whatever the server calls it: many call theirs anything.
func TestContentTypeDoesNotDecide(t *testing.T) {
	for _, contentType := range []string{"application/octet-stream", "text/html", "image/png", "", "nonsense"} {
		_, url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			_, _ = w.Write([]byte(addresses(20)))
		})
		s := mustOpen(t, Options{}, Spec{Name: "one", URLs: []string{url}})
		if err := fetchNow(s, "one"); err != nil || !isListed(s.Current(), "198.51.100.7", "one") {
			t.Errorf("%q: %v", contentType, err)
		}
	}
}

// TestConditional: what has not changed is neither sent nor read again, over a restart too, and the snapshot stays the
// same to the pointer.
func TestConditional(t *testing.T) {
	const etag, modified = `"v1"`, "Mon, 23 Nov 2026 04:39:22 GMT"
	answer := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", etag)
		w.Header().Set("Last-Modified", modified)
		if r.Header.Get("If-None-Match") == etag && r.Header.Get("If-Modified-Since") == modified {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write([]byte(addresses(20)))
	}
	server, url := serve(t, answer)
	var seen results
	dir := t.TempDir()
	spec := Spec{Name: "one", URLs: []string{url + "/a", url + "/b"}}
	s := mustOpen(t, Options{Dir: dir, Observe: seen.observe}, spec)
	if err := fetchNow(s, "one"); err != nil {
		t.Fatal(err)
	}
	before := read(t, dir, "one.list")
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(dir+"/one.list", old, old); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, Options{Dir: dir, Observe: seen.observe}, spec)
	snapshot := s.Current()
	for _, l := range s.lists {
		if _, err := l.refresh(t.Context(), (*list).always); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]Result{ResultOK, ResultUnchanged}, seen.of("one")); diff != "" {
		t.Error(diff)
	}
	if s.Current() != snapshot || read(t, dir, "one.list") != before {
		t.Error("an unchanged list was published or written again")
	}
	if info, err := os.Stat(dir + "/one.list"); err != nil || !info.ModTime().After(old) {
		t.Errorf("the copy was not confirmed: %v", err)
	}
	if n := len(server.seen()); n != 4 {
		t.Errorf("%d requests, want 2 for each of two parts", n)
	}
	if got := server.seen()[0].Header.Get("User-Agent"); got != "caddy-ip-reputation" {
		t.Errorf("User-Agent %q", got)
	}
}

// TestPartsBelongTogether: when one part changes, the others are fetched whole, and a part that fails refuses all.
func TestPartsBelongTogether(t *testing.T) {
	fixed := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"fixed"`)
		if r.Header.Get("If-None-Match") == `"fixed"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write([]byte("192.0.2.1\n"))
	}
	_, first := serve(t, fixed)
	_, second := serve(t, text("198.51.100.1"), text("198.51.100.2"), status(http.StatusBadGateway))
	_, third := serve(t, fixed)
	s := mustOpen(t, Options{Dir: t.TempDir()}, Spec{Name: "one", URLs: []string{first, second, third}})
	for i, want := range []string{"198.51.100.1", "198.51.100.2", "198.51.100.2"} {
		if err := fetchNow(s, "one"); (err != nil) != (i == 2) {
			t.Fatalf("refresh %d: %v", i, err)
		}
		for _, addr := range []string{"192.0.2.1", want} {
			if !isListed(s.Current(), addr, "one") {
				t.Errorf("after refresh %d, %s is not listed", i, addr)
			}
		}
	}
	if isListed(s.Current(), "198.51.100.1", "one") {
		t.Error("an address that was taken off the list is still on it")
	}
}

// TestSameContent: a server without validators sends the same list again; nothing is published.
func TestSameContent(t *testing.T) {
	_, url := serve(t, text("192.0.2.1\n192.0.2.9\n"), text("# other\n192.0.2.9\n192.0.2.1\n10.0.0.1\n"))
	var seen results
	s := mustOpen(t, Options{Dir: t.TempDir(), Observe: seen.observe}, Spec{Name: "one", URLs: []string{url}})
	for range 2 {
		if err := fetchNow(s, "one"); err != nil {
			t.Fatal(err)
		}
	}
	if got := seen.last(t, "one"); got != ResultUnchanged {
		t.Errorf("got %s", got)
	}
}

// panicking is a transport with a bug.
type panicking struct{}

func (panicking) RoundTrip(*http.Request) (*http.Response, error) { panic("a bug") }

func TestPanicIsAFailedAttempt(t *testing.T) {
	var seen results
	s := mustOpen(t, Options{Transport: panicking{}, Observe: seen.observe}, Spec{Name: "one", URLs: []string{"http://192.0.2.1/"}})
	if err := fetchNow(s, "one"); err == nil || seen.last(t, "one") != ResultError {
		t.Errorf("got %v", err)
	}
}

// TestDefaults: they are what the configuration's documentation says.
func TestDefaults(t *testing.T) {
	got, err := Spec{Name: "one", URLs: []string{"https://192.0.2.1/"}}.complete()
	if err != nil {
		t.Fatal(err)
	}
	want := Spec{Name: "one", URLs: got.URLs, Refresh: time.Hour, MinRefresh: time.Minute,
		Timeout: 30 * time.Second, MaxBytes: 64 << 20, Parts: 1, MaxEntries: 2_000_000, MaxShrink: new(0.5),
		Confirm: new(3), MaxAge: 30 * 24 * time.Hour}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSpecErrors(t *testing.T) {
	good := func(change func(*Spec)) Spec {
		s := Spec{Name: "one", URLs: []string{"https://192.0.2.1/list?key=s3cr3t"}}
		change(&s)
		return s
	}
	for _, test := range []struct {
		says string
		spec Spec
	}{
		{"list name \"../x\"", good(func(s *Spec) { s.Name = "../x" })},
		{"list name \"\"", good(func(s *Spec) { s.Name = "" })},
		{"give either URLs, a file or values", Spec{Name: "one"}},
		{"give either URLs, a file or values", good(func(s *Spec) { s.File = "x" })},
		{"URL number 1 is not of the form", good(func(s *Spec) { s.URLs = []string{"ftp://s3cr3t"} })},
		{"URL number 2 is not of the form", good(func(s *Spec) { s.URLs = append(s.URLs, "https://s3cr3t:x/") })},
		{"use 1m0s or longer", good(func(s *Spec) { s.Refresh = time.Second })},
		{"use 1h0m0s or longer", good(func(s *Spec) { s.Refresh, s.MinRefresh = time.Minute, time.Hour })},
		{"timeout -1s", good(func(s *Spec) { s.Timeout = -time.Second })},
		{"maximum size -1", good(func(s *Spec) { s.MaxBytes = -1 })},
		{"maximum shrink 2", good(func(s *Spec) { s.MaxShrink = new(2.0) })},
		{"maximum shrink -0.1", good(func(s *Spec) { s.MaxShrink = new(-0.1) })},
		{"maximum shrink NaN", good(func(s *Spec) { s.MaxShrink = new(math.NaN()) })},
		{"unknown format \"xml\"", good(func(s *Spec) { s.Format.Encoding = "xml" })},
		{"text format has no member \"ip\"", good(func(s *Spec) { s.Format = listformat.Format{Encoding: listformat.Text, Members: []string{"ip"}} })},
		{"name of a JSON member is empty", good(func(s *Spec) { s.Format = listformat.Format{Encoding: listformat.NDJSON, Members: []string{""}} })},
		{"name the one CSV column", good(func(s *Spec) { s.Format = listformat.Format{Encoding: listformat.CSV, Members: []string{"a", "b"}} })},
		{"minimum count 3", good(func(s *Spec) { s.Format = listformat.Format{Encoding: listformat.JSON, MinCount: 3} })},
	} {
		_, err := Open([]Spec{test.spec}, Options{})
		if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("got %v, want %q", err, test.says)
		}
	}
	twice := good(func(*Spec) {})
	if _, err := Open([]Spec{twice, twice}, Options{}); err == nil || !strings.Contains(err.Error(), `two lists are named "one"`) {
		t.Errorf("got %v", err)
	}
}

func TestValues(t *testing.T) {
	values := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("10.1.0.0/16")}
	s := mustOpen(t, Options{}, Spec{Name: "exempt", Values: values}, Spec{Name: "nobody", Values: []netip.Prefix{}})
	want := []ListState{{Name: "exempt", Loaded: true, Entries: 2}, {Name: "nobody", Loaded: true}}
	got := s.Current().Lists
	if (got[0].Content == "") || (got[1].Content != "") {
		t.Errorf("contents %q and %q, want that of the empty list only to be empty", got[0].Content, got[1].Content)
	}
	for i := range got {
		got[i].Fetched, got[i].Content = time.Time{}, ""
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !isListed(s.Current(), "10.1.2.3", "exempt") || len(listing(s.Current(), "192.0.3.1")) != 0 {
		t.Error("the values are not in force")
	}
	s.Start()
	if err := s.Refresh(t.Context(), "exempt"); err != nil {
		t.Error(err)
	}
	if err := s.Refresh(t.Context(), "missing"); !errors.Is(err, ErrNoSuchFeed) {
		t.Errorf("got %v", err)
	}
}

func TestResultWords(t *testing.T) {
	words := make(map[string]bool)
	for r := range Result(NumResults) {
		if words[r.String()] || strings.Contains(r.String(), "Result(") {
			t.Errorf("result %d has no word of its own: %s", r, r)
		}
		words[r.String()] = true
	}
	if got := Result(NumResults).String(); got != "Result("+strconv.Itoa(NumResults)+")" {
		t.Error(got)
	}
}
