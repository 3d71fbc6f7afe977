package reputation

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// The defaults of a Profile.
const (
	DefaultWeight     = 20.0
	DefaultGoodWeight = 2.0
	DefaultTrust      = 1.0
	DefaultListedTTL  = 6 * time.Hour
	DefaultCleanTTL   = 24 * time.Hour
)

// MaxWeight is the highest weight in a Profile.
const MaxWeight = 1000.0

// Profile describes the service of a Provider. Its author sets it. Operators can override the name,
// the quota, the rate, the TTLs and the trust. Only Name is required.
type Profile struct {
	// Name is the name of the source in reasons, rules, metrics and headers, such as "abuseipdb": 1
	// to 64 lower-case letters, digits, '_' and '-', the first a letter. Two instances of one
	// module with different data, such as two DNS zones, need different names. Required.
	Name string

	// Quota are the limits of the most common plan, such as "1000/day" or "4/minute". The period is
	// minute, hour, day, week or month, by the calendar in UTC. All limits apply. Default: none,
	// calls are not counted.
	Quota []string

	// Rate is how many calls may be made per duration, such as "1/s", "1/2s" or "45/1m". The
	// duration is a day at most. Default: none, calls are not delayed.
	Rate string

	// Batch is how many addresses one request of a Batcher may ask about, up to 1000. Each of them counts as one
	// call of the Quota; Rate and the number of calls under way count requests. Default: none, each address is
	// asked about by a Check of its own.
	Batch int

	// ListedTTL is how long an answer with a Severity above 0 is used before the service is asked
	// again: 1s or longer. A shorter TTL of a Report has precedence. Default: 6h.
	ListedTTL time.Duration

	// CleanTTL is the same for every other answer, ErrUnknown included. Default: 24h.
	CleanTTL time.Duration

	// Weight is how many points a report of Severity 1 and Confidence 1 adds to the score, in
	// decibans: 10 points multiply the odds of abuse by ten. Above 0, up to 1000. Default: 20,
	// which suits a service without experience.
	Weight float64

	// GoodWeight is how many points a report of Severity -1 and Confidence 1 subtracts. Above 0, up
	// to 1000. If a missing entry proves nothing, the provider should report Severity 0 instead of
	// using a small weight. Default: 2.
	GoodWeight float64

	// Trust multiplies both weights, and is the source's share of the coverage. Above 0, up to 1.
	// It is below 1 for sources to which anybody can report, and for those that list whole
	// networks. Default: 1.
	Trust float64

	// Group is shared by sources that copy each other or have the same observations. The strongest
	// source of a group counts in full, the others in part. It is a word like Name. Default: the
	// Name, so that a service that is configured twice counts once.
	Group string

	// SelfAged means that the service itself lowers the severity as time passes. Its reports decay
	// from the time of the call, others from Report.LastSeen. Default: false.
	SelfAged bool

	// Key is whether the service needs a key. Default: KeyRequired.
	Key KeyUse

	// Covers are the address families that the service covers. It is not asked about other
	// addresses, and is not missing from their coverage. Default: IPv4 and IPv6.
	Covers Families

	// Capabilities are all that its reports can contain: providertest fails for a report with anything
	// else. Default: not declared, reports can contain anything.
	Capabilities Capabilities

	// SelfTest means that a Prober's Probe tests whether the service can be believed. It is called when the
	// configuration starts to serve and every few hours. Until it has returned nil, and after it has returned
	// ErrBadAnswer or ErrRefused, the service is not asked about addresses. Default: false, the service is
	// asked at once and probed only for operators.
	SelfTest bool

	// Reports are the reports that the service of a Reporter takes. Default: none.
	Reports Reports

	// Paid means that calls cost money in every plan. The service is asked after all others, and only if its answer could
	// change something. Default: false, what a call costs follows from the quota.
	Paid bool

	// Terms is one line about terms of use that restrict who may ask, or what for, such as "non-commercial
	// use only". It is logged at each load. At most 200 printable ASCII characters. Default: none.
	Terms string

	// Protocol is how well the author knows the service's protocol. Default: ProtocolUnconfirmed.
	Protocol Protocol
}

// KeyUse is whether a service needs a key.
type KeyUse uint8

// The uses of keys.
const (
	// KeyRequired: without a key there is no call.
	KeyRequired KeyUse = iota
	// KeyOptional: the service answers without a key too, but gives other answers or fewer of them.
	KeyOptional
	// KeyNone: the service has no keys. A configured key is an error.
	KeyNone

	numKeyUses = iota
)

// Protocol is how well the protocol of a service is known.
type Protocol uint8

