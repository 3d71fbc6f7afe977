package feed

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
)

// name is what a list names besides addresses: an ASN as it is, or a country as the two bytes of its
// code above 1<<32. The zero value names nothing.
type name uint64

const countryBase = 1 << 32

func nameOfASN(asn uint32) name { return name(asn) }

// nameOfCountry returns zero if the code is not of two upper-case letters.
func nameOfCountry(code string) name {
	if len(code) != 2 || code[0]-'A' > 'Z'-'A' || code[1]-'A' > 'Z'-'A' {
		return 0
	}
	return countryBase | name(code[0])<<8 | name(code[1])
}

// parts is the inverse of nameOfASN and nameOfCountry.
func (n name) parts() (asn uint32, country [2]byte) {
	if n < countryBase {
		return uint32(n), country
	}
	binary.BigEndian.PutUint16(country[:], uint16(n))
	return 0, country
}

// appendTo appends the name as AS64500 or US.
func (n name) appendTo(b []byte) []byte {
	asn, country := n.parts()
	if asn == 0 {
		return append(b, country[:]...)
	}
	return strconv.AppendUint(append(b, "AS"...), uint64(asn), 10)
}

// parseName reads what appendTo has written, and returns zero for anything else.
func parseName(text string) name {
	if asn, ok := address.ParseASN(text); ok && strings.HasPrefix(text, "AS") {
		return nameOfASN(asn)
	}
	return nameOfCountry(text) // AS alone is American Samoa
}

// names are the names of one list, ascending and without duplicates.
type names []name

func (n names) sorted() names {
	slices.Sort(n)
	return slices.Compact(n)
}

// nameIndex finds the lists that name something. It is immutable. Its maps have no pointers: the
// garbage collector does not walk them.
type nameIndex struct {
	lists  []names              // of each list
	sets   map[name]uint32      // the number of the set of lists with that name
	unions map[[2]uint32]uint32 // the number of both sets together: of an ASN's and of a country's; see maxUnions
	// members are the lists of each set, ascending. Set 0 is empty.
	members [][]uint16
}

// maxUnions bounds nameIndex.unions. Only pushed lists name countries, so that there are few sets of
// theirs, but a pushed list has many parts. With more, the lists of an address are those of its ASN.
const maxUnions = 1 << 16

// indexNames returns the index of the lists' names. The sets of each ASN and each country are united
// in advance, so that a look-up does not allocate.
func indexNames(lists []names) nameIndex {
	x := nameIndex{lists: lists}
	holders := make(map[name][]uint16)
	for i, list := range lists {
		for _, n := range list {
			holders[n] = append(holders[n], uint16(i))
		}
	}
	if len(holders) == 0 {
		return x
	}
	x.sets, x.members = make(map[name]uint32, len(holders)), [][]uint16{nil}
	numbers := make(map[string]uint32)
	number := func(set []uint16) uint32 {
		var key []byte
		for _, list := range set {
			key = binary.BigEndian.AppendUint16(key, list)
		}
		n, known := numbers[string(key)]
		if !known {
			n = uint32(len(x.members))
			numbers[string(key)] = n
			x.members = append(x.members, set)
		}
		return n
	}
	ofASNs, ofCountries := make(map[uint32]bool), make(map[uint32]bool)
	for n, set := range holders {
		x.sets[n] = number(set)
		if n < countryBase {
			ofASNs[x.sets[n]] = true
		} else {
			ofCountries[x.sets[n]] = true
		}
	}
	if len(ofASNs)*len(ofCountries) > maxUnions {
		return x
	}
	x.unions = make(map[[2]uint32]uint32, len(ofASNs)*len(ofCountries))
	for a := range ofASNs {
		for c := range ofCountries {
			union := slices.Concat(x.members[a], x.members[c])
			slices.Sort(union)
			x.unions[[2]uint32{a, c}] = number(slices.Compact(union))
		}
	}
	return x
}

func (x *nameIndex) lookup(asn uint32, country string) []uint16 {
	if x.sets == nil {
		return nil
	}
	a, c := x.sets[nameOfASN(asn)], x.sets[nameOfCountry(country)]
	if a != 0 && c != 0 {
		if both := x.unions[[2]uint32{a, c}]; both != 0 {
			a = both
		}
		c = 0
	}
	return x.members[a|c]
}
