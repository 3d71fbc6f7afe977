package runtime

import (
	"context"
	"net/netip"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
)

// Offence is a violation as a site or the look-up API has seen it.
type Offence struct {
	Violation string // its name
	Client    netip.Addr
	At        time.Time
	Site      string // host of the request
	Method    string
	Path      string // without the query; empty for what the look-up API was told
	Status    int    // of the response; 0 for none
	RequestID string
	Token     string // of the look-up API, by its name; empty for what a site has seen

	// Enforce is whether the site acts: otherwise a ban is only said.
	Enforce bool

	// OncePerPath lets the same path count once.
	OncePerPath bool

	// Share is what part of its points it costs: less than 1 for a client in good standing.
	Share float64
}

// ViolationNames returns the names of all violations that have terms, sorted.
func (rt *Runtime) ViolationNames() []string { return nil }

// Violate counts a violation against its client, and does what its terms say besides: a ban, a report. It does not wait.
func (rt *Runtime) Violate(ctx context.Context, o Offence) violation.Result {
	return violation.Result{}
}
