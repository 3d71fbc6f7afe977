package reputation

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// Kind is one way in which an address may offer access to others, or be shared by them.
type Kind uint8

// The kinds of nature, in the order in which they are printed.
const (
	NatureTor Kind = iota
	NatureVPN
	NatureProxy
	NatureHosting
	NatureMobile
	// NatureRelay is a relay that hides its users from sites but not from its operator, such as
	// Apple's Private Relay: ordinary visitors share its addresses.
	NatureRelay

	numKinds = iota
)

var kindNames = [numKinds]string{"tor", "vpn", "proxy", "hosting", "mobile", "relay"}

// AllKinds returns all kinds, in the order in which they are printed.
func AllKinds() []Kind {
	all := make([]Kind, numKinds)
	for k := range all {
		all[k] = Kind(k)
	}
	return all
}

// String returns the kind's word.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// ParseKind returns the kind with the given word.
func ParseKind(word string) (Kind, error) {
	if i := slices.Index(kindNames[:], word); i >= 0 {
		return Kind(i), nil
	}
	return 0, fmt.Errorf("unknown nature %q: use one of %s", word, strings.Join(kindNames[:], ", "))
}

// Kinds is a set of kinds. The zero value is the empty set.
type Kinds uint8

// KindsOf returns the set of the given kinds.
func KindsOf(list ...Kind) Kinds {
	var set Kinds
	for _, k := range list {
		set |= 1 << k
	}
	return set
}

// Has reports whether the set contains k.
func (s Kinds) Has(k Kind) bool { return s&(1<<k) != 0 }

// Nature states for each kind whether an address is of that kind: yes,
// no or unknown. In the zero value all kinds are unknown. Nature is
// not abuse: it changes a score little. Rules can match it by name.
type Nature struct {
	yes, no uint8
}

// With returns n with one kind set to yes or no.
func (n Nature) With(k Kind, is bool) Nature {
	bit := uint8(1) << k
	if is {
		n.yes, n.no = n.yes|bit, n.no&^bit
	} else {
		n.yes, n.no = n.yes&^bit, n.no|bit
	}
	return n
}

// Is reports whether the address is of kind k, and whether that is known.
func (n Nature) Is(k Kind) (is, known bool) {
	bit := uint8(1) << k
	return n.yes&bit != 0, (n.yes|n.no)&bit != 0
}

// Any reports whether n and other have a kind in common that is yes in both.
func (n Nature) Any(other Nature) bool { return n.yes&other.yes != 0 }

// IsAny reports whether any of the kinds is yes.
func (n Nature) IsAny(kinds Kinds) bool { return n.yes&uint8(kinds) != 0 }

// Some reports whether any kind is yes.
func (n Nature) Some() bool { return n.yes != 0 }

// Merge fills in the unknown kinds from other. A yes from either side wins: one source that has
// seen a Tor exit outweighs another that has not.
func (n Nature) Merge(other Nature) Nature {
	yes := n.yes | other.yes
	return Nature{yes: yes, no: (n.no | other.no) &^ yes}
}

// Update returns n with the known kinds of newer replacing its own.
func (n Nature) Update(newer Nature) Nature {
	return Nature{yes: newer.yes | n.yes&^newer.no, no: newer.no | n.no&^newer.yes}
}

// Bits returns the nature packed for UnpackNature.
func (n Nature) Bits() (yes, no uint8) { return n.yes, n.no }

// UnpackNature returns the nature from the result of Bits. It drops
// undefined bits; a yes wins over a no.
func UnpackNature(yes, no uint8) Nature {
	const all = 1<<numKinds - 1
	return Nature{yes: yes & all, no: no & all &^ yes}
}

// AppendText appends the kinds that are yes, separated by ", ". It never fails.
func (n Nature) AppendText(b []byte) ([]byte, error) {
	first := true
	for k := range Kind(numKinds) {
		if n.yes&(1<<k) == 0 {
			continue
		}
		if !first {
			b = append(b, ", "...)
		}
		first = false
		b = append(b, k.String()...)
	}
	return b, nil
}

// String returns the kinds that are yes, separated by ", ". With at
// most one kind it does not allocate.
func (n Nature) String() string {
	switch bits.OnesCount8(n.yes) {
	case 0:
		return ""
	case 1:
		return Kind(bits.TrailingZeros8(n.yes)).String()
	}
	var room [64]byte
	b, _ := n.AppendText(room[:0])
	return string(b)
}

// MarshalJSON writes the known kinds as an object of booleans, such as {"tor":true,"vpn":false}.
func (n Nature) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for k := range Kind(numKinds) {
		is, known := n.Is(k)
		if !known {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, "%q:%t", k, is)
	}
	return append(b, '}'), nil
}

// UnmarshalJSON reads the output of MarshalJSON. It leaves out
// unknown kinds, which a later version may write.
func (n *Nature) UnmarshalJSON(text []byte) error {
	var kinds map[string]bool
	if err := json.Unmarshal(text, &kinds); err != nil {
		return fmt.Errorf("reading a nature: %w", err)
	}
	*n = Nature{}
	for word, is := range kinds {
		if k, err := ParseKind(word); err == nil {
			*n = n.With(k, is)
		}
	}
	return nil
}
