package score

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// drawSource draws a source. Names and groups are few, so that groups and ties occur.
func drawSource(t *rapid.T) *Source {
	return &Source{
		Name:       rapid.SampledFrom([]string{"a", "b", "c", "lists"}).Draw(t, "name"),
		Group:      rapid.SampledFrom([]string{"", "", "lists", "spamhaus"}).Draw(t, "group"),
		Trust:      rapid.Float64Range(0, 1).Draw(t, "trust"),
		Weight:     float64(rapid.IntRange(0, 60).Draw(t, "weight")),
		GoodWeight: float64(rapid.IntRange(0, 60).Draw(t, "good weight")),
		SelfAged:   rapid.Bool().Draw(t, "self-aged"),
		Current:    rapid.Bool().Draw(t, "current"),
	}
}

func drawEvidence(t *rapid.T) Evidence {
	return Evidence{
		Source:     drawSource(t),
		Severity:   float64(rapid.IntRange(-100, 100).Draw(t, "severity")) / 100,
		Confidence: float64(rapid.IntRange(0, 100).Draw(t, "confidence")) / 100,
		Categories: reputation.Categories(rapid.Uint32Range(0, 1<<19-1).Draw(t, "categories")),
		Age:        time.Duration(rapid.Int64Range(0, int64(30*day)).Draw(t, "age")),
		Seen:       time.Duration(rapid.Int64Range(0, int64(90*day)).Draw(t, "seen")),
		Listed:     rapid.Bool().Draw(t, "listed"),
		Network:    rapid.Bool().Draw(t, "network"),
	}
}

func drawAll(t *rapid.T) []Evidence {
	return rapid.SliceOfN(rapid.Custom(drawEvidence), 0, stackMost+4).Draw(t, "evidence")
}

func TestMoreBadEvidenceNeverLowers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		evidence := drawAll(t)
		before := percentOf(t, evidence...)
		more := drawEvidence(t)
		more.Severity = math.Abs(more.Severity)
		evidence = append(evidence, more)
		added := percentOf(t, evidence...)
		if added < before {
			t.Fatalf("%+v lowers %v to %v", more, before, added)
		}
		worse := &evidence[rapid.IntRange(0, len(evidence)-1).Draw(t, "which")]
		worse.Severity = rapid.Float64Range(worse.Severity, 1).Draw(t, "worse")
		if got := percentOf(t, evidence...); got < added {
			t.Fatalf("a higher severity lowers %v to %v", added, got)
		}
	})
}

func TestMoreConfidenceInBadEvidenceNeverLowers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		evidence := append(drawAll(t), drawEvidence(t))
		surer := &evidence[len(evidence)-1]
		surer.Severity = math.Abs(surer.Severity)
		before := percentOf(t, evidence...)
		surer.Confidence = rapid.Float64Range(surer.Confidence, 1).Draw(t, "surer")
		if got := percentOf(t, evidence...); got < before {
			t.Fatalf("more confidence lowers %v to %v", before, got)
		}
	})
}

func TestMoreGoodEvidenceNeverRaises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		evidence := drawAll(t)
		before := percentOf(t, evidence...)
		more := drawEvidence(t)
		more.Severity = -math.Abs(more.Severity)
		if got := percentOf(t, append(evidence, more)...); got > before {
			t.Fatalf("%+v raises %v to %v", more, before, got)
		}
	})
}

func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		evidence := drawAll(t)
		percent, reasons := Judge(evidence, nil)
		other, otherReasons := Judge(rapid.Permutation(evidence).Draw(t, "other order"), nil)
		if percent != other {
			t.Fatalf("%v in one order, %v in another", percent, other)
		}
		if diff := cmp.Diff(reasons, otherReasons); diff != "" {
			t.Fatalf("the reasons depend on the order:\n%s", diff)
		}
		for i := 1; i < len(reasons); i++ {
			if math.Abs(reasons[i].Points) > math.Abs(reasons[i-1].Points) {
				t.Fatalf("reason %d is stronger than the one before: %v", i, reasons)
			}
		}
	})
}

func TestRepetitionInAGroupAddsAQuarterAtMost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		evidence := append(drawAll(t), drawEvidence(t))
		_, once := Judge(evidence, nil)
		repeated := evidence[len(evidence)-1]
		_, twice := Judge(append(evidence, repeated), nil)
		added := math.Abs(sumOf(twice) - sumOf(once))
		if most := math.Abs(repeated.Points()) / 4; added > most+1e-9 {
			t.Fatalf("repeating %v points adds %v, more than %v", repeated.Points(), added, most)
		}
	})
}

