package reputation

import (
	"encoding/json"
	"fmt"
	"iter"
	"math/bits"
	"slices"
	"strings"
)

// Category is one kind of behaviour or role. The set of words is
// closed: applications and rules can rely on it.
type Category uint8

// The categories, in the order in which they are printed.
const (
	Abuse Category = iota
	Scanner
	BruteForce
	WebAttack
	Spam
	Bot
	BotnetC2
	Malware
	DDoS
	Compromised
	Hijacked
	Proxy
	VPN
	Tor
	Hosting
	Crawler
	BenignScanner
	PublicService
	Policy

	numCategories = iota
)

var categoryNames = [numCategories]string{
	"abuse", "scanner", "bruteforce", "web_attack", "spam", "bot", "botnet_c2", "malware", "ddos", "compromised",
	"hijacked", "proxy", "vpn", "tor", "hosting", "crawler", "benign_scanner", "public_service", "policy",
}

// String returns the category's word.
func (c Category) String() string {
	if int(c) < len(categoryNames) {
		return categoryNames[c]
	}
	return fmt.Sprintf("Category(%d)", uint8(c))
}

// ParseCategory returns the category with the given word.
func ParseCategory(word string) (Category, error) {
	if i := slices.Index(categoryNames[:], word); i >= 0 {
		return Category(i), nil
	}
	return 0, fmt.Errorf("unknown category %q: use one of %s", word, strings.Join(categoryNames[:], ", "))
}

// Categories is a set of categories. The zero value is the empty set.
type Categories uint32

// CategoriesOf returns the set of the given categories.
func CategoriesOf(list ...Category) Categories {
	var set Categories
	for _, c := range list {
		set |= 1 << c
	}
	return set
}

// Has reports whether the set contains c.
func (s Categories) Has(c Category) bool { return s&(1<<c) != 0 }

// All yields the members in the order of the constants.
func (s Categories) All() iter.Seq[Category] {
	return func(yield func(Category) bool) {
		for rest := s & (1<<numCategories - 1); rest != 0; rest &= rest - 1 {
			if !yield(Category(bits.TrailingZeros32(uint32(rest)))) {
				return
			}
		}
	}
}

// AppendText appends the words, separated by ", ". It never fails.
func (s Categories) AppendText(b []byte) ([]byte, error) {
	first := true
	for c := range s.All() {
		if !first {
			b = append(b, ", "...)
		}
		first = false
		b = append(b, c.String()...)
	}
	return b, nil
}

// String returns the words, separated by ", ". The empty set is the empty string. With at most one
// word it does not allocate.
func (s Categories) String() string {
	switch bits.OnesCount32(uint32(s)) {
	case 0:
		return ""
	case 1:
		return Category(bits.TrailingZeros32(uint32(s))).String()
	}
	var room [64]byte
	b, _ := s.AppendText(room[:0])
	return string(b)
}

// MarshalJSON writes the set as an array of words.
func (s Categories) MarshalJSON() ([]byte, error) {
	b := []byte{'['}
	for c := range s.All() {
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), c.String()...), '"')
	}
	return append(b, ']'), nil
}

// UnmarshalJSON reads the output of MarshalJSON. It leaves out
// unknown words, which a later version may write.
func (s *Categories) UnmarshalJSON(text []byte) error {
	var words []string
	if err := json.Unmarshal(text, &words); err != nil {
		return fmt.Errorf("reading categories: %w", err)
	}
	*s = 0
	for _, word := range words {
		if c, err := ParseCategory(word); err == nil {
			*s |= CategoriesOf(c)
		}
	}
	return nil
}
