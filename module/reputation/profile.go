package reputation

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// The values that a Profile's zero values stand for.
const (
	DefaultWeight     = 20.0
	DefaultGoodWeight = 2.0
	DefaultTrust      = 1.0
	DefaultListedTTL  = 6 * time.Hour
	DefaultCleanTTL   = 24 * time.Hour
)

// MaxWeight is the highest weight a Profile may give.
const MaxWeight = 1000.0

// Profile is what the author of a Provider says of its service. Operators can override the name, the quota, the rate, the
// TTLs and the trust; the rest holds as it is. Only Name is required.
type Profile struct {
	// Name is what reasons, rules, metrics and headers call the source, such as "abuseipdb": 1 to 64 lower-case letters,
	// digits, '_' and '-', the first a letter. Two instances of one module that ask for different things, such as two DNS
	// zones, have different names. Required.
	Name string

	// Quota is how many calls the plan allows that most keys have, a window each: "1000/day" or "4/minute", the period one
	// of minute, hour, day, week and month. Every window holds. Windows are those of the calendar in UTC.
	// Default: none, calls are not counted.
	Quota []string

	// Rate is how fast calls may follow each other, such as "1/s", "1/2s" or "45/1m": calls, and a duration of a day at
	// most. Default: none, calls follow each other as they come.
	Rate string

	// ListedTTL is how long an answer with a Severity above 0 is used before the service is asked again; from 1s.
	// A Report's own TTL goes before it. Default: 6h.
	ListedTTL time.Duration

	// CleanTTL is the same for every other answer, ErrUnknown included. Default: 24h.
	CleanTTL time.Duration

	// Weight is how many points a report of Severity 1 and Confidence 1 adds to the score, in decibans: 10 points multiply
	// the odds of abuse by ten. Above 0, up to 1000. Default: 20, as for a service that nobody has experience with.
	Weight float64

	// GoodWeight is how many points a report of Severity -1 and Confidence 1 takes off. Above 0, up to 1000. A service
	// whose silence proves nothing reports Severity 0 instead of a small weight. Default: 2.
	GoodWeight float64

	// Trust multiplies both weights and is the source's part of the coverage; above 0, up to 1. Below 1 is for sources that
	// anybody can feed, or that list whole networks. Default: 1.
	Trust float64

	// Group is shared by sources that copy each other or draw on the same observations: of a group the strongest counts in
	// full, the others for a part. It is a word like Name. Default: the Name, so that one service that is configured twice
	// counts as one witness.
	Group string

	// SelfAged says that the service lowers its own severity as time passes. Such a report decays from the time of the call,
	// any other from Report.LastSeen. Default: false.
	SelfAged bool

	// Key says whether the service needs a key. Default: KeyRequired.
	Key KeyUse

	// Covers are the addresses that the service knows. The others are never asked about, and are not missing from the
	// coverage. Default: IPv4 and IPv6.
	Covers Families

	// Says is what the service can ever say. providertest fails for a report that holds anything else.
	// Default: not stated, it could say anything.
	Says Statements

	// Terms is one line about the terms that matter to who uses the service, such as "non-commercial use only".
	// At most 200 printable ASCII characters. Default: none.
	Terms string

	// Protocol says how sure the author is of what the service sends. Default: ProtocolUnconfirmed.
	Protocol Protocol
}

// KeyUse says whether a service needs a key.
type KeyUse uint8

// The uses of keys.
const (
	// KeyRequired: without a key there is no call.
	KeyRequired KeyUse = iota
	// KeyOptional: the service answers without a key, but differently, or less often.
	KeyOptional
	// KeyNone: the service has no keys. One that is configured is an error.
	KeyNone

	numKeyUses = iota
)

// Protocol says how well the protocol of a service is known.
type Protocol uint8

// The degrees.
const (
	// ProtocolUnconfirmed: from third parties or from memory. The provider is tolerant, and its documentation says so.
	ProtocolUnconfirmed Protocol = iota
	// ProtocolConfirmed: from the service's own documentation, or from answers that it gave.
	ProtocolConfirmed

	numProtocols = iota
)

// String returns "unconfirmed" or "confirmed".
func (p Protocol) String() string {
	switch p {
	case ProtocolUnconfirmed:
		return "unconfirmed"
	case ProtocolConfirmed:
		return "confirmed"
	}
	return fmt.Sprintf("Protocol(%d)", uint8(p))
}

// Families is a set of address families. The zero value stands for all of them.
type Families uint8

// The families.
const (
	IPv4 Families = 1 << iota
	IPv6
)

// Has reports whether addresses like addr, which must be unmapped, are in the set.
func (f Families) Has(addr netip.Addr) bool {
	if addr.Is4() {
		return f == 0 || f&IPv4 != 0
	}
	return f == 0 || f&IPv6 != 0
}

// Statements are kinds of things a source can say. The zero value means that they are not stated.
type Statements struct {
	// Categories that a report can have.
	Categories Categories

	// Natures are the kinds of access that a report can say yes or no to.
	Natures Kinds

	// Country, ASN and Network say that a report can hold that fact. ASN includes the system's name.
	Country, ASN, Network bool
}

// Stated reports whether anything is stated.
func (s Statements) Stated() bool { return s != Statements{} }

