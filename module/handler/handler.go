// Package handler is what happens to a request: the handler and the matcher `ip_reputation` look its client
// up, describe it to the application, and decide what becomes of it.
package handler

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/iplist"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/limit"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/policy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/request"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/throttle"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler describes the address of a request to the application, and lets the request pass, slows it down,
// blocks it or drops it as the site's rules say.
//
// It removes all `X-IP-Reputation-*` headers from the request and sets its own. It sets `X-Request-ID` on the
// request and on the response. These placeholders are available to the handlers that follow:
// `{http.ip_reputation.score}`, `.status`, `.action`, `.categories`, `.reasons`, `.coverage`, `.country`,
// `.asn`, `.as_name`, `.nature`, `.bot`, `.mode`, `.rule`, `.subject`, `.network`,
// `.violations`, `.request_id` and `.trace_id`.
//
// In `handle_errors` it removes and sets headers, and decides nothing. Put it first there if an application renders the
// page: some requests fail before any other handler has seen them.
type Handler struct {
	// `observe` lets every request pass and only says what would have happened; `enforce` acts. Default: `observe`.
	Mode string `json:"mode,omitempty"`

	// The site's policy. Rules are tried in the order written; the first whose conditions all hold decides. An address
	// that no rule decides about passes, except that addresses which you denied or banned are blocked. Default: none.
	Rules []Rule `json:"rules,omitempty"`

	// Which headers the application gets: `full`, `minimal` (score, status and action) or `off`. What the client
	// sent under these names is removed in any case. Default: `full`.
	Headers string `json:"headers,omitempty"`

	// How long a request to this site waits for providers when nothing is known of its address yet; zero never waits.
	// A matcher that comes before the handler waits as long as the app says. Default: that of the app.
	Wait *caddy.Duration `json:"wait,omitempty"`

	// Which requests matter more than others, such as log-ins: any of the rules. While the quota of a service is short,
	// their clients come first. A client of which a matcher has asked before the handler, such as in a route around it,
	// matters like others. Default: none.
	Priority []PriorityRule `json:"priority,omitempty"`

	// What services are asked for. `rules`: an answer that could change what a rule or a matcher decides. `score`: besides,
	// any answer about a client that passes, since the application may read the score, unless the score is 90 or more
	// whatever is answered. Nobody is asked in vain about clients that are refused in any case. `rules` saves quota, most of
	// all that of services with few calls, and makes headers, placeholders and the log poorer. Default: `rules` if the site
	// enforces rules with `headers off`, else `score`.
	Ask string `json:"ask,omitempty"`

	// Addresses that this site does not judge, besides those of the app: addresses, CIDR ranges or `private_ranges`.
	// Default: none.
	Exempt []string `json:"exempt,omitempty"`

	// What to do with an address that nobody could say anything about, when no rule decides: `pass` or `block`.
	// Default: `pass`.
	Unknown string `json:"unknown,omitempty"`

	// Which decisions get an entry of their own in the log. Default: those against a request, sampled.
	Log *DecisionLog `json:"log,omitempty"`

	// What is a violation on this site. At most 64 rules. Default: none.
	Violations []ViolationRule `json:"violations,omitempty"`

	// Whether a sensible set of violations is added: `trap` for files that no site has, such as `/.env`; `probe` for pages
	// of products, such as `/wp-login.php`, that the site answers with 403 or 404; `not_found` for other pages that are
	// missing, those that browsers ask for by themselves and parts of pages left out. Default: false.
	ViolationsDefault bool `json:"violations_default,omitempty"`

	// Whether the application may name violations in the header `X-IP-Reputation-Violation` of a response, separated by
	// commas. At most eight are read, and those count whatever has caused the request. The header never reaches the
	// visitor, here or on sites that do not take it. Say it only where everything behind the site is trusted: whoever writes
	// the header decides who is banned. Default: false.
	ViolationsFromApplication bool `json:"violations_from_application,omitempty"`

	// How a request shows that its visitor has signed in, whose mistakes weigh less. Default: it does not.
	SignedIn *SignedIn `json:"signed_in,omitempty"`

	runtime   *runtime.Runtime
	watch     *watch // nil: nothing is a violation
	enforce   bool
	detail    detail
	wait      time.Duration
	priority  []priorityRule
	exempt    *iplist.Index
	policy    *policy.Policy
	stakes    *stakes
	rules     []siteRule // by number; the first decides where no rule does
	decisions *decisionLog
	history   *recording
	ownErrors bool        // a subroute around the handler has error routes
	proxied   atomic.Bool // a trusted proxy was seen
	needless  atomic.Bool // that rules have no effect in error routes was logged
	panicked  throttle.Causes[struct{}]
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.ip_reputation",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision prepares the site's policy.
func (h *Handler) Provision(ctx caddy.Context) error {
	rt, err := runtime.Of(ctx)
	if err != nil {
		return err
	}
	h.runtime = rt
	rt.Use()
	if h.history, err = newRecording(rt, h); err != nil {
		return err
	}
	switch h.Mode {
	case "", "observe":
	case "enforce":
		h.enforce = true
	default:
		return fmt.Errorf("unknown mode %q: use observe or enforce", h.Mode)
	}
	if h.detail, err = parseDetail(h.Headers); err != nil {
		return err
	}
	h.wait = rt.Wait
	if h.Wait != nil {
		h.wait = time.Duration(*h.Wait)
	}
	if err := runtime.CheckWait(h.wait); err != nil {
		return err
	}
	if h.exempt, err = siteExemptions(h.Exempt); err != nil {
		return err
	}
	if err := h.provisionPriority(ctx); err != nil {
		return err
	}
	if err := h.provisionRules(rt); err != nil {
		return err
	}
	if err := h.provisionStakes(rt); err != nil {
		return err
	}
	if h.decisions, err = newDecisionLog(h.Log, ctx.Logger(), rt.Privacy()); err != nil {
		return err
	}
	h.ownErrors = insideErrorRoutes(ctx.Modules())
	return h.provisionViolations(ctx, rt)
}

// ServeHTTP answers requests from addresses that are not wanted and describes the others to the next handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	stripHeaders(r)
	if _, failed := r.Context().Value(caddyhttp.ErrorCtxKey).(error); failed {
		return h.serveError(w, r, next)
	}
	v, left, matched := h.judge(r)
	response := v.identify(w)
	if v.decision.enforce && v.decision.action != reputation.Pass {
		response.began = true // nothing of it is a violation
		return h.refuse(response, r, v, left)
	}
	if h.watch != nil {
		response.handler, response.request, response.matched = h, r, matched
	}
	err := next.ServeHTTP(response, r)
	response.end(err)
	return err
}

