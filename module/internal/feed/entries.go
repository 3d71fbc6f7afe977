package feed

import (
	"cmp"
	"encoding/binary"
	"iter"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/iplist"
)

// Entry is one entry of a pushed list: addresses, an autonomous system or a country.
type Entry struct {
	// ID identifies the entry at its source. It is below 1<<48. Several entries may name the
	// same: it is listed until the last of the entries is gone.
	ID uint64

	// Part is the part of the list that the entry belongs to: see Spec.Parts.
	Part uint8

	// Prefix, ASN or Country is what is listed: exactly one of them is set. Host bits of a prefix are
	// ignored. A country is an ISO 3166-1 alpha-2 code in upper case. See Snapshot.Named.
	Prefix  netip.Prefix
	ASN     uint32
	Country [2]byte

	// Until is when the entry expires. With the zero time it never does.
	Until time.Time
}

// Changes are the entries that a pushed list gains and loses.
type Changes struct {
	// Deleted are the IDs of removed entries. They may be unknown or repeated. They are removed
	// before Added are added, so that an ID in both stays.
	Deleted []uint64

	// Added are new and changed entries. Of several with the same ID, the last one counts.
	Added []Entry

	// LeftOut is how many new entries the source has left out, as with ErrLeftOut, and why the first.
	LeftOut      int
	FirstLeftOut error
}

// The entries of a pushed list have no pointers: 16 bytes for IPv4 and for a name, 32 for IPv6. key is
// the ID (48), the part (8) and the length of the prefix (8), until is in seconds since 1970. The key
// of a name has isASN or isCountry instead of the length.
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
	entryName struct {
		key          uint64
		value, until uint32
	}
	packed interface {
		entry4 | entry6 | entryName
		id() uint64
		part() uint8
		end() uint32
		entry() Entry
	}
)

const (
	maxID = 1<<48 - 1

	// never is the expiry of an entry that never expires.
	never = math.MaxUint32

	isASN, isCountry = 0, 1
)

func (e entry4) id() uint64     { return e.key >> 16 }
func (e entry6) id() uint64     { return e.key >> 16 }
func (e entryName) id() uint64  { return e.key >> 16 }
func (e entry4) part() uint8    { return uint8(e.key >> 8) }
func (e entry6) part() uint8    { return uint8(e.key >> 8) }
func (e entryName) part() uint8 { return uint8(e.key >> 8) }
func (e entry4) end() uint32    { return e.until }
func (e entry6) end() uint32    { return e.until }
func (e entryName) end() uint32 { return e.until }

func (e entry4) entry() Entry {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], e.addr)
	prefix := netip.PrefixFrom(netip.AddrFrom4(b), int(e.key&0xff))
	return Entry{ID: e.id(), Part: e.part(), Prefix: prefix, Until: timeOf(e.until)}
}

func (e entry6) entry() Entry {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], e.hi)
	binary.BigEndian.PutUint64(b[8:], e.lo)
	prefix := netip.PrefixFrom(netip.AddrFrom16(b), int(e.key&0xff))
	return Entry{ID: e.id(), Part: e.part(), Prefix: prefix, Until: timeOf(e.until)}
}

func (e entryName) entry() Entry {
	n := Entry{ID: e.id(), Part: e.part(), Until: timeOf(e.until)}
	if e.key&0xff == isCountry {
		n.Country = [2]byte{byte(e.value >> 8), byte(e.value)}
	} else {
		n.ASN = e.value
	}
	return n
}

// seconds packs the expiry of an entry, timeOf unpacks it.
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

// entries are all entries of a pushed list, ascending by ID. They are
// immutable: a change makes new ones.
type entries struct {
	v4    []entry4
	v6    []entry6
	named []entryName
}

func (e *entries) count() int { return len(e.v4) + len(e.v6) + len(e.named) }

// add appends an entry that normal has returned. Call sort after adding.
func (e *entries) add(n Entry) {
	key, until := n.ID<<16|uint64(n.Part)<<8, seconds(n.Until)
	switch addr := n.Prefix.Addr(); {
	case n.ASN != 0:
		e.named = append(e.named, entryName{key | isASN, n.ASN, until})
	case n.Country != [2]byte{}:
		code := uint32(binary.BigEndian.Uint16(n.Country[:]))
		e.named = append(e.named, entryName{key | isCountry, code, until})
	case addr.Is4():
		b := addr.As4()
		key |= uint64(n.Prefix.Bits())
		e.v4 = append(e.v4, entry4{key, binary.BigEndian.Uint32(b[:]), until})
	default:
		b := addr.As16()
		key |= uint64(n.Prefix.Bits())
		hi, lo := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
		e.v6 = append(e.v6, entry6{key, hi, lo, until})
	}
}

// all yields the entries, in no order.
func (e *entries) all() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		_ = yieldAll(e.v4, yield) && yieldAll(e.v6, yield) && yieldAll(e.named, yield)
	}
}

func yieldAll[E packed](list []E, yield func(Entry) bool) bool {
	for i := range list {
		if !yield(list[i].entry()) {
			return false
		}
	}
	return true
}

