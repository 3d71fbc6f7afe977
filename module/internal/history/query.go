package history

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// Reader answers queries about the history. A query goes to a database: it may take some seconds,
// and fail with ErrUnavailable, ErrSchema, ErrSlow or ErrQuery.
//
// Next is set when an answer has more pages. The same query with After set to Next returns the page
// that follows, over the period of the first page; the query's own period is ignored. No entry is
// on two pages. Entries of the time between two queries are on no later page. An entry that an
// instance stores late is at its place in time.
type Reader interface {
	// Timeline returns the verdicts and decisions about a prefix and its incidents, the latest first.
	Timeline(context.Context, Query) (Timeline, error)
	// Graph summarizes them over 1 to MaxParts equal parts of the period. A zero From means the
	// time when the prefix was first seen, or earlier: no part is then shorter than a minute. Limit
	// and After are ignored.
	Graph(ctx context.Context, q Query, parts int) (Graph, error)
	// Changes returns the changes of verdicts about a prefix, the latest first. Where very many
	// equal verdicts were recorded, a page may be short, even empty, and still have Next.
	Changes(context.Context, Query) (Changes, error)
	// Worst returns the addresses, or networks, with the most requests that were limited, blocked
	// or dropped, or would have been. It omits those without any.
	Worst(context.Context, Ranking) (Worst, error)
	// Rules returns the decisions of each rule, the most frequent first.
	Rules(context.Context, Ranking) (Rules, error)
	// Requests returns the decisions whose first request has the ID, the latest first, of the last
	// day if the period has no From.
	Requests(ctx context.Context, id string, p Period) (Requests, error)
}

// Requests are the decisions about a request.
type Requests struct {
	Period    Period     `json:"period"`
	Decisions []Decision `json:"decisions"`
}

// Limits of a page.
const (
	DefaultLimit = 50
	MaxLimit     = 1000
)

// MaxParts is the maximum number of parts of a graph.
const MaxParts = 1000

// Period is the time from From, included, to To, excluded. A zero From means the whole retention, a
// zero To means now. The time of a decision is that of its last request, so that it is in only one
// of two adjacent periods.
type Period struct {
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
}

// Query is about one address or network.
type Query struct {
	Period
	Prefix netip.Prefix // as it is stored
	Limit  int          // entries per page; 0: DefaultLimit
	After  string       // Next of the previous page
}

// Ranking is a query about all addresses. A zero From means 24 hours before To.
type Ranking struct {
	Period
	Networks bool // IPv4 /24 and IPv6 /48 instead of addresses; for Worst
	Limit    int
	After    string
}

// Timeline is the verdicts and decisions about a prefix, and its incidents.
type Timeline struct {
	Prefix  netip.Prefix `json:"prefix"`
	Period  Period       `json:"period"` // with defaults filled in
	Seen    *Seen        `json:"seen"`   // over the whole retention; on the first page only; nil: never
	Entries []Entry      `json:"entries"`
	Next    string       `json:"next,omitempty"`
	Warning string       `json:"warning,omitempty"` // why a part is missing

	// Together counts requests in the period of wider prefixes, whose clients were too many for rows
	// of their own. Some of the requests may be of this prefix. It is on the first page only.
	Together []Together `json:"together,omitempty"`
}

// Together counts requests of many clients.
type Together struct {
	Prefix   netip.Prefix `json:"prefix"` // a network, or 0.0.0.0/0 or ::/0: everybody
	Requests int64        `json:"requests"`
}

// Seen summarizes all requests of a prefix.
type Seen struct {
	First    time.Time        `json:"first"`
	Last     time.Time        `json:"last"`
	Requests int64            `json:"requests"`
	Actions  map[string]int64 `json:"actions"` // requests by action
}

// Entry is one line of a timeline: a decision, a change or an incident.
type Entry struct {
	At       time.Time `json:"at"` // of a decision: its last request; likewise of an incident
	Decision *Decision `json:"decision,omitempty"`
	Verdict  *Change   `json:"verdict,omitempty"`
	Incident *Incident `json:"incident,omitempty"`
}

// Graph is a period in equal parts, the earliest first.
type Graph struct {
	Period Period `json:"period"`
	Parts  []Part `json:"parts"`
}

// Part is one part of a graph.
type Part struct {
	From    time.Time        `json:"from"`
	Score   *uint8           `json:"score"` // the highest; nil: no verdict
	Actions map[string]int64 `json:"actions,omitempty"`
}

// Changes is a page of changed verdicts about a prefix.
type Changes struct {
	Prefix  netip.Prefix `json:"prefix"`
	Period  Period       `json:"period"`
	Changes []Difference `json:"changes"`
	Next    string       `json:"next,omitempty"`
}

// Difference is a change, compared with the previous verdict about the same subject.
type Difference struct {
	Change
	Before *uint8  `json:"before"`  // the previous score; nil: none is stored
	Causes []Cause `json:"because"` // the largest change first
}

// Cause is a source that changed a verdict.
type Cause struct {
	Source string   `json:"source"`
	Before *float64 `json:"before"` // points; nil: the source was not in the previous verdict
	After  *float64 `json:"after"`  // points; nil: the source is not in this verdict
}

// Worst is a page of addresses or networks, the worst first.
type Worst struct {
	Period Period   `json:"period"`
	Worst  []Ranked `json:"worst"`
	Next   string   `json:"next,omitempty"`
}

// Ranked is one address or network of a ranking.
type Ranked struct {
	Prefix    netip.Prefix `json:"prefix"`
	Refused   int64        `json:"refused"` // requests limited, blocked or dropped, or would have been
	Requests  int64        `json:"requests"`
	Addresses int64        `json:"addresses"` // in the network
	Score     *uint8       `json:"score"`     // the highest
	First     time.Time    `json:"first"`
	Last      time.Time    `json:"last"`
}

// Rules is a page of the decisions of rules.
type Rules struct {
	Period Period      `json:"period"`
	Rules  []RuleStats `json:"rules"`
	Next   string      `json:"next,omitempty"`
}

// RuleStats is one rule of one host.
type RuleStats struct {
	Host      string    `json:"host"`
	Rule      string    `json:"rule"` // empty: no rule decided
	Action    string    `json:"action"`
	Mode      string    `json:"mode"`
	Requests  int64     `json:"requests"`
	Addresses int64     `json:"addresses"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
}

// ResultOf returns the result of a query as a word: ok, away, schema, slow, question or error.
func ResultOf(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrUnavailable):
		return "away"
	case errors.Is(err, ErrSchema):
		return "schema"
	case errors.Is(err, ErrSlow):
		return "slow"
	case errors.Is(err, ErrQuery):
		return "question"
	}
	return "error"
}
