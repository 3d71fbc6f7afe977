package feed

import (
	"cmp"
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/iplist"
)

// Entry is one entry of a pushed list.
type Entry struct {
	// ID is what whoever pushes knows the entry by, below 1<<56. Entries of several IDs may name the same addresses,
	// which are listed until the last of them is gone.
	ID uint64

	// Prefix is what is listed. Host bits are ignored.
	Prefix netip.Prefix

	// Until is when the entry ends by itself. The zero time never comes.
	Until time.Time
}

// Changes is what a pushed list gains and loses.
type Changes struct {
	// Deleted are entries that are gone. Unknown and repeated ones are no mistake. They go before Added come, so that an
	// ID in both stays.
	Deleted []uint64

	// Added are new entries, and those that have changed. Of several with the same ID the last counts.
	Added []Entry
}

// The entries of a pushed list have no pointers: 16 bytes for IPv4, 32 for IPv6. key is the ID (56) and the length of
// the prefix (8), until is in seconds since 1970.
type (
	entry4 struct {
		key         uint64
		addr, until uint32
	}
	entry6 struct {
		key    uint64
		hi, lo uint64
		until  uint32
	}
	packed interface {
		entry4 | entry6
		id() uint64
		end() uint32
		entry() Entry
	}
)

const (
	maxID = 1<<56 - 1

	// never is the end of an entry that has none.
	never = math.MaxUint32
)

func (e entry4) id() uint64  { return e.key >> 8 }
func (e entry6) id() uint64  { return e.key >> 8 }
func (e entry4) end() uint32 { return e.until }
func (e entry6) end() uint32 { return e.until }

func (e entry4) entry() Entry {
	addr := netip.AddrFrom4([4]byte{byte(e.addr >> 24), byte(e.addr >> 16), byte(e.addr >> 8), byte(e.addr)})
	return Entry{e.id(), netip.PrefixFrom(addr, int(e.key&0xff)), timeOf(e.until)}
}

func (e entry6) entry() Entry {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], e.hi)
	binary.BigEndian.PutUint64(b[8:], e.lo)
	return Entry{e.id(), netip.PrefixFrom(netip.AddrFrom16(b), int(e.key&0xff)), timeOf(e.until)}
}

// seconds packs the end of an entry, timeOf unpacks it. One that has ended is before any now.
func seconds(until time.Time) uint32 {
	if until.IsZero() {
		return never
	}
	return uint32(min(max(until.Unix(), 0), never))
}

func timeOf(until uint32) time.Time {
	if until == never {
		return time.Time{}
	}
	return time.Unix(int64(until), 0)
}

// entries are all of a pushed list, ascending by ID. They are immutable: a change makes others.
type entries struct {
	v4 []entry4
	v6 []entry6
}

func (e *entries) count() int { return len(e.v4) + len(e.v6) }

// add appends an entry, whose prefix is masked and not IPv4-mapped, out of order. sort follows.
func (e *entries) add(n Entry) {
	key := n.ID<<8 | uint64(n.Prefix.Bits())
	if addr := n.Prefix.Addr(); addr.Is4() {
		b := addr.As4()
		e.v4 = append(e.v4, entry4{key, binary.BigEndian.Uint32(b[:]), seconds(n.Until)})
	} else {
		b := addr.As16()
		e.v6 = append(e.v6, entry6{key, binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:]), seconds(n.Until)})
	}
}

// sort brings added entries into order. Of several with the same ID the last stays, or one of each address family.
func (e *entries) sort() {
	e.v4, e.v6 = sorted(e.v4), sorted(e.v6)
}

func sorted[E packed](list []E) []E {
	byID := func(a, b E) int { return cmp.Compare(a.id(), b.id()) }
	if !slices.IsSortedFunc(list, byID) {
		slices.SortStableFunc(list, byID)
	}
	kept := list[:0]
	for i, e := range list {
		if i+1 == len(list) || list[i+1].id() != e.id() {
			kept = append(kept, e)
		}
	}
	return kept
}

// changed returns the entries without the IDs, which are sorted, with added, which are in order.
func (e *entries) changed(without []uint64, added *entries) entries {
	return entries{merged(e.v4, without, added.v4), merged(e.v6, without, added.v6)}
}

func merged[E packed](old []E, without []uint64, added []E) []E {
	all := make([]E, 0, len(old)+len(added))
	for _, e := range old {
		for len(without) > 0 && without[0] < e.id() {
			without = without[1:]
		}
		for len(added) > 0 && added[0].id() < e.id() {
			all, added = append(all, added[0]), added[1:]
		}
		if len(without) == 0 || without[0] != e.id() {
			all = append(all, e)
		}
	}
	return append(all, added...)
}

// current returns the entries that have not ended, and when the next of them ends.
func (e *entries) current(now time.Time) (left entries, next uint32) {
	v4, next4 := current(e.v4, seconds(now))
	v6, next6 := current(e.v6, seconds(now))
	return entries{v4, v6}, min(next4, next6)
}

func current[E packed](list []E, now uint32) (left []E, next uint32) {
	next = never
	ended := 0
	for _, e := range list {
		if e.end() <= now {
			ended++
		} else {
			next = min(next, e.end())
		}
	}
	if ended == 0 {
		return list, next
	}
	left = make([]E, 0, len(list)-ended)
	for _, e := range list {
		if e.end() > now {
			left = append(left, e)
		}
	}
	return left, next
}

// ranges returns the addresses that the entries cover.
func (e *entries) ranges() iplist.Ranges {
	prefixes := make([]netip.Prefix, 0, e.count())
	for i := range e.v4 {
		prefixes = append(prefixes, e.v4[i].entry().Prefix)
	}
	for i := range e.v6 {
		prefixes = append(prefixes, e.v6[i].entry().Prefix)
	}
	return iplist.NewRanges(prefixes)
}
