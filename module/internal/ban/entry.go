package ban

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"
)

// Kind says what an entry does. The zero Kind is none, so that an entry that does not say it is an error.
type Kind uint8

// The kinds.
const (
	// Ban: the addresses are treated as on the deny list.
	Ban Kind = iota + 1
	// Exemption: the addresses are not judged.
	Exemption
)

const numKinds = 2

var kindNames = [numKinds]string{"ban", "exemption"}

func (k Kind) valid() bool { return k == Ban || k == Exemption }

// String returns the kind's word.
func (k Kind) String() string {
	if k.valid() {
		return kindNames[k-1]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// MarshalText writes the kind's word.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the kind's word.
func (k *Kind) UnmarshalText(text []byte) error {
	i := slices.Index(kindNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("unknown kind %q: use ban or exemption", text)
	}
	*k = Kind(i + 1)
	return nil
}

// Entry is one prefix that an operator banned or exempted.
type Entry struct {
	Prefix netip.Prefix `json:"prefix"`
	Kind   Kind         `json:"kind"`

	// Reason is the operator's note: a single line of up to 500 bytes.
	Reason string `json:"reason,omitempty"`

	// Created is when the entry was made, in whole seconds.
	Created time.Time `json:"created"`

	// Expires is when the entry ends, in whole seconds. The zero time means that it does not.
	Expires time.Time `json:"expires,omitzero"`
}

const maxReason = 500

// The broadest prefixes that can be banned: the largest allocations to one holder. What is broader is a slip of the hand.
const (
	broadestBan4 = 8
	broadestBan6 = 16
)

// normalize returns the entry in the one form that is kept, or what is wrong with it. Times become UTC and whole
// seconds, so that people can read the file and not more than one instant a second has something to expire.
func (e Entry) normalize() (Entry, error) {
	if !e.Kind.valid() {
		return Entry{}, errors.New("the kind is missing: use ban or exemption")
	}
	var err error
	if e.Prefix, err = canonical(e.Prefix); err != nil {
		return Entry{}, err
	}
	if err := checkBreadth(e.Kind, e.Prefix); err != nil {
		return Entry{}, err
	}
	if err := checkReason(e.Reason); err != nil {
		return Entry{}, err
	}
	e.Created = e.Created.UTC().Truncate(time.Second)
	if !e.Expires.IsZero() {
		// rounded up: an entry never ends before it was meant to
		e.Expires = e.Expires.Add(time.Second - 1).UTC().Truncate(time.Second)
	}
	for _, t := range []time.Time{e.Created, e.Expires} {
		if !t.IsZero() && (t.Year() < 1970 || t.Year() > 9999) {
			return Entry{}, errors.New("a time is not between the years 1970 and 9999: leave out the end of an entry that never ends")
		}
	}
	return e, nil
}

// canonical returns the prefix unmapped and without host bits.
func canonical(p netip.Prefix) (netip.Prefix, error) {
	if !p.IsValid() {
		return netip.Prefix{}, errors.New("the prefix is missing or not valid: write it as 203.0.113.5/32 or 2001:db8::/64")
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("%s holds more than the IPv4-mapped addresses: write the IPv4 prefix itself", p)
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

func checkBreadth(kind Kind, p netip.Prefix) error {
	broadest, cure := 1, "use the site's `mode observe` to let everybody pass"
	if kind == Ban {
		broadest, cure = broadestBan6, "ban its parts one by one if you mean it"
		if p.Addr().Is4() {
			broadest = broadestBan4
		}
	}
	if p.Bits() < broadest {
		return fmt.Errorf("%s is too broad for one %s, /%d is the broadest: %s", p, kind, broadest, cure)
	}
	return nil
}

func checkReason(reason string) error {
	if len(reason) > maxReason {
		return fmt.Errorf("the reason has %d bytes: shorten it to %d", len(reason), maxReason)
	}
	unfit := func(r rune) bool { return !unicode.IsPrint(r) }
	if !utf8.ValidString(reason) || slices.ContainsFunc([]rune(reason), unfit) {
		return fmt.Errorf("the reason %q has characters that do not print: write one line of text", reason)
	}
	return nil
}

// entries are those of each kind, in the order of their prefixes. They are not changed once they are in a snapshot.
type entries [numKinds][]Entry

func (s *entries) of(kind Kind) *[]Entry { return &s[kind-1] }

func (s *entries) len() int { return len(s[0]) + len(s[1]) }

// find returns where a prefix is, or would be.
func (s *entries) find(kind Kind, p netip.Prefix) (int, bool) {
	return slices.BinarySearchFunc(*s.of(kind), p, func(e Entry, p netip.Prefix) int { return e.Prefix.Compare(p) })
}

// with returns the entries with e in the place of the one of its kind and prefix.
func (s entries) with(e Entry) entries {
	i, found := s.find(e.Kind, e.Prefix)
	list := slices.Clone(*s.of(e.Kind))
	if found {
		list[i] = e
	} else {
		list = slices.Insert(list, i, e)
	}
	*s.of(e.Kind) = list
	return s
}

// without returns the entries without the one at place i.
func (s entries) without(kind Kind, i int) entries {
	*s.of(kind) = slices.Delete(slices.Clone(*s.of(kind)), i, i+1)
	return s
}

// at returns the entries that have not ended at the given time.
func (s entries) at(now time.Time) entries {
	ended := func(e Entry) bool { return e.ended(now) }
	for i, list := range s {
		if slices.ContainsFunc(list, ended) {
			s[i] = slices.DeleteFunc(slices.Clone(list), ended)
		}
	}
	return s
}

func (e Entry) ended(now time.Time) bool { return !e.Expires.IsZero() && !e.Expires.After(now) }

// nextEnd returns when the next entry ends, or the zero time.
func (s *entries) nextEnd() (next time.Time) {
	for _, list := range s {
		for _, e := range list {
			if !e.Expires.IsZero() && (next.IsZero() || e.Expires.Before(next)) {
				next = e.Expires
			}
		}
	}
	return next
}

// entriesOf puts entries in order. Of several with the same kind and prefix the last one holds.
func entriesOf(list []Entry) (s entries) {
	type key struct {
		kind   Kind
		prefix netip.Prefix
	}
	last := make(map[key]Entry, len(list))
	for _, e := range list {
		last[key{e.Kind, e.Prefix}] = e
	}
	for _, e := range last {
		*s.of(e.Kind) = append(*s.of(e.Kind), e)
	}
	for _, list := range s {
		slices.SortFunc(list, func(a, b Entry) int { return a.Prefix.Compare(b.Prefix) })
	}
	return s
}