// judge decides about a request, describes it and records it. A fault of ours costs no request: what was not decided
// before it passes, and what was not described is not. matched are the rules of violations whose conditions on the
// request hold.
func (h *Handler) judge(r *http.Request) (v *visit, left limit.Decision, matched uint64) {
	defer func() {
		if fault := recover(); fault != nil {
			v = h.recovered(r, v, fault)
		}
	}()
	v = h.visit(r)
	h.lookUpAgain(r, v)
	v.decision = decision{} // another handler's, should this one's fail
	v.decision, left = h.decide(r, v)
	if h.watch != nil {
		if matched = h.watch.matching(r); h.trapped(r, v, matched) {
			v.decision, left = h.decide(r, v) // anew, with the points of this very request
		}
	}
	v.describe(r, h.detail)
	v.logAccess(r)
	metrics.CountRequest(v.decision.action, v.decision.enforce, v.verdict.Status)
	h.runtime.Lists.CountRequest(v.client, &v.verdict, v.decision.action, v.decision.enforce)
	if v.verdict.Scored {
		metrics.CountScore(v.verdict.Score)
	}
	h.punish(r, v)
	h.decisions.log(r, v)
	v.keep(r)
	h.history.record(r, v)
	return v, left, matched
}

// recovered logs a panic, and returns a visit that the request can go on with.
func (h *Handler) recovered(r *http.Request, v *visit, fault any) *visit {
	if h.panicked.Allow(struct{}{}, time.Now()) {
		h.runtime.Logger.ErrorContext(r.Context(), "judging a request panicked; this is a bug",
			slog.Any("panic", fault), slog.String("at", string(debug.Stack())))
	}
	if v == nil {
		v = &visit{runtime: h.runtime, requestID: request.ID(r, nil)}
	}
	v.set(r.Header, 0, headerRequestID, v.requestID) // never the client's own
	return v
}

// serveError describes a request to the error routes, which is all that is left to do: another handler may have decided
// about it. Of requests that failed before any handler, such as those with an invalid Host, nothing was removed yet.
func (h *Handler) serveError(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if (len(h.Rules) > 0 || h.watch != nil) && !h.needless.Swap(true) {
		h.runtime.Logger.Warn("rules and violations of ip_reputation in handle_errors have no effect",
			slog.String("cure", "move them to an ip_reputation outside of handle_errors"))
	}
	v := func() (v *visit) {
		defer func() {
			if fault := recover(); fault != nil {
				v = h.recovered(r, v, fault)
			}
		}()
		v = h.visit(r)
		v.describe(r, h.detail)
		v.logAccess(r)
		return v
	}()
	response := v.identify(w)
	response.began = true // what the request did was counted when it failed
	return next.ServeHTTP(response, r)
}

// visit returns what is known of the client, which another handler or a matcher may have found out already.
func (h *Handler) visit(r *http.Request) *visit {
	vars := request.VarsOf(r)
	if vars.FromTrustedProxy() && !h.proxied.Load() && !h.proxied.Swap(true) {
		h.runtime.Conduct.Suspects.CheckStrict(r, h.runtime.Logger)
	}
	v, known := openVisit(h.runtime, r, vars)
	if !known || v.exempt != isExempt(h.exempt, v.client) {
		before, wait := v.client, h.wait
		asked := h.lookupRequest(r)
		if !known && v.client != before {
			wait = 0 // a matcher of `priority` has looked the client up, and waited
		}
		v.lookUp(r, vars, wait, h.exempt, asked)
	}
	return v
}

// Drops reports whether a rule of the site drops.
func (h *Handler) Drops() bool { return h.has(reputation.Drop) }

// has reports whether a rule of the site has an action.
func (h *Handler) has(action reputation.Action) bool {
	return slices.ContainsFunc(h.Rules, func(r Rule) bool { return r.Action == action.String() })
}

// CheckSiteExemptions reports what is wrong with the words of a site's `exempt`.
func CheckSiteExemptions(words []string) error {
	_, err := siteExemptions(words)
	return err
}

// siteExemptions are the addresses that one site does not judge.
func siteExemptions(words []string) (*iplist.Index, error) {
	if len(words) == 0 {
		return nil, nil
	}
	var prefixes []netip.Prefix
	for _, word := range words {
		values, ok, err := address.ParseRanges(word)
		if err != nil {
			return nil, fmt.Errorf("exempt: %w", err)
		}
		if !ok {
			return nil, fmt.Errorf("exempt %q is not an address, a CIDR range or private_ranges: "+
				"files, URLs and presets go into `exempt` of the global ip_reputation options", word)
		}
		prefixes = append(prefixes, values...)
	}
	return iplist.Build([]iplist.Ranges{iplist.NewRanges(prefixes)}), nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
