package iplist

import (
	"encoding/binary"
	"slices"
)

// interner numbers the sets of lists that occur while Build sweeps over the
// boundaries. Set 0 is the empty set.
//
// A boundary changes a set by one list, and a few changes occur most of the time. So recent changes
// are in a small table, and the maps are used only for others.
type interner struct {
	members []uint16 // the members of all sets, one after the other
	ends    []uint32 // where the members of each set end
	numbers map[string]uint32
	steps   map[uint64]uint32
	recent  [recentSteps]struct {
		key uint64
		to  uint32
	}

	public []uint32 // the index's number for each set, or 0 if no address is in exactly these lists
	used   []uint32 // the sets by their number in the index
}

// recentSteps is a power of two.
const recentSteps = 1 << 10

func newInterner() *interner {
	return &interner{
		ends:    []uint32{0},
		numbers: map[string]uint32{"": 0},
		steps:   map[uint64]uint32{},
		public:  []uint32{0},
		used:    []uint32{0},
	}
}

// toggle returns the set with list added if it is not in set, and removed if it is.
func (in *interner) toggle(set uint32, list uint16) uint32 {
	key := (uint64(set)+1)<<16 | uint64(list)
	slot := &in.recent[key*0x9e3779b97f4a7c15>>54%recentSteps]
	if slot.key == key {
		return slot.to
	}
	to, known := in.steps[key]
	if !known {
		to = in.intern(set, list)
		in.steps[key] = to
	}
	slot.key, slot.to = key, to
	return to
}

// intern returns the number of the set that toggle returns.
func (in *interner) intern(set uint32, list uint16) uint32 {
	members := slices.Clone(in.of(set))
	if i, found := slices.BinarySearch(members, list); found {
		members = slices.Delete(members, i, i+1)
	} else {
		members = slices.Insert(members, i, list)
	}
	name := make([]byte, 0, 2*len(members))
	for _, m := range members {
		name = binary.BigEndian.AppendUint16(name, m)
	}
	if number, known := in.numbers[string(name)]; known {
		return number
	}
	number := uint32(len(in.ends))
	in.numbers[string(name)] = number
	in.members = append(in.members, members...)
	in.ends = append(in.ends, uint32(len(in.members)))
	in.public = append(in.public, 0)
	return number
}

func (in *interner) of(set uint32) []uint16 {
	if set == 0 {
		return nil
	}
	return in.members[in.ends[set-1]:in.ends[set]]
}

// use returns the index's number for a set. It assigns one at the first call, so
// that sets without addresses get none.
func (in *interner) use(set uint32) uint32 {
	if in.public[set] == 0 && set != 0 {
		in.public[set] = uint32(len(in.used))
		in.used = append(in.used, set)
	}
	return in.public[set]
}

// result returns the members of the used sets, one after the other, and where the
// members of each end.
func (in *interner) result() (members []uint16, ends []uint32) {
	var total int
	for _, set := range in.used {
		total += len(in.of(set))
	}
	members = make([]uint16, 0, total)
	ends = make([]uint32, 0, len(in.used))
	for _, set := range in.used {
		members = append(members, in.of(set)...)
		ends = append(ends, uint32(len(members)))
	}
	return members, ends
}