// The degrees.
const (
	// ProtocolUnconfirmed: from third parties or from memory. The provider is tolerant, and its
	// documentation mentions it.
	ProtocolUnconfirmed Protocol = iota
	// ProtocolConfirmed: from the service's own documentation, or from its answers.
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

// Has reports whether the family of addr is in the set. It expects an unmapped address.
func (f Families) Has(addr netip.Addr) bool {
	if addr.Is4() {
		return f == 0 || f&IPv4 != 0
	}
	return f == 0 || f&IPv6 != 0
}

// Capabilities are what the reports of a source can contain. The zero
// value means that they are not declared.
type Capabilities struct {
	// Categories are those that a report can have.
	Categories Categories

	// Natures are the kinds that a report can state as yes or no.
	Natures Kinds

	// Country, ASN and Network are set if a report can have that
	// fact. ASN includes the name of the system.
	Country, ASN, Network bool
}

// Declared reports whether the capabilities are declared.
func (c Capabilities) Declared() bool { return c != Capabilities{} }

// Union returns what a report of either source can contain. Both are declared.
func (c Capabilities) Union(other Capabilities) Capabilities {
	return Capabilities{
		Categories: c.Categories | other.Categories,
		Natures:    c.Natures | other.Natures,
		Country:    c.Country || other.Country,
		ASN:        c.ASN || other.ASN,
		Network:    c.Network || other.Network,
	}
}

// Check returns an error if a report has more than the declared capabilities.
func (c Capabilities) Check(r Report) error {
	if !c.Declared() {
		return nil
	}
	var wrong []string
	for category := range (r.Categories &^ c.Categories).All() {
		wrong = append(wrong, "category "+category.String())
	}
	for k := range Kind(numKinds) {
		if _, known := r.Facts.Nature.Is(k); known && !c.Natures.Has(k) {
			wrong = append(wrong, "nature "+k.String())
		}
	}
	if r.Facts.Country != "" && !c.Country {
		wrong = append(wrong, "a country")
	}
	if (r.Facts.ASN != 0 || r.Facts.ASName != "") && !c.ASN {
		wrong = append(wrong, "an autonomous system")
	}
	if r.Facts.Network.IsValid() && !c.Network {
		wrong = append(wrong, "a network")
	}
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("the report has %s, which the profile does not state: add it to Capabilities",
		strings.Join(wrong, ", "))
}

// WithDefaults returns the profile with its defaults filled in.
// Fields without a default stay as they are.
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

// Validate returns one error that names all wrong fields.
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
		field(validWindow(window), "Quota",
			"has %q: write windows such as 1000/day, of a minute, hour, day, week or month", window)
	}
	field(p.Rate == "" || validRate(p.Rate), "Rate",
		"is %q: write calls and a duration, such as 1/s or 45/1m", p.Rate)
	field(p.Batch >= 0 && p.Batch <= MaxBatch, "Batch", "is %d: use up to %d addresses", p.Batch, MaxBatch)
	field(p.ListedTTL == 0 || p.ListedTTL >= time.Second, "ListedTTL", "is %s: use at least 1s", p.ListedTTL)
	field(p.CleanTTL == 0 || p.CleanTTL >= time.Second, "CleanTTL", "is %s: use at least 1s", p.CleanTTL)
	field(within(p.Weight, MaxWeight), "Weight", "is %v: use up to %v points", p.Weight, MaxWeight)
	field(within(p.GoodWeight, MaxWeight), "GoodWeight", "is %v: use up to %v points", p.GoodWeight, MaxWeight)
	field(within(p.Trust, 1), "Trust", "is %v: use up to 1", p.Trust)
	field(p.Key < numKeyUses, "Key", "is %d, which is not defined", p.Key)
	field(p.Covers&^(IPv4|IPv6) == 0, "Covers", "is %d: use IPv4, IPv6 or both", p.Covers)
	field(p.Capabilities.Categories>>numCategories == 0, "Capabilities.Categories",
		"has a category that is not defined")
	field(p.Capabilities.Natures>>numKinds == 0, "Capabilities.Natures", "has a nature that is not defined")
	for _, window := range p.Reports.Quota {
		field(validWindow(window), "Reports.Quota",
			"has %q: write windows such as 1000/day, of a minute, hour, day, week or month", window)
	}
	field(p.Reports.Categories>>numCategories == 0, "Reports.Categories", "has a category that is not defined")
	field(len(p.Terms) <= maxTerms && !strings.ContainsFunc(p.Terms, notPrintable), "Terms",
		"is not one line of at most %d printable ASCII characters", maxTerms)
	field(p.Protocol < numProtocols, "Protocol", "is %d, which is not defined", p.Protocol)
	return errors.Join(wrong...)
}

// ValidName reports whether a source may have the name: 1 to 64 lower-case letters, digits, '_' and
// '-', the first a letter. Such a name needs no escaping in headers, metrics and file names.
func ValidName(name string) bool {
	valid := name != "" && len(name) <= 64 && name[0] >= 'a' && name[0] <= 'z'
	for _, c := range []byte(name) {
		valid = valid && ('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '-')
	}
	return valid
}

// CheckName returns an error unless a configured source may have the name: it must be valid, and
// must not be one of those that have a meaning already.
func CheckName(name string) error {
	switch {
	case !ValidName(name):
		return fmt.Errorf("name %q: use at most 64 lower-case letters, digits, _ and -, the first a letter",
			name)
	case name == SourceDeny, name == SourceBan, name == "exempt":
		return fmt.Errorf("name %q stands for your own lists: use another one", name)
	case name == SourceVerifiedBots, name == SourceFakeBot:
		return fmt.Errorf("name %q stands for what is found out about bots: use another one", name)
	case name == SourceOwn, name == SourceNeighbourhood:
		return fmt.Errorf("name %q stands for what your site itself has seen: use another one", name)
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
