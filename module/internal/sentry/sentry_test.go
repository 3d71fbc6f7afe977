package sentry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/getsentry/sentry-go"
	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// TestAThousandErrorsAreOneReport proves that equal errors arrive once, whatever differs in them that is no cause, that other
// causes are groups of their own, and that all are in the log.
func TestAThousandErrorsAreOneReport(t *testing.T) {
	r := receive(t)
	reporter, log, said := open(r, Options{Release: "ours@v1", Environment: "staging", ServerName: "edge-1"})
	log = log.With("provider", "abuseipdb")
	for i := range 1000 {
		log.Error("the service is gone", "error", fmt.Errorf("attempt %d", i), "request_id", fmt.Sprint("r", i))
	}
	log.With("feed", "firehol_level1").Error("the service is gone")
	log.With("feed", "firehol_level2").Error("the service is gone")
	log.Error("something else", "key", "12ab34cd", "trace_id", "0af7651916cd43dd8448eb211c80319c")
	log.Warn("this is nothing to act on")
	got := closed(t, reporter, r)
	if n := strings.Count(said.String(), "the service is gone"); n != 1002 {
		t.Errorf("%d entries in the log, want 1002", n)
	}
	if len(got) != 4 {
		t.Fatalf("%d reports, want 4: %+v", len(got), got)
	}
	first := got[0]
	if diff := cmp.Diff(event{
		Message: "the service is gone", Level: "error", Logger: "ip_reputation.test",
		Release: "ours@v1", Environment: "staging", ServerName: "edge-1",
		Fingerprint: []string{"ip_reputation.test", "the service is gone", "provider abuseipdb"},
		Tags:        map[string]string{"provider": "abuseipdb", "request_id": "r0"},
		Contexts:    map[string]map[string]any{"attributes": {"provider": "abuseipdb", "error": "attempt 0", "request_id": "r0"}},
	}, first); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if got[3].Tags["key"] != "12ab34cd" || got[3].Tags["trace_id"] == "" {
		t.Errorf("tags %v", got[3].Tags)
	}
	if s := reporter.Status(); s != (Status{Delivered: 4, LeftOut: 999}) {
		t.Errorf("status %+v", s)
	}
	if bytes.Contains(r.raw, []byte("modules")) || bytes.Contains(r.raw, []byte("GOROOT")) || bytes.Contains(r.raw, []byte("num_cpu")) {
		t.Errorf("the SDK has added something:\n%s", r.raw)
	}
}

// panicsHere is the function that must be found in the report.
func panicsHere() { panic("out of cheese, key=hunter2") }

func TestAPanicCarriesItsStack(t *testing.T) {
	r := receive(t)
	reporter, log, _ := open(r, Options{})
	func() {
		defer func() {
			if v := recover(); v != nil {
				log.Error("asking panicked; this is a bug", slog.Any("panic", v))
			}
		}()
		panicsHere()
	}()
	got := closed(t, reporter, r)
	if len(got) != 1 || len(got[0].Exception) != 1 {
		t.Fatalf("reports: %+v", got)
	}
	e := got[0].Exception[0]
	frames := e.Stacktrace.Frames
	if len(frames) == 0 || frames[len(frames)-1].Function != "panicsHere" {
		t.Fatalf("the stack does not end in the function that panicked: %+v", frames)
	}
	if e.Type != "panic" || e.Value != "out of cheese, key=[hidden]" {
		t.Errorf("exception %q %q", e.Type, e.Value)
	}
	for _, f := range frames {
		if strings.HasPrefix(f.Filename, "/") || f.AbsPath != "" {
			t.Errorf("a frame shows where the program was built: %+v", f)
		}
	}
	if last := got[0].Fingerprint[len(got[0].Fingerprint)-1]; !strings.HasSuffix(last, "internal/sentry.panicsHere") {
		t.Errorf("fingerprint %q", got[0].Fingerprint)
	}
	if e := got[0]; e.ServerName != "" || e.Environment != "production" || e.Release != "unknown" {
		t.Errorf("what was not said is %q, %q, %q", e.ServerName, e.Environment, e.Release)
	}
}

// broken is a value whose text cannot be had.
type broken struct{}

func (broken) LogValue() slog.Value { panic("broken") }

type brokenError struct{ err error }

func (b *brokenError) Error() string { return b.err.Error() }

