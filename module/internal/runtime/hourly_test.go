package runtime

import (
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
