package feed

import (
	"fmt"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/iplist"
)

// Snapshot is the content of all lists at one moment. It is immutable; a newer one replaces it.
type Snapshot struct {
	// Index answers for all lists. Its members are, in this order: the lists, each of which is also
	// its first part, and the further parts of lists that have some. See ListOf.
	Index *iplist.Index

	// Lists are in the order of the specs.
	Lists []ListState

	named nameIndex
	parts []part // the further parts of the lists
}

// emptySnapshot returns the snapshot without contents, and numbers the parts of the lists.
func emptySnapshot(lists []*list) (*Snapshot, error) {
	s := &Snapshot{Lists: make([]ListState, len(lists))}
	for i, l := range lists {
		s.Lists[i].Name = l.spec.Name
		l.further = len(lists) + len(s.parts)
		for further := range l.spec.Parts - 1 {
			s.parts = append(s.parts, part{i, further + 1})
		}
	}
	members := len(lists) + len(s.parts)
	if members > iplist.MaxLists {
		return nil, fmt.Errorf("%d lists and parts of lists: at most %d are possible", members, iplist.MaxLists)
	}
	s.Index, s.named = iplist.Build(make([]iplist.Ranges, members)), indexNames(make([]names, members))
	return s, nil
}

// Named returns the lists that name the autonomous system or the country of an address, ascending, as
// members of Index. An ASN of 0 and an empty country are not known. It does not allocate. The caller
// must not change the result.
func (s *Snapshot) Named(asn uint32, country string) []uint16 { return s.named.lookup(asn, country) }

// Names reports whether any list names an autonomous system or a country.
func (s *Snapshot) Names() bool { return s.named.sets != nil }

// ListState is the part of one list in a Snapshot.
type ListState struct {
	// Name is the list's name.
	Name string

	// Loaded is false until there is a good list. Unlike with an
	// empty list, nothing is known until then.
	Loaded bool

	// Entries is the number of entries in force: of CIDRs, after merging and without reserved ranges, and
	// of autonomous systems and countries.
	Entries int

	// Content identifies the entries: lists with the same one have the same entries. It is empty for
	// a list without entries, and for pushed lists, which change too often.
	Content string

	// Fetched is when this content was first read. Unlike Status.LastSuccess, it stays the same
	// when a refresh finds no change.
	Fetched time.Time
}

// part is a further part of a list.
type part struct{ list, part int }

// ListOf returns the position in Lists of a member of Index, and which part of that list it is.
func (s *Snapshot) ListOf(member int) (list, number int) {
	if member < len(s.Lists) {
		return member, 0
	}
	p := s.parts[member-len(s.Lists)]
	return p.list, p.part
}

// member returns the member of the Index that a part of the list is.
func (l *list) member(part int) int {
	if part == 0 {
		return l.number
	}
	return l.further + part - 1
}
