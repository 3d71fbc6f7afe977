package ledger

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestHeard(t *testing.T) {
	day := func(n int) time.Time { return mustTime(t, "2027-01-01T00:00:00Z").AddDate(0, 0, n) }
	answer := func(start int, epoch string, version int64, used, owed int) WindowCounted {
		return WindowCounted{Start: day(start), Epoch: epoch, Version: version, Used: used, Owed: owed}
	}
	known := counter{start: day(0), used: 5, owed: 3, settled: 1, epoch: "e", version: 7}
	tests := map[string]struct {
		knows  counter
		asked  int // the day
		answer WindowCounted
		want   counter
	}{
		"the first answer": {
			counter{start: day(0)}, 0, answer(0, "e", 1, 4, 0),
			counter{start: day(0), used: 4, epoch: "e", version: 1},
		},
		"a newer answer": {
			known, 0, answer(0, "e", 8, 9, 3),
			counter{start: day(0), used: 9, owed: 3, settled: 3, epoch: "e", version: 8},
		},
		"after calls were given back": {
			known, 0, answer(0, "e", 8, 2, 1),
			counter{start: day(0), used: 2, owed: 3, settled: 1, epoch: "e", version: 8},
		},
		"an older answer": {known, 0, answer(0, "e", 6, 9, 0), known},
		"another epoch": {
			known, 0, answer(0, "f", 1, 4, 2),
			counter{start: day(0), used: 4, owed: 3, settled: 2, epoch: "f", version: 1},
		},
		"the store was told of more than is remembered": {
			known, 0, answer(0, "e", 8, 9, 4),
			counter{start: day(0), used: 9, owed: 4, settled: 4, epoch: "e", version: 8},
		},
		"counted without a store in the meantime": {
			counter{start: day(0), used: 2, owed: 3}, 0, answer(0, "e", 1, 9, 3),
			counter{start: day(0), used: 9, owed: 5, settled: 3, epoch: "e", version: 1},
		},
		"the store has begun the next window": {
			known, 0, answer(1, "f", 2, 4, 0),
			counter{start: day(1), used: 4, epoch: "f", version: 2},
		},
		"a late answer of the window before": {known, -1, answer(-1, "d", 99, 9, 9), known},
		"a late answer of the window before that is of this one": {
			known, -1, answer(0, "e", 8, 6, 1),
			counter{start: day(0), used: 6, owed: 3, settled: 1, epoch: "e", version: 8},
		},
		"a late answer of a later window": {known, 1, answer(2, "g", 1, 1, 1), known},
		"more than a limit can be": {
			known, 0, answer(0, "e", 8, MaxLimit+5, MaxLimit+5),
			counter{start: day(0), used: MaxLimit, owed: MaxLimit, settled: MaxLimit, epoch: "e", version: 8},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := tt.knows.apply(Day, WindowCount{Start: day(tt.asked), End: day(tt.asked + 1)}, tt.answer)
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(counter{})); diff != "" {
				t.Error(diff)
			}
			if got := got.owe(3); got.owed > MaxLimit || got.unsettled() < 0 {
				t.Errorf("three more are owed: %+v", got)
			}
		})
	}
}
