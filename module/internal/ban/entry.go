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

// Kind is the effect of an entry. The zero Kind is invalid, so that an entry without a kind is an
// error.
type Kind uint8

// The kinds.
const (
	// Ban: the addresses are treated as if they were on the deny list.
	Ban Kind = iota + 1
	// Exemption: the addresses are not scored.
	Exemption
)

const numKinds = 2

var kindNames = [numKinds]string{"ban", "exemption"}

func (k Kind) valid() bool { return k == Ban || k == Exemption }

// String returns the name of the kind.
func (k Kind) String() string {
	if k.valid() {
		return kindNames[k-1]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// MarshalText implements encoding.TextMarshaler.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *Kind) UnmarshalText(text []byte) error {
	i := slices.Index(kindNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("unknown kind %q: use ban or exemption", text)
	}
	*k = Kind(i + 1)
	return nil
}

// Entry is one prefix that is banned or exempt.
type Entry struct {
	Prefix netip.Prefix `json:"prefix"`
	Kind   Kind         `json:"kind"`

	// Reason is the operator's note: a single line of up to 500 bytes.
	Reason string `json:"reason,omitempty"`

	// Created is when the entry was made, in whole seconds.
	Created time.Time `json:"created"`

	// Expires is when the entry ends, in whole seconds; zero means never.
	Expires time.Time `json:"expires,omitzero"`

	// Cause is missing if an operator made the entry. Releases that do not know it drop it. Its name comes after
	// "version" in the alphabet, so that of two equal versions the one with the cause is the newer one.
	Cause Cause `json:"why,omitzero"`
}

const maxReason = 500

// The broadest prefixes of an entry: the largest allocations to one holder. A broader one is a typing
// error, or what somebody wrote to a shared Redis.
const (
	broadest4 = 8
	broadest6 = 16
)

// normalize returns the entry in its stored form, or an error. Times become UTC and whole seconds,
// so that the file is readable and at most one instant per second has entries that end.
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
	if err := e.checkCause(); err != nil {
		return Entry{}, err
	}
	e.Created = e.Created.UTC().Truncate(time.Second)
	if !e.Expires.IsZero() {
		e.Expires = roundUp(e.Expires) // an entry never ends too early
	}
	for _, t := range []time.Time{e.Created, e.Expires} {
		if !t.IsZero() && (t.Year() < 1970 || t.Year() > 9999) {
			return Entry{}, errors.New("a time is not between the years 1970 and 9999: " +
				"leave out the end of an entry that never ends")
		}
	}
	return e, nil
}

// roundUp rounds a time up to a whole second, in UTC.
func roundUp(t time.Time) time.Time { return t.Add(time.Second - 1).UTC().Truncate(time.Second) }

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
	broadest, cure := broadest6, "ban its parts one by one if you mean it"
	if p.Addr().Is4() {
		broadest = broadest4
	}
	if kind == Exemption {
		cure = "use the site's `mode observe` to let everybody pass; private addresses are never judged"
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

func (e Entry) ended(now time.Time) bool { return !e.Expires.IsZero() && !e.Expires.After(now) }
