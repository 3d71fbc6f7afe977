package lookup

import (
	"cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
)

// Repeats finds feeds that repeat another one: one URL under two names, or a list that two publishers
// distribute. It returns for each list the index of the feed that counts in its place, or -1. Of feeds
// with the same content, the one with the most points counts.
func Repeats(meanings []List, content func(list int) string) []int {
	repeats := make([]int, len(meanings))
	counts := make(map[string]int) // the feed that counts, by content
	for i := range meanings {
		repeats[i] = -1
		c := content(i)
		if meanings[i].Kind != Feed || c == "" {
			continue
		}
		best, known := counts[c]
		if !known || meanings[i].evidence(false).Points() > meanings[best].evidence(false).Points() {
			counts[c] = i
		}
	}
	for i := range meanings {
		if best, known := counts[content(i)]; known && meanings[i].Kind == Feed && best != i {
			repeats[i] = best
		}
	}
	return repeats
}

// evidence is what it means for an address to be on the list. A list that repeats another is shown with
// no points: it is no second witness.
func (l *List) evidence(repeats bool) score.Evidence {
	source := &l.Source
	if repeats {
		silent := l.Source
		silent.Trust = 0
		source = &silent
	}
	return score.Evidence{
		Source: source, Severity: cmp.Or(l.Severity, 1), Confidence: l.Confidence, Categories: l.Categories, Listed: true,
	}
}

// addEvidence adds what it means for an address to be on the list. Parts of one list are one witness.
func (l *List) addEvidence(all []score.Evidence, repeats bool) []score.Evidence {
	e := l.evidence(repeats)
	if l.Part {
		for i := range all {
			if all[i].Source.Name == e.Source.Name {
				all[i].Severity = max(all[i].Severity, e.Severity)
				all[i].Categories |= e.Categories
				return all
			}
		}
	}
	return append(all, e)
}
