package recorder

import (
	"hash/maphash"
	"net/netip"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	// minScoreChange is how much a score must differ from the one recorded last to be recorded.
	minScoreChange = 5

	// maxEvidence is how many sources of a verdict are recorded.
	maxEvidence = 32

	// maxKnown is for how many subjects the last recorded verdict is remembered. For others, and
	// after a restart, the first verdict whose score is not low is recorded again.
	maxKnown = 131_072

	// wayCount is how many subjects share a part of the table.
	wayCount = 8
)

// verdicts remembers the verdict recorded last for each subject, in a table of fixed size. A subject
// is recorded when its score first reaches minScoreChange. The majority never does, and decisions
// contain enough about those.
//
// A subject is recorded once a minute at most. A change that comes too soon is recorded when a
// request of a later minute still shows it. An entry therefore stays for the minute in which it was
// recorded, and a subject that finds no place waits likewise.
type verdicts struct {
	seed maphash.Seed
	ways [][wayCount]lastVerdict
}

type lastVerdict struct {
	subject  uint64 // a hash; 0: free
	evidence uint64 // a hash of the sources and their categories; 0: none
	recorded uint32 // minutes since 1970
	seen     uint32
	score    uint8
}

func newVerdicts(most int) *verdicts {
	return &verdicts{maphash.MakeSeed(), make([][wayCount]lastVerdict, max(most/wayCount, 1))}
}

// changed reports whether a verdict must be recorded, and remembers it as recorded. evidence is the
// hash of its reasons.
func (v *verdicts) changed(subject netip.Prefix, verdict *reputation.Verdict, evidence uint64, minute int64) bool {
	k := prefixKeyOf(subject)
	hash := max(maphash.Bytes(v.seed, k[:]), 1)
	now := lastVerdict{hash, evidence, uint32(minute), uint32(minute), verdict.Score}
	way := &v.ways[hash%uint64(len(v.ways))]
	place := -1
	for i := range way {
		switch last := &way[i]; {
		case last.subject == hash:
			last.seen = now.seen
			same := now.evidence == last.evidence && apart(now.score, last.score) < minScoreChange
			if same || last.recorded == now.recorded {
				return false
			}
			*last = now
			return true
		case last.subject != 0 && last.recorded == now.recorded: // stays
		case place < 0 || last.seen < way[place].seen:
			place = i
		}
	}
	if now.score < minScoreChange || place < 0 {
		return false
	}
	way[place] = now
	return true
}

// evidenceOf hashes the sources with points and their categories, independent of their order.
func evidenceOf(seed maphash.Seed, reasons []reputation.Reason) (sum uint64) {
	for i := range reasons {
		if reasons[i].Points != 0 {
			h := maphash.String(seed, reasons[i].Source) ^ uint64(reasons[i].Categories)
			if reasons[i].Network {
				h++ // the source's own word about the address is another one
			}
			h *= 0x9e3779b97f4a7c15 // spreads the bits, so that two sources do not cancel each other out
			sum += h ^ h>>32
		}
	}
	return sum
}

// changeOf returns the verdict of an event as a change.
func changeOf(e *history.Event, at time.Time, subject netip.Prefix, requestID, config string) history.Change {
	v := &e.Verdict
	c := history.Change{
		At: at, Subject: subject, Score: v.Score, Status: v.Status.String(), Coverage: history.Finite(v.Coverage),
		Categories: categoryNames(v.Categories), Country: plain(v.Facts.Country, 8), ASN: v.Facts.ASN,
		Evidence: make([]history.Evidence, 0, min(len(v.Reasons), maxEvidence)), RequestID: requestID, Config: config,
	}
	for _, r := range v.Reasons[:min(len(v.Reasons), maxEvidence)] {
		c.Evidence = append(c.Evidence, history.Evidence{
			Source: plain(r.Source, maxText), Points: history.Finite(r.Points),
			Categories: categoryNames(r.Categories), Age: int64(r.Age / time.Second),
			Severity: history.Finite(r.Severity), Confidence: history.Finite(r.Confidence), Network: r.Network,
		})
	}
	return c
}
