package history

import (
	"hash/maphash"
	"math"
	"net/netip"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	// minScoreChange is how much a score must differ from the one recorded last to be recorded.
	minScoreChange = 5

	// maxEvidence is how many sources of a verdict are recorded.
	maxEvidence = 32

	// maxKnown is for how many subjects, at least, the last recorded verdict is remembered. For
	// others, and after a restart, the first verdict whose score is not low is recorded again.
	maxKnown = 65_536
)

// verdicts remembers the verdict recorded last for each subject. A subject is recorded when its score
// first reaches minScoreChange. The majority never does, and decisions contain enough about those.
type verdicts struct {
	seed  maphash.Seed
	known generations[prefixKey, lastVerdict]
}

type lastVerdict struct {
	evidence uint64 // a hash of the sources and their categories; 0: none
	score    uint8
}

func newVerdicts(most int) *verdicts {
	return &verdicts{seed: maphash.MakeSeed(), known: newGenerations[prefixKey, lastVerdict](most)}
}

// changed reports whether a verdict must be recorded, and remembers it as recorded.
func (v *verdicts) changed(subject netip.Prefix, verdict *reputation.Verdict) bool {
	k := prefixKeyOf(subject)
	last, ok := v.known.get(k)
	now := lastVerdict{v.evidence(verdict.Reasons), verdict.Score}
	far := max(now.score, last.score)-min(now.score, last.score) >= minScoreChange // an unknown subject has score 0
	if now.evidence == last.evidence && !far {
		return false
	}
	if !ok && now.score < minScoreChange {
		return false
	}
	v.known.put(k, now)
	return true
}

// evidence hashes the sources with points and their categories, independent of their order.
func (v *verdicts) evidence(reasons []reputation.Reason) (sum uint64) {
	for i := range reasons {
		if reasons[i].Points != 0 {
			h := maphash.String(v.seed, reasons[i].Source) ^ uint64(reasons[i].Categories)
			h *= 0x9e3779b97f4a7c15 // spreads the bits, so that two sources do not cancel each other out
			sum += h ^ h>>32
		}
	}
	return sum
}

// changeOf returns the verdict of an event as a change.
func changeOf(e *Event, at time.Time, subject netip.Prefix, requestID, config string) Change {
	v := &e.Verdict
	c := Change{
		At: at, Subject: subject, Score: v.Score, Status: v.Status.String(), Coverage: Finite(v.Coverage),
		Categories: categoryNames(v.Categories), Country: plain(v.Facts.Country, 8), ASN: v.Facts.ASN,
		Evidence: make([]Evidence, 0, min(len(v.Reasons), maxEvidence)), RequestID: requestID, Config: config,
	}
	for _, r := range v.Reasons[:min(len(v.Reasons), maxEvidence)] {
		c.Evidence = append(c.Evidence, Evidence{
			Source: plain(r.Source, maxText), Points: Finite(r.Points),
			Categories: categoryNames(r.Categories), Age: int64(r.Age / time.Second),
			Severity: Finite(r.Severity), Confidence: Finite(r.Confidence),
		})
	}
	return c
}

// Finite returns f, or 0 for NaN and infinities, which JSON lacks.
func Finite[F float32 | float64](f F) F {
	if f := float64(f); math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return f
}
