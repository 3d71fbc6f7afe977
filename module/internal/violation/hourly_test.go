package violation

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestHourly(t *testing.T) {
	var h hourly
	begin := time.Unix(1_800_000_000, 0)
	for i := range 90 { // one a minute
		h.add("trap", begin.Add(time.Duration(i)*time.Minute))
	}
	h.add("spam", begin)
	now := begin.Add(89 * time.Minute)
	for after, want := range map[time.Duration]map[string]int{
		0:                {"trap": 60},
		30 * time.Minute: {"trap": 30},
		2 * time.Hour:    {},
	} {
		if diff := cmp.Diff(want, h.counts(now.Add(after))); diff != "" {
			t.Errorf("%s later: %s", after, diff)
		}
	}
}

// TestLastHour: what a store shows of the last hour is what it has counted, and nothing of the future.
func TestLastHour(t *testing.T) {
	s := open(t, "", Options{})
	terms := &Terms{Name: "probe", Points: 1, HalfLife: time.Hour, Most: 20}
	client := netip.MustParseAddr("203.0.113.7")
	for _, act := range []Act{
		{Client: client, At: s.time, Path: "/a", Share: 1},
		{Client: client, At: s.time, Path: "/a", Share: 1}, // counts once
		{Client: client, At: s.time.Add(10 * time.Minute), Share: 1},
	} {
		s.Add(terms, act)
	}
	if diff := cmp.Diff(map[string]int{"probe": 2}, s.Status().LastHour); diff != "" {
		t.Error(diff)
	}
	s.wait(time.Hour)
	if n := len(s.Status().LastHour); n != 0 {
		t.Errorf("%d names an hour later", n)
	}
}