// Check reports what in a report is not among the statements. It finds nothing if they are not stated.
func (s Statements) Check(r Report) error {
	if !s.Stated() {
		return nil
	}
	var wrong []string
	for c := range (r.Categories &^ s.Categories).All() {
		wrong = append(wrong, "category "+c.String())
	}
	for k := range Kind(numKinds) {
		if _, known := r.Facts.Nature.Is(k); known && !s.Natures.Has(k) {
			wrong = append(wrong, "nature "+k.String())
		}
	}
	if r.Facts.Country != "" && !s.Country {
		wrong = append(wrong, "a country")
	}
	if (r.Facts.ASN != 0 || r.Facts.ASName != "") && !s.ASN {
		wrong = append(wrong, "an autonomous system")
	}
	if r.Facts.Network.IsValid() && !s.Network {
		wrong = append(wrong, "a network")
	}
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("the report has %s, which the profile does not state: add it to Says", strings.Join(wrong, ", "))
}

// WithDefaults returns the profile with its defaults filled in, but for what has no default.
func (p Profile) WithDefaults() Profile {
	setDefault(&p.ListedTTL, DefaultListedTTL)
	setDefault(&p.CleanTTL, DefaultCleanTTL)
	setDefault(&p.Weight, DefaultWeight)
	setDefault(&p.GoodWeight, DefaultGoodWeight)
	setDefault(&p.Trust, DefaultTrust)
	setDefault(&p.Group, p.Name)
	setDefault(&p.Covers, IPv4|IPv6)
	return p
}

func setDefault[T comparable](value *T, standard T) {
	var zero T
	if *value == zero {
		*value = standard
	}
}

// maxTerms bounds Profile.Terms, in bytes.
const maxTerms = 200

// Validate reports the fields that are wrong, all at once, each by its name.
func (p Profile) Validate() error {
	var wrong []error
	field := func(ok bool, name, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Errorf("profile: %s "+format, append([]any{name}, args...)...))
		}
	}
	const word = "is %q: use at most 64 lower-case letters, digits, _ and -, the first a letter"
	within := func(v, most float64) bool { return v >= 0 && v <= most } // written so that NaN is refused
	field(ValidName(p.Name), "Name", word, p.Name)
	field(p.Group == "" || ValidName(p.Group), "Group", word, p.Group)
	for _, window := range p.Quota {
		field(validWindow(window), "Quota", "has %q: write windows such as 1000/day, of a minute, hour, day, week or month", window)
	}
	field(p.Rate == "" || validRate(p.Rate), "Rate", "is %q: write calls and a duration, such as 1/s or 45/1m", p.Rate)
	field(p.ListedTTL == 0 || p.ListedTTL >= time.Second, "ListedTTL", "is %s: use at least 1s", p.ListedTTL)
	field(p.CleanTTL == 0 || p.CleanTTL >= time.Second, "CleanTTL", "is %s: use at least 1s", p.CleanTTL)
	field(within(p.Weight, MaxWeight), "Weight", "is %v: use up to %v points", p.Weight, MaxWeight)
	field(within(p.GoodWeight, MaxWeight), "GoodWeight", "is %v: use up to %v points", p.GoodWeight, MaxWeight)
	field(within(p.Trust, 1), "Trust", "is %v: use up to 1", p.Trust)
	field(p.Key < numKeyUses, "Key", "is %d, which is not defined", p.Key)
	field(p.Covers&^(IPv4|IPv6) == 0, "Covers", "is %d: use IPv4, IPv6 or both", p.Covers)
	field(p.Says.Categories>>numCategories == 0, "Says.Categories", "has a category that is not defined")
	field(p.Says.Natures>>numKinds == 0, "Says.Natures", "has a nature that is not defined")
	field(len(p.Terms) <= maxTerms && !strings.ContainsFunc(p.Terms, notPrintable), "Terms",
		"is not one line of at most %d printable ASCII characters", maxTerms)
	field(p.Protocol < numProtocols, "Protocol", "is %d, which is not defined", p.Protocol)
	return errors.Join(wrong...)
}

// ValidName reports whether a name of a source can stand in headers, metrics and file names as it is: 1 to 64 lower-case
// letters, digits, '_' and '-', the first a letter.
func ValidName(name string) bool {
	valid := name != "" && len(name) <= 64 && name[0] >= 'a' && name[0] <= 'z'
	for _, c := range []byte(name) {
		valid = valid && ('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '-')
	}
	return valid
}

// CheckName reports whether a name cannot be that of a source: it must be valid, and not stand for the operator's own lists.
func CheckName(name string) error {
	switch {
	case !ValidName(name):
		return fmt.Errorf("name %q: use at most 64 lower-case letters, digits, _ and -, the first a letter", name)
	case name == SourceDeny, name == SourceBan, name == "exempt":
		return fmt.Errorf("name %q stands for your own lists: use another one", name)
	}
	return nil
}

func notPrintable(r rune) bool { return r < ' ' || r > '~' }

// validWindow reports whether the engine can read a quota window.
func validWindow(s string) bool {
	calls, period, _ := strings.Cut(s, "/")
	switch period {
	case "minute", "hour", "day", "week", "month":
		n, err := strconv.ParseUint(calls, 10, 32)
		return err == nil && n >= 1 && n <= 1_000_000_000
	}
	return false
}

// validRate reports whether the engine can read a rate.
func validRate(s string) bool {
	calls, duration, _ := strings.Cut(s, "/")
	if duration != "" && duration[0] >= 'a' && duration[0] <= 'z' {
		duration = "1" + duration
	}
	n, err := strconv.ParseUint(calls, 10, 32)
	per, wrong := time.ParseDuration(duration)
	return err == nil && wrong == nil && n >= 1 && n <= 1_000_000 && per > 0 && per <= 24*time.Hour
}
