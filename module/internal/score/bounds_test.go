package score

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// drawMissing draws sources that have not reported.
func drawMissing(t *rapid.T) []*Source {
	return rapid.SliceOfN(rapid.Custom(drawSource), 0, stackFew).Draw(t, "missing")
}

// TestBoundsHold proves that no report of a missing source leads out of the bounds.
func TestBoundsHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		known, missing := drawAll(t), drawMissing(t)
		low, high := Bounds(known, missing)
		evidence := known
		for _, s := range missing {
			if rapid.Bool().Draw(t, "answers") {
				e := drawEvidence(t)
				e.Source = s
				evidence = append(evidence, e)
			}
		}
		if got := percentOf(t, evidence...); got < low || got > high {
			t.Fatalf("%v is outside of %v to %v", got, low, high)
		}
	})
}

// TestBoundsAreReached proves that the bounds are no wider than what can come true.
func TestBoundsAreReached(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		known, missing := drawAll(t), drawMissing(t)
		low, high := Bounds(known, missing)
		at := func(severity float64) float64 {
			evidence := known[:len(known):len(known)]
			for _, s := range missing {
				evidence = append(evidence, Evidence{Source: s, Severity: severity, Confidence: 1})
			}
			return percentOf(t, evidence...)
		}
		if best, worst := at(-1), at(1); best != low || worst != high {
			t.Fatalf("from %v to %v, want %v to %v", low, high, best, worst)
		}
	})
}

func TestBoundsOf(t *testing.T) {
	missing := func(names ...string) (list []*Source) {
		for _, name := range names {
			s := sourceOf(name)
			list = append(list, &s)
		}
		return list
	}
	for _, c := range []struct {
		name      string
		known     []Evidence
		missing   []*Source
		low, high uint8
	}{
		{"nothing is known or missing", nil, nil, 1, 1},
		{"nothing is known", nil, missing("abuseipdb"), 0, 94},
		{"a service of few points, after a clean one", []Evidence{neverReported}, missing("virustotal"), 0, 61},
		{"a network of criminals, abuseipdb missing", []Evidence{drop}, missing("abuseipdb"), 87, 100},
		{"a network of criminals, greynoise missing", []Evidence{drop}, missing("greynoise"), 0, 100},
		{"a source repeats its group", []Evidence{says("zen", 1, .9)}, missing("dqs"), 43, 83},
		{"nobody can say more", []Evidence{benign, neverReported}, missing("dronebl"), 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			low, high := Bounds(c.known, c.missing)
			if Round(low) != c.low || Round(high) != c.high {
				t.Errorf("from %d to %d, want %d to %d", Round(low), Round(high), c.low, c.high)
			}
		})
	}
}

// missingSources are n sources in groups of their own.
func missingSources(n int) (list []*Source) {
	for i := range n {
		list = append(list, &Source{Name: fmt.Sprint("m", i), Trust: 1, Weight: 24, GoodWeight: 4})
	}
	return list
}

func TestBoundsDoNotAllocate(t *testing.T) {
	for n := range stackMost - 4 {
		known, missing := warm(n), missingSources(4)
		if got := testing.AllocsPerRun(100, func() { Bounds(known, missing) }); got != 0 {
			t.Errorf("%v allocations with %d known", got, n)
		}
	}
}

func BenchmarkBounds(b *testing.B) {
	for _, n := range []int{0, 1, 4, 16, 32} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			known, missing := warm(n), missingSources(2)
			b.ReportAllocs()
			for b.Loop() {
				Bounds(known, missing)
			}
		})
	}
}
