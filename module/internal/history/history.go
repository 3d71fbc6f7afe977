// Package history has the words of the history of decisions: what is recorded of verdicts, requests and incidents, who
// stores it, and what can be asked of it. Package recorder records it.
package history

import (
	"context"
	"encoding/hex"
	"errors"
	"math"
	"net/netip"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Event is one request: its client, the verdict about the client, and the decision.
type Event struct {
	At        time.Time
	Address   netip.Addr
	Host      string // as the client wrote it
	Rule      string // such as "block score 85"; empty where no rule decided
	Action    reputation.Action
	Enforce   bool   // false: the site only observes
	RequestID string // the correlation ID
	Config    string // names the configuration that decided
	Verdict   reputation.Verdict
}

// Decision counts the equal decisions about one address within one minute.
type Decision struct {
	Minute    time.Time    `json:"minute"`  // in UTC
	Address   netip.Prefix `json:"address"` // an IPv4 address or an IPv6 /64; shorter if privacy truncates, or for many
	Host      string       `json:"host,omitempty"`
	Rule      string       `json:"rule,omitempty"`
	Action    string       `json:"action"`
	Mode      string       `json:"mode"`  // enforce or observe
	Count     int64        `json:"count"` // requests
	First     time.Time    `json:"first"`
	Last      time.Time    `json:"last"`
	RequestID string       `json:"request_id"`      // of the first request
	Score     *uint8       `json:"score,omitempty"` // the highest; nil: none
	Status    string       `json:"status"`          // of the last verdict
	Config    string       `json:"config"`
}

// Change is a verdict that differs from the subject's verdict before.
type Change struct {
	At         time.Time    `json:"at"`
	Subject    netip.Prefix `json:"subject"` // as Decision.Address
	Score      uint8        `json:"score"`
	Status     string       `json:"status"`
	Coverage   float64      `json:"coverage"`
	Categories []string     `json:"categories,omitempty"`
	Country    string       `json:"country,omitempty"`
	ASN        uint32       `json:"asn,omitempty"`
	Evidence   []Evidence   `json:"evidence"`   // the strongest first
	RequestID  string       `json:"request_id"` // of the request that revealed it
	Config     string       `json:"config"`
}

// Evidence is one source's part of a verdict.
type Evidence struct {
	Source     string   `json:"source"`
	Points     float64  `json:"points"` // decibans; their sum makes the score
	Categories []string `json:"categories,omitempty"`
	Age        int64    `json:"age_seconds,omitempty"` // since the source answered, or since the newest violation; 0 for lists

	// Network is whether the source has answered about others of the network, and not about the subject.
	Network bool `json:"network,omitempty"`

	// Severity and Confidence are the source's report. With other weights, new points can be
	// computed from them. Both are 0 in rows of earlier versions and in the answers of a Reader.
	Severity   float32 `json:"severity,omitempty"`
	Confidence float32 `json:"confidence,omitempty"`
}

// The kinds of incidents.
const (
	KindViolation = "violation" // a client has done what the site counts against it
	KindBan       = "ban"       // a rule or a violation has banned the client
	KindReport    = "report"    // a service was told of the client, or would have been
)

// Incident counts the equal incidents of one address within one minute.
type Incident struct {
	Minute     time.Time    `json:"minute"`  // in UTC
	Address    netip.Prefix `json:"address"` // as Decision.Address
	Host       string       `json:"host,omitempty"`
	Kind       string       `json:"kind"`
	Name       string       `json:"name"` // of the violation; the rule that has banned; the provider that was told
	Count      int64        `json:"count"`
	Points     float64      `json:"points,omitempty"`           // what the violations of this name amounted to at most
	Seconds    int64        `json:"duration_seconds,omitempty"` // of the longest ban
	Categories []string     `json:"categories,omitempty"`       // of a report
	Result     string       `json:"result,omitempty"`           // of a report
	First      time.Time    `json:"first"`
	Last       time.Time    `json:"last"`
	RequestID  string       `json:"request_id,omitempty"` // of the first request
	Config     string       `json:"config"`
}

// Finite returns f, or 0 for NaN and infinities, which JSON lacks.
func Finite[F float32 | float64](f F) F {
	if f := float64(f); math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return f
}

// ID identifies a batch.
type ID [16]byte

// String returns the ID as file names have it.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Batch is a set of entries that is stored in one transaction.
type Batch struct {
	ID        ID
	Decisions []Decision
	Changes   []Change
	Incidents []Incident
}

// Stored is the result of storing a batch.
type Stored struct {
	// Entries counts the entries that are stored now or were stored before: each request that a
	// decision counts, each change, and each incident.
	Entries int64
	// Expired counts the entries that were not stored: they are older than the retention, or have
	// an invalid time or address.
	Expired int64
	// Rejected counts the entries that the store can never take.
	Rejected int64
}

// Store stores each batch exactly once. If it has already stored the batch's ID, it stores nothing
// and returns no error. It is called by one goroutine at a time. After an error, nothing of the
// batch is stored, or the outcome is unknown.
type Store interface {
	Write(ctx context.Context, batch *Batch) (Stored, error)
}

// Errors of a Store and of a Reader, bare or wrapped. Wrapping texts contain no secret.
var (
	// ErrUnavailable means that the database cannot be used at present: it does not answer, refuses
	// the login, or takes no writes.
	ErrUnavailable = errors.New("the database of the history cannot be used")

	// ErrSchema means that the database lacks the tables, or has those of another version.
	ErrSchema = errors.New("the database of the history has not the tables that this version needs")

	// ErrRejected means that a Store can never store the batch: to retry is useless.
	ErrRejected = errors.New("the database of the history refuses what is to be stored")

	// ErrSlow means that the answer took too long.
	ErrSlow = errors.New("the question takes the database too long: ask for a shorter time")

	// ErrQuery means that a query is invalid. The wrapping text gives the reason.
	ErrQuery = errors.New("the question cannot be answered")
)
