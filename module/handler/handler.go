// Package handler is what happens to a request: the handler and the matcher `ip_reputation` look its client
// up, describe it to the application, and decide what becomes of it.
package handler

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
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
// `.asn`, `.nature`, `.mode`, `.rule`, `.subject`, `.request_id` and `.trace_id`.
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

	// Addresses that this site does not judge, besides those of the app: addresses, CIDR ranges or `private_ranges`.
	// Default: none.
	Exempt []string `json:"exempt,omitempty"`

	// What to do with an address that nobody could say anything about, when no rule decides: `pass` or `block`.
	// Default: `pass`.
	Unknown string `json:"unknown,omitempty"`

	// Which decisions get an entry of their own in the log. Default: those against a request, sampled.
	Log *DecisionLog `json:"log,omitempty"`

	runtime   *runtime.Runtime
	enforce   bool
	detail    detail
	wait      time.Duration
	exempt    *iplist.Index
	policy    *policy.Policy
	limits    []limited // by the position of their rules
	decisions *decisionLog
	history   *recording
	proxied   atomic.Bool // a trusted proxy was seen
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
	if h.policy, err = compilePolicy(h.Rules, h.Unknown, rt.SourceNames()); err != nil {
		return err
	}
	for i := range h.Rules {
		rt.CheckRule(fmt.Sprintf("rule %d (%s)", i+1, h.Rules[i].Action), policy.Config(h.Rules[i].Conditions))
	}
	if h.decisions, err = newDecisionLog(h.Log, len(h.Rules), ctx.Logger(), rt.Privacy()); err != nil {
		return err
	}
	limits, some, err := compileLimits(h.Rules, modeWord(h.enforce))
	if err != nil || !some {
		return err
	}
	h.limits = limits
	return rt.UseLimits()
}

// ServeHTTP answers requests from addresses that are not wanted and describes the others to the next handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	stripHeaders(r)
	if h.enforce && early(r) {
		return caddyhttp.Error(http.StatusTooEarly, errEarly)
	}

	v := h.visit(r)
	action, rule := h.policy.Decide(&v.verdict)
	var limiting *limited
	var left limit.Decision
	if action == reputation.Limit {
		limiting = &h.limits[rule.Number-1]
		action, left = h.limit(r, v, limiting)
	}
	v.decide(action, rule, h.enforce)

	v.describe(r, h.detail)
	v.logAccess(r)
	h.decisions.log(r, v)
	h.history.record(r, v)
	metrics.CountRequest(action, h.enforce, v.verdict.Status)
	if v.verdict.Scored {
		metrics.CountScore(v.verdict.Score)
	}

	w = v.identify(w)
	if !h.enforce {
		return next.ServeHTTP(w, r)
	}
	switch action {
	case reputation.Limit:
		return limiting.refuse(w, v, left)
	case reputation.Block:
		return caddyhttp.Error(v.statusCode, v.blocked())
	case reputation.Drop:
		panic(http.ErrAbortHandler) // the server's own way to close a connection without an answer
	}
	return next.ServeHTTP(w, r)
}

// visit returns what is known of the client, which a matcher may have found out already.
func (h *Handler) visit(r *http.Request) *visit {
	vars := runtime.VarsOf(r)
	if vars.FromTrustedProxy() && !h.proxied.Load() && !h.proxied.Swap(true) {
		h.runtime.Suspects.CheckStrict(r, h.runtime.Logger)
	}
	v := visitOf(vars)
	if v == nil || v.runtime != h.runtime {
		return newVisit(h.runtime, r, vars, h.wait, h.exempt)
	}
	v.trace = runtime.TraceOf(r.Context()) // the matcher may have come before `tracing`
	if h.exempt.Lookup(v.client) != 0 {
		v.verdict = reputation.Verdict{Status: reputation.Exempt}
	}
	return v
}

var errEarly = errors.New("the client's address cannot be verified before the TLS handshake is complete")

// early reports whether a request arrived before its handshake was complete. Its address may be forged (RFC 8470).
func early(r *http.Request) bool { return r.TLS != nil && !r.TLS.HandshakeComplete }

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
