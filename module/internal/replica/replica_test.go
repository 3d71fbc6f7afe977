package replica

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func TestNewer(t *testing.T) {
	ascending := []Entry{
		{Version: 1, Value: []byte(`"z"`)}, {Version: 2}, {Version: 2, Value: []byte(`"<"`)},
		{Version: 2, Value: []byte(`"="`)}, {Version: 2, Value: []byte(`"=="`)}, {Version: 3},
	}
	for i, a := range ascending {
		for j, b := range ascending {
			b.Expires = noon // does not count
			if got, want := a.Newer(b), i > j; got != want {
				t.Errorf("%d %s newer than %d %s: %v, want %v", a.Version, a.Value, b.Version, b.Value, got, want)
			}
		}
	}
}

func TestNextVersion(t *testing.T) {
	now := noon.UnixMilli()
	for known, want := range map[int64]int64{0: now, now - 1: now, now: now + 1, now + 1000: now + 1001} {
		if got := NextVersion(noon, known); got != want {
			t.Errorf("after %d: %d, want %d", known, got, want)
		}
	}
}

func TestCheck(t *testing.T) {
	now := noon.UnixMilli()
	day := MaxAhead.Milliseconds()
	for title, tc := range map[string]struct {
		entry Entry
		want  string // in the error; empty: there is none
	}{
		"good":             {Entry{Name: "a", Version: now}, ""},
		"the longest":      {Entry{Name: strings.Repeat("n", 256), Version: now, Value: make([]byte, 4096)}, ""},
		"a long name":      {Entry{Name: strings.Repeat("n", 257), Version: now}, "256 at most"},
		"a long value":     {Entry{Name: "a", Version: now, Value: make([]byte, 4097)}, "4096 at most"},
		"a day ahead":      {Entry{Name: "a", Version: now + day}, ""},
		"further ahead":    {Entry{Name: "a", Version: now + day + 1}, "compare the clocks"},
		"before all times": {Entry{Name: "a", Version: -1}, "is not a time"},
		"after all times":  {Entry{Name: "a", Version: 1 << 62}, "is not a time"},
	} {
		t.Run(title, func(t *testing.T) {
			err := tc.entry.Check(noon)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// TestSignal proves that one waiter does not take a change from another one.
func TestSignal(t *testing.T) {
	var s Signal
	s.Notify() // nobody waits
	first, second := s.Changed(), s.Changed()
	select {
	case <-first:
		t.Fatal("a change from before is signalled")
	default:
	}
	s.Notify()
	s.Notify()
	<-first
	<-second
	select {
	case <-s.Changed():
		t.Error("the change is signalled again")
	default:
	}
}

func TestSkipped(t *testing.T) {
	log := new(logtest.Log)
	logger := slog.New(slog.NewTextHandler(log, nil))
	var s Skipped
	s.Log(logger, noon)
	for i := range 5 {
		s.Add(2, fmt.Errorf("reason %d", i))
		s.Add(0, nil)
		s.Log(logger, noon.Add(time.Duration(i)*time.Second))
	}
	if got := log.Take(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `count=2 error="reason 0"`) {
		t.Errorf("within a minute: %s", got)
	}
	s.Log(logger, noon.Add(time.Minute))
	if got := log.Take(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `count=8 error="reason 4"`) {
		t.Errorf("after a minute: %s", got)
	}
}
