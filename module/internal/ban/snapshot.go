package ban

import (
	"net/netip"
	"slices"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/iplist"
)

// snapshot is the entries in force at one moment.
type snapshot struct {
	entries entries
	index   *iplist.Index // the exemptions and the bans, in this order
	by      [NumBy]int    // the number of bans
}

const exemptionList = 0

// next returns the snapshot of live. It reuses the index of now, which may be nil, if the prefixes
// are the same: building an index is most of the work.
func (now *snapshot) next(live entries) *snapshot {
	var by [NumBy]int
	for i := range *live.of(Ban) {
		by[(*live.of(Ban))[i].Cause.By]++
	}
	if now != nil && samePrefixes(now.entries, live) {
		return &snapshot{live, now.index, by}
	}
	ranges := func(kind Kind) iplist.Ranges {
		list := *live.of(kind)
		prefixes := make([]netip.Prefix, len(list))
		for i, e := range list {
			prefixes[i] = e.Prefix
		}
		return iplist.NewRanges(prefixes)
	}
	return &snapshot{live, iplist.Build([]iplist.Ranges{exemptionList: ranges(Exemption), ranges(Ban)}), by}
}

func samePrefixes(a, b entries) bool {
	same := func(a, b stored) bool { return a.Prefix == b.Prefix }
	return slices.EqualFunc(a[0], b[0], same) && slices.EqualFunc(a[1], b[1], same)
}
