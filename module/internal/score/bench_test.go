package score

import (
	"fmt"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// warm returns n pieces of evidence as a request meets them: one provider's answer of some hours ago, then lists.
func warm(n int) []Evidence {
	all := []Evidence{says("abuseipdb", 1, .9)}
	all[0].Age = 3 * time.Hour
	for _, name := range []string{"firehol_level1", "tor_exits", "spamhaus_drop"} {
		e := says(name, 1, .6)
		e.Listed = true
		all = append(all, e)
	}
	for i := len(all); i < n; i++ {
		e := listedOn(fmt.Sprint("feed", i))
		e.Confidence -= float64(i) / 100
		all = append(all, e)
	}
	return all[:n]
}

func BenchmarkJudge(b *testing.B) {
	for _, n := range []int{0, 1, 4, 16, 32, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			evidence, reasons := warm(n), make([]reputation.Reason, 0, stackMost)
			b.ReportAllocs()
			for b.Loop() {
				_, reasons = Judge(evidence, reasons[:0])
			}
		})
	}
}

func TestJudgeDoesNotAllocate(t *testing.T) {
	for n := range stackMost + 1 {
		evidence := warm(n)
		if got := testing.AllocsPerRun(100, func() {
			// Both live on the caller's stack, as they do on a request's way.
			var evidenceSpace [stackMost]Evidence
			var reasonSpace [stackMost]reputation.Reason
			if _, reasons := Judge(append(evidenceSpace[:0], evidence...), reasonSpace[:0]); len(reasons) != n {
				t.Errorf("%d reasons for %d sources", len(reasons), n)
			}
		}); got != 0 {
			t.Errorf("Judge allocates %v times with %d sources", got, n)
		}
	}
}
