package spend

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/handler"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// request is one line of a trace.
type request struct {
	at           time.Time
	addr         netip.Addr
	method, path string
	status       int
	abusive      bool // of a client that abuses the site. The replay learns of it only when it counts
}

// trace is what came to a site.
type trace struct {
	name     string
	requests []request           // in the order of time
	listed   map[record.Key]bool // on a list that by itself decides nothing
	logins   []string            // paths of log-ins
	failed   []string            // statuses of a POST there that has failed
	priority bool                // the site has a `priority` with these paths
}

// sort brings the requests in order, those of the same time in that in which they are.
func (t *trace) sort() {
	slices.SortStableFunc(t.requests, func(a, b request) int { return a.at.Compare(b.at) })
}

// subjectsPerDay returns how many subjects there are on a day in UTC, on average.
func (t *trace) subjectsPerDay() int {
	days := map[time.Time]map[record.Key]bool{}
	sum := 0
	for i := range t.requests {
		day := t.requests[i].at.UTC().Truncate(24 * time.Hour)
		if days[day] == nil {
			days[day] = map[record.Key]bool{}
		}
		if key := record.KeyOf(t.requests[i].addr); !days[day][key] {
			days[day][key] = true
			sum++
		}
	}
	return sum / max(len(days), 1)
}

// rules finds out which violations a request is, by the rules of `violations default` and one of log-ins, with Caddy's
// own matcher.
type rules struct {
	list   []rule
	known  map[string][]string // by method, path and status
	logins caddyhttp.MatchPath // that matter to the site
	ctx    context.Context
}

type rule struct {
	handler.ViolationRule
	path, notPath caddyhttp.MatchPath
}

// newRules returns the rules for a trace. Those of the names that are left out are not there.
func newRules(t *trace, without ...string) (*rules, error) {
	r := &rules{known: map[string][]string{}}
	if t.priority {
		r.logins = slices.Clone(t.logins)
	}
	r.ctx = context.WithValue(context.Background(), caddy.ReplacerCtxKey, caddy.NewReplacer())
	all := append(handler.DefaultViolations(), handler.ViolationRule{
		Name: "login_failed", Path: t.logins, Method: []string{http.MethodPost}, Status: t.failed,
	})
	for _, v := range all {
		if slices.Contains(without, v.Name) || v.Name == "login_failed" && len(t.logins) == 0 {
			continue
		}
		compiled := rule{ViolationRule: v, path: slices.Clone(v.Path), notPath: slices.Clone(v.NotPath)}
		for _, m := range []caddyhttp.MatchPath{compiled.path, compiled.notPath} {
			if err := m.Provision(caddy.Context{}); err != nil {
				return nil, fmt.Errorf("the paths of %s: %w", v.Name, err)
			}
		}
		r.list = append(r.list, compiled)
	}
	return r, r.logins.Provision(caddy.Context{})
}

// violations returns the names of the violations that a request is.
func (r *rules) violations(q *request) []string {
	id := q.method + " " + strconv.Itoa(q.status) + " " + q.path
	names, known := r.known[id]
	if !known {
		h := r.httpRequest(q)
		for i := range r.list {
			if r.list[i].holds(h, q.status) {
				names = append(names, r.list[i].Name)
			}
		}
		r.known[id] = names
	}
	return names
}

func (r *rule) holds(h *http.Request, status int) bool {
	return (len(r.Method) == 0 || slices.Contains(r.Method, h.Method)) &&
		(len(r.Status) == 0 || slices.Contains(r.Status, strconv.Itoa(status))) &&
		(len(r.path) == 0 || r.path.Match(h)) && (len(r.notPath) == 0 || !r.notPath.Match(h))
}

// important reports whether the site's `priority` holds for a request.
func (r *rules) important(q *request) bool {
	return len(r.logins) > 0 && r.logins.Match(r.httpRequest(q))
}

func (r *rules) httpRequest(q *request) *http.Request {
	return (&http.Request{Method: q.method, URL: &url.URL{Path: q.path}}).WithContext(r.ctx)
}
