package lists

import (
	"slices"
	"sync"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup/listing"
)

// overlaps remembers what lists had in common in one snapshot.
type overlaps struct {
	mu       sync.Mutex
	snapshot *feed.Snapshot
	found    [][]health.Overlap
}

// Overlaps returns, by position, what feeds and deny lists have in common with lists of those that they should not
// name: who is exempt, and verified bots. It looks once for each snapshot. It is nil when no configuration uses the
// lists any more.
func (l *Lists) Overlaps() [][]health.Overlap {
	set := l.set.Load()
	if set == nil {
		return nil
	}
	snapshot := set.Current()
	o := &l.overlaps
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.snapshot != snapshot {
		o.snapshot, o.found = snapshot, l.findOverlaps(snapshot)
	}
	return o.found
}

func (l *Lists) findOverlaps(snapshot *feed.Snapshot) [][]health.Overlap {
	found := make([][]health.Overlap, len(snapshot.Lists))
	if !slices.ContainsFunc(l.Meanings, isGood) {
		return found
	}
	members := snapshot.Index.Lists()
	for i := range snapshot.Lists {
		if isGood(l.Meanings[i]) {
			continue
		}
		for j, other := range snapshot.Lists {
			if !isGood(l.Meanings[j]) {
				continue
			}
			prefixes := 0
			for member := range members {
				if list, _ := snapshot.ListOf(member); list == i { // a list may have parts
					prefixes += members[member].Overlap(members[j])
				}
			}
			if prefixes > 0 {
				found[i] = append(found[i], health.Overlap{List: other.Name, Prefixes: prefixes})
			}
		}
	}
	return found
}

// isGood reports whether a list names addresses that others should not speak against.
func isGood(l listing.List) bool { return l.Kind != listing.Feed && l.Kind != listing.Deny }
