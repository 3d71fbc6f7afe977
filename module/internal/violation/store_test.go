package violation

import (
	"net/netip"
	"path/filepath"
	"testing"
	"time"
)

var (
	noon   = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	client = netip.MustParseAddr("203.0.113.5")
	login  = Terms{Name: "login_failed", Points: 3, HalfLife: time.Hour, Free: 4, Most: 60}
	trap   = Terms{Name: "trap", Points: 60, HalfLife: 7 * 24 * time.Hour, Most: 60}
)

// tester is a store with a clock of its own.
type tester struct {
	*Store
	time time.Time
}

func open(t testing.TB, path string, o Options) *tester {
	t.Helper()
	s := &tester{time: noon}
	o.Now = func() time.Time { return s.time }
	s.Store = Open(path, o)
	t.Cleanup(func() {
		if !s.closed() {
			_ = s.Close()
		}
	})
	return s
}

func (s *tester) closed() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

func (s *tester) wait(d time.Duration) { s.time = s.time.Add(d) }

// points returns what an address has of a violation.
func (s *tester) points(addr netip.Addr, t *Terms) float64 {
	var subject Subject
	if !s.Find(addr, &subject) {
		return 0
	}
	slot := subject.Find(IDOf(t.Name))
	if slot == nil {
		return 0
	}
	return slot.PointsAt(t, s.time)
}

// TestFree proves that the first violations cost nothing, and that those of long ago are forgotten.
func TestFree(t *testing.T) {
	s := open(t, "", Options{})
	for i, want := range []float64{0, 0, 0, 0, 3, 6} {
		if r := s.Add(&login, Act{Client: client, Share: 1}); !r.Counted || r.Points != want {
			t.Errorf("violation %d: %+v, want %v points", i+1, r, want)
		}
	}
	s.wait(time.Hour)
	if got := s.points(client, &login); got != 3 {
		t.Errorf("after an hour: %v points, want 3", got)
	}
	s.wait(24 * time.Hour)
	if r := s.Add(&login, Act{Client: client, Share: 1}); r.Points > 0.001 {
		t.Errorf("the first of the next day: %+v", r)
	}
}

func TestRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "violations.bin")
	s := open(t, path, Options{})
	s.Add(&trap, Act{Client: client, Share: 1, Path: "/.env"})
	s.CountGood(client)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path, Options{})
	if got := s.points(client, &trap); got != 60 {
		t.Errorf("after a restart: %v points, want 60", got)
	}
	if r := s.Add(&trap, Act{Client: client, Share: 1, Path: "/.env"}); r.Counted {
		t.Errorf("the same path after a restart: %+v", r)
	}
	var subject Subject
	if s.Find(client, &subject); subject.Good != 1 {
		t.Errorf("good answers: %d", subject.Good)
	}
}
