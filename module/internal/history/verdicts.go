package history

import (
	"hash/maphash"
	"math"
	"net/netip"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	// moved is how far a score must be from the one that was last recorded to be recorded again.
	moved = 5

	// maxEvidence is how many sources of a verdict are recorded.
	maxEvidence = 32

	// maxKnown is of how many subjects the last verdict is remembered at least. Of those that are forgotten, and after a
	// restart, the first verdict with a score that is not low is recorded again.
	maxKnown = 65_536
)

// verdicts remembers what was last recorded of subjects. Nothing is recorded of those whose score never rose: that is most, and
// what decisions hold of them suffices.
type verdicts struct {
	seed  maphash.Seed
	known generations[compact, known]
}

type known struct {
	evidence uint64 // a hash of the sources and what they say; 0: none
	score    uint8
}

func newVerdicts(most int) *verdicts {
	return &verdicts{seed: maphash.MakeSeed(), known: newGenerations[compact, known](most)}
}

// changed reports whether a verdict must be recorded, and then takes it for recorded.
func (v *verdicts) changed(subject netip.Prefix, verdict *reputation.Verdict) bool {
	k := compacted(subject)
	last, ok := v.known.get(k)
	now := known{v.evidence(verdict.Reasons), verdict.Score}
	far := max(now.score, last.score)-min(now.score, last.score) >= moved // whom nobody knows has 0
	if now.evidence == last.evidence && !far {
		return false
	}
	if !ok && now.score < moved {
		return false
	}
	v.known.put(k, now)
	return true
}

// evidence is a hash of the sources that count and their categories, whatever their order.
func (v *verdicts) evidence(reasons []reputation.Reason) (sum uint64) {
	for i := range reasons {
		if reasons[i].Points != 0 {
			h := maphash.String(v.seed, reasons[i].Source) ^ uint64(reasons[i].Categories)
			h *= 0x9e3779b97f4a7c15 // spreads the categories, so that no two sources' make up for each other
			sum += h ^ h>>32
		}
	}
	return sum
}

// changeOf returns the change that an event shows.
func changeOf(e *Event, at time.Time, subject netip.Prefix, requestID, config string) Change {
	v := &e.Verdict
	c := Change{
		At: at, Subject: subject, Score: v.Score, Status: v.Status.String(), Coverage: Finite(v.Coverage),
		Categories: words(v.Categories), Country: plain(v.Facts.Country, 8), ASN: v.Facts.ASN,
		Evidence: make([]Evidence, 0, min(len(v.Reasons), maxEvidence)), RequestID: requestID, Config: config,
	}
	for _, r := range v.Reasons[:min(len(v.Reasons), maxEvidence)] {
		c.Evidence = append(c.Evidence, Evidence{
			Source: plain(r.Source, maxText), Points: Finite(r.Points), Categories: words(r.Categories), Age: int64(r.Age / time.Second),
			Severity: Finite(r.Severity), Confidence: Finite(r.Confidence),
		})
	}
	return c
}

// Finite returns f, or 0 where f is none of the numbers that JSON has.
func Finite[F float32 | float64](f F) F {
	if f := float64(f); math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return f
}
