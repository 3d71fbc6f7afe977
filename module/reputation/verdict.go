package reputation

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Verdict is what is concluded about an address from all that is known of it at one moment.
type Verdict struct {
	// Score is the probability, in percent, that the address is abusive, given what the sources say: 0 to 100.
	// It means nothing unless Scored is set.
	Score uint8

	// Scored is false when no source has answered, or the address is not judged. Unknown is not clean.
	Scored bool

	// Status says how complete and how current the verdict is.
	Status Status

	// Origin says which layer the answer came from.
	Origin Origin

	// Coverage is the share of the sources, weighted by trust, that have answered: 0 to 1.
	Coverage float64

	// Categories are those of all sources that speak against (or for) the address.
	Categories Categories

	// Facts are what the sources know about the address, merged.
	Facts Facts

	// Reasons are the sources that moved the score, or could have, the strongest first. They may be shared between
	// verdicts: do not change them.
	Reasons []Reason
}

// The names by which reasons and rules know the operator's own word.
const (
	// SourceDeny is the deny list of the configuration.
	SourceDeny = "deny"
	// SourceBan is a ban made while the server runs.
	SourceBan = "ban"
)

// Reason is the part of one source in a verdict.
type Reason struct {
	// Source is the name of the source.
	Source string `json:"source"`

	// Points are what the source adds to the score, in decibans: +10 multiplies the odds of abuse by ten. This is the
	// share that counts after sources of the same group were weighed together, so the points of all reasons add up.
	Points float64 `json:"points"`

	// Categories are what the source accuses the address of.
	Categories Categories `json:"categories"`

	// Severity and Confidence are those of the source's report. With them, points can be worked out anew for other weights.
	Severity   float32 `json:"-"`
	Confidence float32 `json:"-"`

	// Age is how long ago the source was asked. It is 0 for lists, which are current while they list.
	Age time.Duration `json:"age"`
}

// Status says how complete and how current a verdict is.
type Status uint8

// The statuses. The order is that of the words in ParseStatus's error.
const (
	// Fresh: every source has answered, and no answer is past its time.
	Fresh Status = iota
	// Partial: some sources have not answered.
	Partial
	// Stale: every source has answered, some of them longer ago than they should have.
	Stale
	// Pending: sources that have not answered are being asked now.
	Pending
	// Unknown: no source could answer.
	Unknown
	// Exempt: the address is not judged.
	Exempt

	// NumStatuses is the number of statuses.
	NumStatuses = iota
)

var statusNames = [NumStatuses]string{"fresh", "partial", "stale", "pending", "unknown", "exempt"}

// String returns the status's word.
func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return fmt.Sprintf("Status(%d)", uint8(s))
}

// MarshalText writes the status's word.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// ParseStatus returns the status with the given word.
func ParseStatus(word string) (Status, error) {
	if i := slices.Index(statusNames[:], word); i >= 0 {
		return Status(i), nil
	}
	return 0, fmt.Errorf("unknown status %q: use one of %s", word, strings.Join(statusNames[:], ", "))
}

// Origin names the layer that the answer about an address came from.
type Origin uint8

// The origins, from the nearest to the farthest.
const (
	// OriginNone: nothing was known, or the address is not judged.
	OriginNone Origin = iota
	// OriginList: the lists sufficed.
	OriginList
	// OriginMemory: a record was in this process's memory.
	OriginMemory
	// OriginRedis: the record came from the memory that instances share.
	OriginRedis
	// OriginProvider: a provider answered while the request waited.
	OriginProvider

	// NumOrigins is the number of origins.
	NumOrigins = iota
)

var originNames = [NumOrigins]string{"none", "list", "memory", "redis", "provider"}

// String returns the origin's word.
func (o Origin) String() string {
	if int(o) < len(originNames) {
		return originNames[o]
	}
	return fmt.Sprintf("Origin(%d)", uint8(o))
}

// MarshalText writes the origin's word.
func (o Origin) MarshalText() ([]byte, error) { return []byte(o.String()), nil }