// ids returns the IDs of the entries, which may repeat, in no order.
func (e *entries) ids() []uint64 {
	all := make([]uint64, 0, e.count())
	for n := range e.all() {
		all = append(all, n.ID)
	}
	return all
}

// sort orders the entries by ID. Of several with the same ID and
// address family, the last one stays.
func (e *entries) sort() {
	e.v4, e.v6, e.named = sorted(e.v4), sorted(e.v6), sorted(e.named)
}

func sorted[E packed](list []E) []E {
	byID := func(a, b E) int { return cmp.Compare(a.id(), b.id()) }
	if !slices.IsSortedFunc(list, byID) {
		slices.SortStableFunc(list, byID)
	}
	unique := list[:0]
	for i, e := range list {
		if i+1 == len(list) || list[i+1].id() != e.id() {
			unique = append(unique, e)
		}
	}
	return unique
}

// changed returns the entries with the given IDs removed and others added. Both must be sorted.
func (e *entries) changed(without []uint64, added *entries) entries {
	return entries{
		merged(e.v4, without, added.v4), merged(e.v6, without, added.v6),
		merged(e.named, without, added.named),
	}
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

// current returns the entries that have not expired, and when the next of them expires.
func (e *entries) current(now time.Time) (left entries, next uint32) {
	v4, next4 := current(e.v4, seconds(now))
	v6, next6 := current(e.v6, seconds(now))
	named, nextName := current(e.named, seconds(now))
	return entries{v4, v6, named}, min(next4, next6, nextName)
}

func current[E packed](list []E, now uint32) (left []E, next uint32) {
	next = never
	expired := 0
	for _, e := range list {
		if e.end() <= now {
			expired++
		} else {
			next = min(next, e.end())
		}
	}
	if expired == 0 {
		return list, next
	}
	left = make([]E, 0, len(list)-expired)
	for _, e := range list {
		if e.end() > now {
			left = append(left, e)
		}
	}
	return left, next
}

// ranges returns the addresses that the entries of each part cover.
func (e *entries) ranges(parts int) []iplist.Ranges {
	sizes := e.sizes()
	prefixes := make([][]netip.Prefix, parts)
	for part := range prefixes {
		prefixes[part] = make([]netip.Prefix, 0, sizes[part].IPv4+sizes[part].IPv6)
	}
	for i := range e.v4 {
		part := e.v4[i].part()
		prefixes[part] = append(prefixes[part], e.v4[i].entry().Prefix)
	}
	for i := range e.v6 {
		part := e.v6[i].part()
		prefixes[part] = append(prefixes[part], e.v6[i].entry().Prefix)
	}
	all := make([]iplist.Ranges, parts)
	for part := range prefixes {
		all[part] = iplist.NewRanges(prefixes[part])
		prefixes[part] = nil
	}
	return all
}

// names returns what the entries of each part name besides addresses.
func (e *entries) names(parts int) []names {
	all := make([]names, parts)
	for i := range e.named {
		n := e.named[i].entry()
		of := &all[n.Part]
		if n.ASN != 0 {
			*of = append(*of, nameOfASN(n.ASN))
		} else {
			*of = append(*of, nameOfCountry(string(n.Country[:])))
		}
	}
	for part := range all {
		all[part] = all[part].sorted()
	}
	return all
}

// PartSize is the number of entries of one part of a pushed list, by what they name.
type PartSize struct{ IPv4, IPv6, Names int }

func (p PartSize) all() int { return p.IPv4 + p.IPv6 + p.Names }

func (e *entries) sizes() (sizes [MaxParts]PartSize) {
	for i := range e.v4 {
		sizes[e.v4[i].part()].IPv4++
	}
	for i := range e.v6 {
		sizes[e.v6[i].part()].IPv6++
	}
	for i := range e.named {
		sizes[e.named[i].part()].Names++
	}
	return sizes
}

// trim removes entries so that at most the given number stays: those of the highest parts, and of a
// part the newest, which have the highest IDs. It returns how many it has removed.
func (e *entries) trim(most int) (over int) {
	if over = e.count() - most; over <= 0 {
		return 0
	}
	sizes := e.sizes()
	last, left := MaxParts-1, over // the part of which only some entries are removed
	for ; left > sizes[last].all(); last-- {
		left -= sizes[last].all()
	}
	size := sizes[last]
	v6 := min(left, size.IPv6)
	v4 := min(left-v6, size.IPv4)
	e.v4 = trimmed(e.v4, last, size.IPv4-v4)
	e.v6 = trimmed(e.v6, last, size.IPv6-v6)
	e.named = trimmed(e.named, last, size.Names-(left-v6-v4))
	return over
}

// trimmed returns the entries of the parts before the last, and the first entries of that.
func trimmed[E packed](list []E, last, first int) []E {
	kept := make([]E, 0, len(list))
	for _, e := range list {
		part := int(e.part())
		if part == last {
			first--
		}
		if part < last || part == last && first >= 0 {
			kept = append(kept, e)
		}
	}
	return kept
}
