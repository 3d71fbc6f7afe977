package history

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// Reader answers questions about the history. It asks a database: each may take up to some seconds, and fail with ErrAway,
// ErrSchema, ErrSlow or ErrQuestion.
//
// Answers that go on have Next: the same question with that as its After has what follows, of the same time, whatever that
// question says. What happens in between is not in later pages, and nothing is in two; what an instance stores late, of
// earlier, is where it belongs.
type Reader interface {
	// Timeline is what was known of a prefix and decided about it, the latest first.
	Timeline(context.Context, Question) (Timeline, error)
	// Graph is the same in few numbers, over 1 to 1000 equal parts of the time. A zero From stands for when the prefix was
	// first seen, or more than that: no part is then shorter than a minute. Limit and After mean nothing.
	Graph(ctx context.Context, q Question, parts int) (Graph, error)
	// Changes is what changed the verdicts about a prefix, the latest first. A page may be short, even empty, and still have
	// Next: where very many verdicts were recorded that do not differ.
	Changes(context.Context, Question) (Changes, error)
	// Worst are the addresses, or networks, of which most requests were limited, blocked or dropped, or would have been.
	// Those of which none was are not among them.
	Worst(context.Context, Ranking) (Worst, error)
	// Rules is what each rule decided, the most frequent first.
	Rules(context.Context, Ranking) (Rules, error)
}

// Limits of a page.
const (
	DefaultLimit = 50
	MaxLimit     = 1000
)

// MaxParts is how many parts a graph may have.
const MaxParts = 1000

// Period is a time from From on and before To. A zero From stands for all that is kept, a zero To for now. A decision is at
// the last of its requests: it is in one of two periods that follow each other.
type Period struct {
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
}

// Question is about one address or network.
type Question struct {
	Period
	Prefix netip.Prefix // as it is kept
	Limit  int          // of a page; 0 stands for DefaultLimit
	After  string       // Next of the page before
}

// Ranking is about all addresses. A zero From stands for 24 hours before To.
type Ranking struct {
	Period
	Networks bool // IPv4 /24 and IPv6 /48 instead of addresses; for Worst
	Limit    int
	After    string
}

// Timeline is what was known of a prefix and decided about it.
type Timeline struct {
	Prefix  netip.Prefix `json:"prefix"`
	Period  Period       `json:"period"` // as it was understood
	Seen    *Seen        `json:"seen"`   // over all that is kept, on the first page; nil: never
	Entries []Entry      `json:"entries"`
	Next    string       `json:"next,omitempty"`
	Warning string       `json:"warning,omitempty"` // why something is left out
}

// Seen is when a prefix was seen, and what was decided.
type Seen struct {
	First    time.Time        `json:"first"`
	Last     time.Time        `json:"last"`
	Requests int64            `json:"requests"`
	Actions  map[string]int64 `json:"actions"` // requests by action
}

// Entry is one line of a timeline: a decision or a change.
type Entry struct {
	At       time.Time `json:"at"` // for a decision: of the last request
	Decision *Decision `json:"decision,omitempty"`
	Verdict  *Change   `json:"verdict,omitempty"`
}

// Graph is a time in equal parts, the earliest first.
type Graph struct {
	Period Period `json:"period"`
	Parts  []Part `json:"parts"`
}

// Part is a part of the time.
type Part struct {
	From    time.Time        `json:"from"`
	Score   *uint8           `json:"score"` // the highest; nil: nothing was known
	Actions map[string]int64 `json:"actions,omitempty"`
}

// Changes is what changed verdicts.
type Changes struct {
	Prefix  netip.Prefix `json:"prefix"`
	Period  Period       `json:"period"`
	Changes []Difference `json:"changes"`
	Next    string       `json:"next,omitempty"`
}

// Difference is a change, and how it differs from the verdict before about the same subject.
type Difference struct {
	Change
	Before *uint8  `json:"before"`  // the score before; nil: none is kept
	Causes []Cause `json:"because"` // what changed most first
}

// Cause is a source that changed a verdict.
type Cause struct {
	Source string   `json:"source"`
	Before *float64 `json:"before"` // points; nil: it said nothing before
	After  *float64 `json:"after"`  // points; nil: it says nothing any more
}

// Worst are addresses or networks, the worst first.
type Worst struct {
	Period Period   `json:"period"`
	Worst  []Ranked `json:"worst"`
	Next   string   `json:"next,omitempty"`
}

// Ranked is an address or a network.
type Ranked struct {
	Prefix    netip.Prefix `json:"prefix"`
	Refused   int64        `json:"refused"` // requests limited, blocked or dropped, or that would have been
	Requests  int64        `json:"requests"`
	Addresses int64        `json:"addresses"` // in the network
	Score     *uint8       `json:"score"`     // the highest
	First     time.Time    `json:"first"`
	Last      time.Time    `json:"last"`
}

// Rules is what rules decided.
type Rules struct {
	Period Period   `json:"period"`
	Rules  []RuleOf `json:"rules"`
	Next   string   `json:"next,omitempty"`
}

// RuleOf is one rule of one host.
type RuleOf struct {
	Host      string    `json:"host"`
	Rule      string    `json:"rule"` // empty: no rule decided
	Action    string    `json:"action"`
	Mode      string    `json:"mode"`
	Requests  int64     `json:"requests"`
	Addresses int64     `json:"addresses"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
}

// ResultOf returns the word for what became of a question: ok, away, schema, slow, question or error.
func ResultOf(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrAway):
		return "away"
	case errors.Is(err, ErrSchema):
		return "schema"
	case errors.Is(err, ErrSlow):
		return "slow"
	case errors.Is(err, ErrQuestion):
		return "question"
	}
	return "error"
}