// TestWhatIsLoggedCannotHarm proves that entries with strange values are written, and reported as far as possible.
func TestWhatIsLoggedCannotHarm(t *testing.T) {
	r := receive(t)
	reporter, log, said := open(r, Options{})
	log.Error("nil error", "error", (*brokenError)(nil), "provider", "a")
	log.WithGroup("g").With("a", 1).WithGroup("h").Error("groups", "b", 2, slog.Group("", slog.Int("c", 3)))
	log.Error("bytes", "error", "\xff\x00", "provider", strings.Repeat("ä", 5000), "feed", "one\ntwo")
	many := make([]any, 0, 2000)
	for i := range 1000 {
		many = append(many, fmt.Sprint("a", i), strings.Repeat("x", 5000))
	}
	log.Error("many", many...)
	log.Error("broken", "value", broken{})
	got := closed(t, reporter, r)
	if len(got) != 5 || strings.Count(said.String(), "level=ERROR") != 5 {
		t.Fatalf("%d reports: %+v\n%s", len(got), got, said)
	}
	if got[0].attribute("error") != "(a value whose text cannot be had)" || got[0].Tags["provider"] != "a" {
		t.Errorf("nil error: %v", got[0].Contexts)
	}
	if diff := cmp.Diff(map[string]any{"g.a": "1", "g.h.b": "2", "g.h.c": "3"}, got[1].Contexts["attributes"]); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
	if tag := got[2].Tags["provider"]; len(tag) > 200 || got[2].Tags["feed"] != "one two" {
		t.Errorf("tags %q", got[2].Tags)
	}
	if n := len(got[3].Contexts["attributes"]); n != maxFields || len(got[3].attribute("a0").(string)) > 510 {
		t.Errorf("%d attributes", n)
	}
}

// TestSentryDoesNotMatter proves that logging goes on whatever Sentry does, that what got lost is counted and said once an
// hour without the DSN, and that Close is bounded.
func TestSentryDoesNotMatter(t *testing.T) {
	r := receive(t)
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://192.0.2.1/"+publicKey)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	for name, f := range map[string]http.HandlerFunc{
		"hangs":     r.hang,
		"fails":     answer(500, "<html>"),
		"garbage":   answer(400, "\x00\xff{"),
		"redirects": answer(302, ""),
		"hangs up":  func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"full":      answer(429, ""),
		"forbidden": answer(403, publicKey),
		"switches": func(w http.ResponseWriter, _ *http.Request) { // to another protocol
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		},
		"is down": nil, // nobody listens
	} {
		t.Run(name, func(t *testing.T) {
			r.behave(f)
			var o Options
			if f == nil {
				o.DSN = func() (string, bool) { return "http://" + publicKey + "@127.0.0.1:1/42", true }
			}
			reporter, log, said := open(r, o)
			const entries = 200
			for i := range entries {
				log.Error("gone", "provider", fmt.Sprint(i)) // each a cause
			}
			if n := strings.Count(said.String(), "level=ERROR"); n != entries {
				t.Fatalf("%d entries in the log, want %d", n, entries)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			if name != "hangs" {
				ctx = t.Context() // it is over soon by itself
			}
			reporter.Close(ctx)
			s := reporter.Status()
			if s.Delivered != 0 || s.Undelivered != burst || s.Undelivered+s.LeftOut != entries || s.Problem == "" {
				t.Errorf("status %+v", s)
			}
			want := 1
			if name == "hangs" {
				want = 0 // Close has ended it
			}
			if n := strings.Count(said.String(), "errors cannot be reported"); n != want {
				t.Errorf("the log says %d times that nothing can be reported, want %d:\n%s", n, want, said)
			}
			if all := said.String() + fmt.Sprint(s); hexDSN.MatchString(all) {
				t.Errorf("the DSN is shown:\n%s", all)
			}
		})
	}
}

// TestAPauseIsKept proves that Sentry is not asked while it wants to be left alone.
func TestAPauseIsKept(t *testing.T) {
	r := receive(t)
	r.behave(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	reporter, log, _ := open(r, Options{})
	for i := range 5 {
		log.Error("gone", "provider", fmt.Sprint(i))
	}
	closed(t, reporter, r)
	if n := r.asked(); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
	if s := reporter.Status(); s.Undelivered != 5 || s.Problem != errPaused.Error() {
		t.Errorf("status %+v", s)
	}
}

// TestAPauseEnds proves that a pause of decades lasts a day.
func TestAPauseEnds(t *testing.T) {
	r := receive(t)
	r.behave(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Sentry-Rate-Limits", "999999999::organization")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	s := newSender(t.Context(), Options{DSN: func() (string, bool) { return r.dsn(), true }, Scrub: strings.Clone})
	t.Cleanup(s.close)
	for i, want := range []int{1, 1, 1, 1, 2} {
		if i == 3 {
			s.paused = time.Now().Add(-maxPause - time.Second)
		}
		if err := s.send(sdk.NewEvent()); err == nil || r.asked() != want {
			t.Errorf("report %d: %v after %d requests, want %d", i, err, r.asked(), want)
		}
	}
}

// TestALongHeader proves that a header of any length takes little memory.
func TestALongHeader(t *testing.T) {
	r := receive(t)
	r.behave(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Sentry-Rate-Limits", strings.Repeat("0:a,", maxHeader))
	})
	reporter, log, _ := open(r, Options{})
	log.Error("gone")
	closed(t, reporter, r)
	if s := reporter.Status(); s.Undelivered != 1 {
		t.Errorf("status %+v", s)
	}
}

// TestTheDSNChanges proves that a new DSN is used from the next report on, and that a wrong one is said without showing it.
func TestTheDSNChanges(t *testing.T) {
	first, second := receive(t), receive(t)
	var mu sync.Mutex
	var dsn string
	set := func(to string) {
		mu.Lock()
		defer mu.Unlock()
		dsn = to
	}
	said := new(logtest.Log)
	reporter := Open(Options{Logger: said.Logger(), DSN: func() (string, bool) {
		mu.Lock()
		defer mu.Unlock()
		return dsn, dsn != ""
	}})
	reporter.Start()
	report := func(message string) {
		reporter.Report(Entry{Time: time.Now(), Level: slog.LevelError, Message: message})
	}
	handled := func(n uint64) {
		t.Helper()
		eventually(t, "the report was tried", func() bool {
			s := reporter.Status()
			return s.Delivered+s.Undelivered == n
		})
	}
	report("without")
	handled(1)
	for i, to := range []string{first.dsn(), "https://" + publicKey + " @example.com/1", second.dsn()} {
		set(to)
		report(fmt.Sprint(strings.Repeat("x", i+1)))
		handled(uint64(i + 2))
	}
	closed(t, reporter, first)
	if len(first.all()) != 1 || len(second.all()) != 1 {
		t.Errorf("%d and %d reports, want one each", len(first.all()), len(second.all()))
	}
	if hexDSN.MatchString(said.String()) {
		t.Errorf("the DSN is shown:\n%s", said)
	}
}

func TestCheckDSN(t *testing.T) {
	for dsn, want := range map[string]string{
		"https://" + publicKey + "@o1.ingest.example.com/42": "",
		"":                                      "not valid",
		publicKey:                               "invalid scheme",
		"https://" + publicKey + "@example.com": "empty project id",
		"https://example.com/42/" + publicKey:   "empty username",
		"https://" + publicKey + " @example.com/1":   "not valid",
		"https://" + publicKey + "@example.com:x/1":  "not valid",
		"https://" + publicKey + "@example.com/%zz/": "not valid",
	} {
		err := CheckDSN(dsn)
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || hexDSN.MatchString(err.Error())) {
			t.Errorf("%q: %v", dsn, err)
		}
	}
}

