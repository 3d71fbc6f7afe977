package metrics

import (
	"testing"

	dto "github.com/prometheus/client_model/go"
)

func TestScores(t *testing.T) {
	read := func() *dto.Histogram {
		t.Helper()
		families, err := pedantic(t).Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == namespace+"_score" {
				return f.GetMetric()[0].GetHistogram()
			}
		}
		t.Fatal("there is no histogram of scores")
		return nil
	}
	before := read()
	for _, score := range []uint8{0, 0, 84, 85, 100, 101} {
		CountScore(score)
	}
	after := read()
	if n := after.GetSampleCount() - before.GetSampleCount(); n != 5 {
		t.Errorf("%d scores are counted, want 5: 101 is none", n)
	}
	if sum := after.GetSampleSum() - before.GetSampleSum(); sum != 84+85+100 {
		t.Errorf("their sum is %v", sum)
	}
	want := map[float64]uint64{0: 2, 4: 2, 79: 2, 84: 3, 89: 4, 94: 4, 100: 5}
	for i, b := range after.GetBucket() {
		n := b.GetCumulativeCount() - before.GetBucket()[i].GetCumulativeCount()
		if w, ok := want[b.GetUpperBound()]; ok && n != w {
			t.Errorf("up to %v there are %d, want %d", b.GetUpperBound(), n, w)
		}
	}
	if n := testing.AllocsPerRun(100, func() { CountScore(50) }); n != 0 {
		t.Errorf("counting allocates %v times", n)
	}
}
