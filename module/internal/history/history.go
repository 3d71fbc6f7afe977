// Package history remembers what was known of addresses and what was decided about their requests.
//
// A Recorder is told of every request and keeps what is worth keeping: how often what was decided in each minute, and how
// verdicts changed. That waits on disk until a Store has it. A Reader answers questions about it.
package history

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Event is one request: who it came from, what was known of that, and what was decided.
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

// Decision is how often the same was decided about an address in a minute.
type Decision struct {
	Minute    time.Time    `json:"minute"`  // in UTC
	Address   netip.Prefix `json:"address"` // an IPv4 address or an IPv6 /64; cut short, where privacy says so
	Host      string       `json:"host,omitempty"`
	Rule      string       `json:"rule,omitempty"`
	Action    string       `json:"action"`
	Mode      string       `json:"mode"`  // enforce or observe
	Count     int64        `json:"count"` // of requests
	First     time.Time    `json:"first"`
	Last      time.Time    `json:"last"`
	RequestID string       `json:"request_id"`      // of the first
	Score     *uint8       `json:"score,omitempty"` // the highest; nil when there was none
	Status    string       `json:"status"`          // of the last verdict
	Config    string       `json:"config"`
}

// Change is a verdict about a subject that differs from the one before.
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
	RequestID  string       `json:"request_id"` // of the request that showed it
	Config     string       `json:"config"`
}

// Evidence is the part of one source in a verdict.
type Evidence struct {
	Source     string   `json:"source"`
	Points     float64  `json:"points"` // in decibans, which add up to the score
	Categories []string `json:"categories,omitempty"`
	Age        int64    `json:"age_seconds,omitempty"` // since the source was asked; 0 for lists

	// Severity and Confidence are those of the source's report, so that points can be worked out anew for other weights.
	// Both are 0 in what earlier versions stored, and in the answers of a Reader.
	Severity   float32 `json:"severity,omitempty"`
	Confidence float32 `json:"confidence,omitempty"`
}

// ID tells batches apart.
type ID [16]byte

// Batch is what is stored together.
type Batch struct {
	ID        ID
	Decisions []Decision
	Changes   []Change
}

// Stored is what became of a batch.
type Stored struct {
	// Entries were stored now, or had been before: each request that a decision counts is one, and each change.
	Entries int64
	// Expired are those that were older than what is kept, or of a time or an address that cannot be.
	Expired int64
}

// Store keeps batches, each exactly once: one whose ID it has stored is not stored again, and that is no error. It is called
// by one goroutine at a time. An error means that nothing of the batch is stored, or that nobody knows.
type Store interface {
	Write(ctx context.Context, batch *Batch) (Stored, error)
}

// Errors of a Store and of a Reader, bare or wrapped. What wraps them holds nothing secret.
var (
	// ErrAway means that the database is of no use at present: it does not answer, does not accept the login, or takes no writes.
	ErrAway = errors.New("the database of the history cannot be used")

	// ErrSchema means that the database has not the tables that are needed: none yet, or those of another version.
	ErrSchema = errors.New("the database of the history has not the tables that this version needs")

	// ErrRejected means that a Store can never take a batch, however often it is tried.
	ErrRejected = errors.New("the database of the history refuses what is to be stored")

	// ErrSlow means that an answer would have taken too long.
	ErrSlow = errors.New("the question takes the database too long: ask for a shorter time")

	// ErrQuestion means that a question makes no sense. What wraps it says why.
	ErrQuestion = errors.New("the question cannot be answered")
)
