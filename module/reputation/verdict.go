package reputation

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Verdict is the conclusion about an address from everything that is known at one moment.
type Verdict struct {
	// Score is the probability, in percent, that the address is abusive, given the reports of the
	// sources: 0 to 100. It is valid only if Scored is set.
	Score uint8

	// Scored is false if no source has answered, or if the address is not judged. An unknown
	// address is not a clean one.
	Scored bool

	// Status is how complete and how current the verdict is.
	Status Status

	// Origin is the layer that gave the answer.
	Origin Origin

	// Coverage is the share of the sources, weighted by trust, that have answered: 0 to 1.
	Coverage float64

	// Categories are those of all sources with a report about the address.
	Categories Categories

	// Facts are the merged facts of all sources.
	Facts Facts

	// Reasons are the sources that changed the score, or could have, the strongest first. Verdicts
	// may share them: do not change them.
	Reasons []Reason
}

// The names of the operator's own decisions in reasons and rules.
const (
	// SourceDeny is the deny list of the configuration.
	SourceDeny = "deny"
	// SourceBan is a ban made while the server runs.
	SourceBan = "ban"
)

// The names of what is found out about clients that claim to be bots. They belong to one request,
// since others may use the same address.
const (
	// SourceVerifiedBots: the client is the bot that it claims to be.
	SourceVerifiedBots = "verified_bots"
	// SourceFakeBot: it is not.
	SourceFakeBot = "fake_bot"
)

// The names of what this site itself has seen.
const (
	// SourceOwn is what a client did here. The names of its reasons go on with a dot and the name of the violation, as
	// in own.login_failed.
	SourceOwn = "own"
	// SourceNeighbourhood is what other clients of its network did here.
	SourceNeighbourhood = "neighbourhood"
)

// Reason is the contribution of one source to a verdict.
type Reason struct {
	// Source is the name of the source.
	Source string `json:"source"`

	// Points are what the source adds to the score, in decibans: +10
	// multiplies the odds of abuse by ten. They are reduced by sources of
	// the same group already, so that the points of all reasons add up.
	Points float64 `json:"points"`

	// Categories are those of the source's report.
	Categories Categories `json:"categories"`

	// Severity and Confidence are those of the source's report. With
	// them, points can be computed for other weights.
	Severity   float32 `json:"-"`
	Confidence float32 `json:"-"`

	// Network means that the source was not asked about the address, whose network has used its share of the calls. This
	// is what it says of others of the network, an IPv4 /24 or an IPv6 /48. It has no categories.
	Network bool `json:"network,omitempty"`

	// Age is how long ago the source was asked. It is 0 for lists, which are always current. Of what this site itself
	// has seen, it is the time since the newest violation.
	Age time.Duration `json:"age"`
}

// Status is how complete and how current a verdict is.
type Status uint8

// The statuses. The order is that of the words in ParseStatus's error.
const (
	// Fresh: every source has answered, and no answer has expired.
	Fresh Status = iota
	// Partial: some sources have not answered.
	Partial
	// Stale: every source has answered, and some answers have expired.
	Stale
	// Pending: sources without an answer are being asked now.
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

// Origin is the layer that gave the answer about an address.
type Origin uint8

// The origins, from the nearest to the farthest.
const (
	// OriginNone: nothing was known, or the address is not judged.
	OriginNone Origin = iota
	// OriginList: the lists were sufficient, with what this site itself has seen.
	OriginList
	// OriginMemory: a record was in this process's memory.
	OriginMemory
	// OriginRedis: the record came from Redis, which instances share.
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