// TestNothingIsSentBeforeStart proves that a Reporter of a configuration that is only checked calls nobody, and leaves nothing.
func TestNothingIsSentBeforeStart(t *testing.T) {
	r := receive(t)
	reporter := Open(Options{DSN: func() (string, bool) { return r.dsn(), true }})
	reporter.Report(Entry{Level: slog.LevelError, Message: "early"})
	reporter.Close(context.Background())
	reporter.Start()
	reporter.Report(Entry{Level: slog.LevelError, Message: "late"})
	reporter.Close(context.Background())
	if n := r.asked(); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// TestCloseAndReportAtOnce is for the race detector.
func TestCloseAndReportAtOnce(t *testing.T) {
	r := receive(t)
	reporter, log, _ := open(r, Options{})
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 50 {
				log.Error("gone", "provider", fmt.Sprint(i, j), "error", errors.New("x"))
				_ = reporter.Status()
			}
		})
	}
	all.Go(func() { closed(t, reporter, r) })
	all.Wait()
	closed(t, reporter, r)
}

// TestSecretsAreScrubbed proves that secrets leave in no part of a report, nor does what Scrub takes out.
func TestSecretsAreScrubbed(t *testing.T) {
	const s = "SeCrEt-Value-1"
	r := receive(t)
	reporter, log, _ := open(r, Options{Scrub: func(text string) string {
		return strings.ReplaceAll(text, "203.0.113.9", "[address]")
	}})
	log.With("provider", "https://u:"+s+"@example.com/").Error("asking https://example.com/check?key="+s+" of 203.0.113.9",
		"error", &brokenError{errors.New("Get \"https://example.com/x?token=" + s + "\": 203.0.113.9 refused")},
		"password", s, "feed", "203.0.113.9", "request_id", "token="+s)
	func() {
		defer func() { log.Error("panicked", "panic", recover()) }()
		panic("Authorization: Bearer " + s + " of 203.0.113.9")
	}()
	got := closed(t, reporter, r)
	if len(got) != 2 {
		t.Fatalf("%d reports", len(got))
	}
	if raw := string(r.raw); strings.Contains(raw, s) || strings.Contains(raw, "203.0.113.9") {
		t.Errorf("a report has what must not leave:\n%s", raw)
	}
	if !slices.Contains(got[0].Fingerprint, "feed [address]") || got[0].attribute("password") != hidden {
		t.Errorf("report %+v", got[0])
	}
}

// TestForeignCertificate: whoever is in the way writes what he likes into a certificate. It must not reach the log or the
// status.
func TestForeignCertificate(t *testing.T) {
	dsn := strings.Replace(testenv.ForeignCertificate(t), "://", "://key@", 1) + "/1"
	r := receive(t)
	reporter, log, said := open(r, Options{DSN: func() (string, bool) { return dsn, true }})
	log.Error("gone")
	closed(t, reporter, r)
	problem := reporter.Status().Problem
	entries := said.Lines("cannot be reported")
	if !strings.Contains(problem, "certificate") || len(entries) != 1 {
		t.Fatalf("the problem is %q, and the log\n%s", problem, said)
	}
	testenv.WantLine(t, problem)
	testenv.WantLine(t, logtest.Value(entries[0], "error"))
}
