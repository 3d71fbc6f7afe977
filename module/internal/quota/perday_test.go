package quota

import "testing"

func TestCallsPerDay(t *testing.T) {
	for _, tc := range []struct {
		windows []Window
		want    float64
	}{
		{nil, 0},
		{[]Window{{1000, Day}}, 1000},
		{[]Window{{45, Minute}}, 64_800},
		{[]Window{{4, Minute}, {500, Day}, {15_500, Month}}, 500},
		{[]Window{{10_000, Hour}}, 240_000},
		{[]Window{{70, Week}}, 10},
		{[]Window{{1000, Day}, {3000, Month}}, 100},
	} {
		if got := (Terms{Windows: tc.windows}).CallsPerDay(); got != tc.want {
			t.Errorf("%v: %v, want %v", tc.windows, got, tc.want)
		}
	}
}
