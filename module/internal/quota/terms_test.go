package quota

import (
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
)

func TestCallsPerDay(t *testing.T) {
	for _, tc := range []struct {
		windows []ledger.Window
		want    float64
	}{
		{nil, 0},
		{windows("1000/day"), 1000},
		{windows("45/minute"), 64_800},
		{windows("4/minute", "500/day", "15500/month"), 500},
		{windows("10000/hour"), 240_000},
		{windows("70/week"), 10},
		{windows("1000/day", "3000/month"), 100},
	} {
		if got := (Terms{Windows: tc.windows}).CallsPerDay(); got != tc.want {
			t.Errorf("%v: %v, want %v", tc.windows, got, tc.want)
		}
	}
}
