package recorder

import (
	"net/netip"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// DefaultRows is the default of Settings.Rows.
const DefaultRows = 20_000

// fold decides whom a row speaks for, so that outsiders cannot create unlimited rows: a subject, its
// network, or everybody.
type fold struct {
	tally    *tally
	subjects distinct // by network
	hosts    distinct // by stored prefix
	minute   int64
	rows     int // that were added in the minute
}

func newFold(t *tally, subjects int) fold {
	return fold{tally: t, subjects: newDistinct(subjects), hosts: newDistinct(maxHosts)}
}

// add counts a row of a minute.
func (f *fold) add(minute int64) {
	f.at(minute)
	f.rows++
}

// at begins a new minute. Requests of the minute before may come late.
func (f *fold) at(minute int64) {
	if minute > f.minute || minute < f.minute-1 {
		f.minute, f.rows = minute, 0
	}
}

// full reports whether no further row of a minute may be about one subject or network. Requests that
// pass and have no score make room first.
func (f *fold) full(e *sample, minute int64, limit int) bool {
	if e.Action == reputation.Pass && !e.Verdict.Scored {
		limit /= 2
	}
	return f.fullAt(minute, limit)
}

// fullAt reports whether a minute has so many rows.
func (f *fold) fullAt(minute int64, limit int) bool {
	f.at(minute)
	if f.rows < limit {
		return false
	}
	if f.tally.logged.Allow("rows", time.Now()) {
		f.tally.log.Warn("the history counts further clients of this minute together: they need more rows than it may have",
			"rows", f.rows, "cure", "find out who they are, or allow more with max_rows")
	}
	return true
}

// widened returns the stored prefix that speaks for the whole network of a subject. All pseudonyms
// are in one /64, which does not tell the network.
func widened(stored, subject netip.Prefix) netip.Prefix {
	switch wide := reputation.Network(subject.Addr()); {
	case !stored.Overlaps(subject):
		return netip.PrefixFrom(stored.Addr(), min(stored.Bits(), 64)).Masked()
	case wide.Bits() < stored.Bits():
		return wide
	}
	return stored
}

// everybody returns the prefix that speaks for all addresses.
func everybody(stored netip.Prefix) netip.Prefix { return netip.PrefixFrom(stored.Addr(), 0).Masked() }
