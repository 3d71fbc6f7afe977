package runtime

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/throttle"
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

	// Enforce is whether the site acts: otherwise a ban is only said.
	Enforce bool

	// OncePerPath lets the same path count once.
	OncePerPath bool

	// Share is what part of its points it costs: less than 1 for a client in good standing.
	Share float64
}

// OpenViolations sets what violations cost.
func (rt *Runtime) OpenViolations(terms []violation.Terms) {
	rt.terms = make(map[string]*violation.Terms, len(terms))
	for i := range terms {
		rt.terms[terms[i].Name] = &terms[i]
	}
}

// Terms returns what a violation costs.
func (rt *Runtime) Terms(name string) (t *violation.Terms, known bool) {
	t, known = rt.terms[name]
	return t, known
}

// ViolationNames returns the names of all violations, sorted.
func (rt *Runtime) ViolationNames() []string { return slices.Sorted(maps.Keys(rt.terms)) }