// TestAGroupAddsHalfOfItsStrongestAtMost proves that no number of sources that copy each other outweighs one
// that is half as strong again as the strongest of them.
func TestAGroupAddsHalfOfItsStrongestAtMost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sign := rapid.SampledFrom([]float64{-1, 1}).Draw(t, "sign")
		evidence := rapid.SliceOfN(rapid.Custom(drawEvidence), 1, 4*stackMost).Draw(t, "evidence")
		strongest := 0.0
		for i := range evidence {
			evidence[i].Source.Group = "one"
			evidence[i].Severity = math.Copysign(evidence[i].Severity, sign)
			strongest = max(strongest, math.Abs(evidence[i].Points()))
		}
		_, reasons := Judge(evidence, nil)
		if got := math.Abs(sumOf(reasons) - Prior); got < strongest-1e-9 || got > 1.5*strongest+1e-9 {
			t.Fatalf("%d sources of one group, the strongest with %v points, give %v", len(evidence), strongest, got)
		}
	})
}

func TestASourceThatSaysNothingAddsNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		evidence := drawAll(t)
		percent, reasons := Judge(evidence, nil)
		silent := drawEvidence(t)
		silent.Severity = 0
		got, gotReasons := Judge(append(evidence, silent, Evidence{Severity: 1, Confidence: 1}), nil)
		if got != percent || !cmp.Equal(reasons, gotReasons) {
			t.Fatalf("%v became %v:\n%s", percent, got, cmp.Diff(reasons, gotReasons))
		}
	})
}

func TestDecayIsMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawEvidence(t)
		younger := math.Abs(e.Points())
		e.Age += time.Duration(rapid.Int64Range(0, int64(30*day)).Draw(t, "longer ago"))
		e.Seen += time.Duration(rapid.Int64Range(0, int64(30*day)).Draw(t, "seen longer ago"))
		if older := math.Abs(e.Points()); older > younger {
			t.Fatalf("%v points became %v with age", younger, older)
		}
	})
}

func TestNoInputLeavesTheRange(t *testing.T) {
	number := rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{
		math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, 0, 1, -1,
	}))
	rapid.Check(t, func(t *rapid.T) {
		evidence := make([]Evidence, rapid.IntRange(0, 3*stackMost).Draw(t, "n"))
		for i := range evidence {
			evidence[i] = Evidence{
				Source: &Source{
					Name:  fmt.Sprint(i % 5),
					Group: rapid.SampledFrom([]string{"", "g"}).Draw(t, "group"),
					Trust: number.Draw(t, "trust"), Weight: number.Draw(t, "weight"), GoodWeight: number.Draw(t, "good weight"),
				},
				Severity: number.Draw(t, "severity"), Confidence: number.Draw(t, "confidence"),
				Age: time.Duration(rapid.Int64().Draw(t, "age")), Seen: time.Duration(rapid.Int64().Draw(t, "seen")),
			}
		}
		percent, reasons := Judge(evidence, nil)
		if !(percent >= 0 && percent <= 100) {
			t.Fatalf("Judge() = %v", percent)
		}
		for _, r := range reasons {
			if !(math.Abs(r.Points) <= maxWeight) || r.Age < 0 {
				t.Fatalf("reason %+v", r)
			}
		}
	})
}

// TestJudgeAgreesWithTheFormula holds Judge against the formula of the documentation, written down plainly.
func TestJudgeAgreesWithTheFormula(t *testing.T) {
	type side struct {
		group string
		good  bool
	}
	rapid.Check(t, func(t *rapid.T) {
		evidence := drawAll(t)
		groups := map[side][]float64{}
		for _, e := range evidence {
			p := e.Points()
			group := e.Source.Group
			if group == "" {
				group = e.Source.Name
			}
			groups[side{group, p < 0}] = append(groups[side{group, p < 0}], math.Abs(p))
		}
		sum := Prior
		for of, points := range groups {
			slices.Sort(points)
			slices.Reverse(points)
			rest := 0.0
			for _, p := range points[1:] {
				rest += math.Trunc(math.Round(p*1000)/4) / 1000
			}
			share := points[0] + min(rest, math.Trunc(math.Round(points[0]*1000)/2)/1000)
			switch {
			case !of.good:
				sum += share
			default:
				sum -= share
			}
		}
		if got := percentOf(t, evidence...); !near(got, percentAt(sum)) {
			t.Fatalf("Judge() = %v, the formula gives %v", got, percentAt(sum))
		}
	})
}
