// Package api is the handler `ip_reputation_api`: it answers applications that ask about addresses.
package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/api"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/limit"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/request"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/secret"
)

func init() {
	caddy.RegisterModule(new(API))
}

// API answers applications that ask about addresses: `GET /v1/ip/{address}`, `POST /v1/ip` for up to 100 of
// them, `GET /v1/me`, `GET /v1/ip/{address}/history`, `GET /v1/history/worst`, `GET /v1/history/rules`, `GET
// /v1/health` and `GET /openapi.json`, which describes all of it. By `POST /v1/violations`, applications report
// what they have seen clients do. It answers everything that reaches it:
// which requests do is for the route to say. Paths are those that the handler sees, without what
// `handle_path` has taken away.
//
// It needs neither the handler nor the matcher `ip_reputation` on its site.
type API struct {
	// Who may ask. At least one token is required: nobody is answered without one, but about health and by
	// `/openapi.json`.
	Tokens []Token `json:"tokens,omitempty"`

	// How many requests one client may make, such as `60/1m`, with a token or without: an IPv4 address, or an
	// IPv6 /64. `/v1/health` is not counted. Requests without a good token are limited to `30/1m` in any case.
	// Default: no other limit.
	Limit string `json:"limit,omitempty"`

	// The origins of pages whose scripts may read the answers, such as `https://intel.example.com`. Default: none.
	CORS []string `json:"cors,omitempty"`

	handler *api.Handler
}

// Token lets somebody ask.
type Token struct {
	// The token itself, of 16 characters or more. One that has ended, by the
	// configuration or by its store, is not accepted any more. One that has not come from its store yet, or is too short,
	// lets nobody in. Required.
	Secret secret.Secret `json:"secret"`

	// What it is for: `read` (what is known of addresses), `ask` (have providers asked, within their terms,
	// where a request says so; it needs `read`), `history` (what was known and decided over time), `violations`
	// (report violations, which count against whomever the application names). At least one is required.
	Scopes []string `json:"scopes,omitempty"`

	// What it is called in the log, among the keys and in metrics, behind `api/`. Default: `token-1` for the
	// first, and so on.
	Name string `json:"name,omitempty"`

	// How many questions it allows from all clients together, such as `600/1m`. A request about several
	// addresses is as many questions, and so is one that reports several violations. Default: no limit.
	Limit string `json:"limit,omitempty"`

	// The names of the violations that it may report, such as `spam`. An application that reports spam need not
	// be able to ban anybody with `trap`. It needs the scope `violations`. Default: all.
	Violations []string `json:"violations,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*API) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.ip_reputation_api",
		New: func() caddy.Module { return new(API) },
	}
}

// failedTokens is how many requests without a good token one client may make.
var failedTokens = rate.Rate{Events: 30, Per: time.Minute}

// IsAPIScope reports whether a word is the scope of a token.
func IsAPIScope(word string) bool {
	_, ok := api.ParseScope(word)
	return ok
}

// Check reports what is wrong with the settings, as far as they can be judged by themselves.
func (a *API) Check() error {
	if len(a.Tokens) == 0 {
		return errors.New("no token is given, and an API for everybody is refused: write `token {env.API_TOKEN} read`")
	}
	names := map[string]bool{}
	for i := range a.Tokens {
		t := &a.Tokens[i]
		if err := t.Check(); err != nil {
			return fmt.Errorf("%s: %w", t.name(i), err)
		}
		if names[t.name(i)] {
			return fmt.Errorf("two tokens are called %s: give one another name", t.name(i))
		}
		names[t.name(i)] = true
		for other := range i {
			if a.Tokens[other].from() == t.from() {
				return sameToken(a.Tokens[other].shown(other), t.shown(i))
			}
		}
	}
	return a.CheckAccess()
}

// CheckAccess reports what is wrong with what holds for all tokens.
func (a *API) CheckAccess() error {
	if a.Limit != "" {
		if err := limit.CheckText(a.Limit); err != nil {
			return err
		}
	}
	for i, origin := range a.CORS {
		if err := api.CheckOrigin(origin); err != nil {
			return fmt.Errorf("cors: %w", err)
		}
		if slices.Contains(a.CORS[:i], origin) {
			return fmt.Errorf("cors: origin %s is named twice: remove one", origin)
		}
	}
	return nil
}

// Check reports what is wrong with the settings of a token, as far as they can be judged by themselves.
func (t *Token) Check() error {
	scopes, err := t.scopes()
	switch {
	case err != nil:
		return err
	case scopes == 0:
		return errors.New("the token has no scope, so it is good for nothing: write read, ask, history or violations behind it")
	case scopes&api.ScopeAsk != 0 && scopes&api.ScopeRead == 0:
		return errors.New("the scope ask is of no use without read: write read ask")
	case len(t.Violations) > 0 && scopes&api.ScopeViolations == 0:
		return errors.New("violations names some, but the token may report none: give it the scope violations, too")
	}
	for i, name := range t.Violations {
		if slices.Contains(t.Violations[:i], name) {
			return fmt.Errorf("violations: %q is named twice: remove one", name)
		}
	}
	if t.Name != "" {
		if err := reputation.CheckName(t.Name); err != nil {
			return err
		}
	}
	if t.Limit != "" {
		if err := limit.CheckText(t.Limit); err != nil {
			return err
		}
	}
	return t.Secret.CheckValue(api.CheckToken)
}

func (t *Token) scopes() (all api.Scope, err error) {
	for _, word := range t.Scopes {
		scope, ok := api.ParseScope(word)
		switch {
		case !ok:
			return 0, fmt.Errorf("unknown scope %q: use read, ask, history or violations", word)
		case all&scope != 0:
			return 0, fmt.Errorf("the scope %s is given twice: remove one", word)
		}
		all |= scope
	}
	return all, nil
}

// name is what the token is called, by its position.
func (t *Token) name(position int) string {
	if t.Name != "" {
		return t.Name
	}
	return fmt.Sprintf("token-%d", position+1)
}

// shown is how errors call a token: with its placeholders, without its value.
func (t *Token) shown(position int) string {
	return strings.TrimSpace(t.name(position) + " " + secret.Placeholders(t.Secret.Value))
}

// from is where the token comes from.
func (t *Token) from() string { return t.Secret.Value + string(t.Secret.StoreRaw) }

func sameToken(one, other string) error {
	return fmt.Errorf("%s and %s are the same token: make another one with `openssl rand -hex 32`", one, other)
}

// Provision makes what answers. Nobody is called.
func (a *API) Provision(ctx caddy.Context) error {
	rt, err := runtime.Of(ctx)
	if err != nil {
		return err
	}
	if err := a.Check(); err != nil {
		return fmt.Errorf("ip_reputation_api: %w", err)
	}
	rt.Use()
	if err := rt.UseLimits(); err != nil {
		return err
	}
	o := api.Options{
		Backend: backend{rt},
		Client:  func(r *http.Request) netip.Addr { return request.VarsOf(r).Client(rt.NAT64) },
		Origins: a.CORS, Logger: rt.Logger,
		RequestID: func(r *http.Request) string { return request.IDOf(r.Context()) },
	}
	if o.Tokens, err = a.provisionTokens(ctx, rt); err != nil {
		return fmt.Errorf("ip_reputation_api: %w", err)
	}
	if err := a.provisionLimits(rt, &o); err != nil {
		return fmt.Errorf("ip_reputation_api: %w", err)
	}
	series := metrics.OpenAPI(api.RouteNames()...)
	rt.Leases.Add(func() error { series.Close(); return nil })
	o.Count = func(route api.Route, status int) { series.Count(int(route), status) }
	a.handler, err = api.New(o)
	return err
}

// provisionLimits sets what clients may do.
func (a *API) provisionLimits(rt *runtime.Runtime, o *api.Options) error {
	failed, err := limit.NewRule(failedTokens, "api", "failed")
	if err != nil {
		return err
	}
	o.Failed = func(ctx context.Context, client netip.Addr) api.Allowance {
		return allow(ctx, rt, failed, "failed", limit.Client(client), 1)
	}
	if a.Limit == "" {
		return nil
	}
	address, err := apiRule(a.Limit, "address")
	if err != nil {
		return err
	}
	o.Address = func(ctx context.Context, client netip.Addr) api.Allowance {
		return allow(ctx, rt, address, "address", limit.Client(client), 1)
	}
	return nil
}

// apiRule returns the rule of a limit. The parts are its identity: a limit with other parts counts apart.
func apiRule(text string, parts ...string) (limit.Rule, error) {
	allowed, err := rate.Parse(text)
	if err != nil {
		return limit.Rule{}, err
	}
	return limit.NewRule(allowed, append([]string{"api"}, parts...)...)
}

// allow counts n requests by a limit. If fewer would pass, all are refused and one is counted, so that a
// client that waits as long as the answer says passes. All n together wait no longer than one.
func allow(ctx context.Context, rt *runtime.Runtime, rule limit.Rule, name string, subject limit.Subject, n int) api.Allowance {
	deadline := time.Now().Add(rt.Wait)
	d := rt.Limiter.Take(ctx, rule, subject, rt.Wait)
	if missing := n - 1 - d.Remaining; d.Allowed && missing > 0 {
		r := rule.Rate()
		d.Allowed, d.RetryAfter = false, time.Duration(float64(missing+2)*float64(r.Per)/float64(r.Events)) // the request itself counts, too
	}
	for i := 1; i < n && d.Allowed; i++ {
		d = rt.Limiter.Take(ctx, rule, subject, max(time.Until(deadline), 0))
	}
	policy, state := limit.Fields(name, rule.Rate(), d)
	return api.Allowance{Allowed: d.Allowed, Policy: policy, State: state, RetryAfter: d.RetryAfter}
}

// provisionTokens opens the tokens. Those whose value is known by now must be valid.
func (a *API) provisionTokens(ctx caddy.Context, rt *runtime.Runtime) ([]api.Token, error) {
	tokens, known := make([]api.Token, len(a.Tokens)), map[string]string{}
	for i := range a.Tokens {
		t := &a.Tokens[i]
		name := t.name(i)
		identity, err := process.Hash(t.Secret) // the raw store is gone once it is loaded
		if err != nil {
			return nil, err
		}
		value, err := t.Secret.OpenFor(ctx, rt, runtime.TokenPrefix+name, "token", true)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if current, ok := value.Current(); ok {
			shown := t.shown(i)
			if err := api.CheckToken(current); err != nil {
				return nil, fmt.Errorf("%s: %w", shown, err)
			}
			if other, ok := known[current]; ok {
				return nil, sameToken(other, shown)
			}
			known[current] = shown
		}
		if tokens[i], err = t.provision(rt, name, identity); err != nil {
			return nil, err
		}
		tokens[i].Value, tokens[i].Expires = value.Current, func() time.Time { return value.Status().Expires }
	}
	return tokens, nil
}

// provision returns the token without its value.
func (t *Token) provision(rt *runtime.Runtime, name, identity string) (api.Token, error) {
	scopes, err := t.scopes()
	if err != nil {
		return api.Token{}, err
	}
	token := api.Token{Name: runtime.TokenPrefix + name, Scope: scopes, Violations: t.Violations}
	if scopes&api.ScopeViolations != 0 {
		if err := rt.Conduct.UseViolations(t.Violations...); err != nil {
			return api.Token{}, err
		}
	}
	for _, violation := range t.Violations {
		if known := rt.Conduct.ViolationNames(); !slices.Contains(known, violation) {
			return api.Token{}, fmt.Errorf("%s: there is no violation %q: use %s", name, violation, strings.Join(known, ", "))
		}
	}
	if t.Limit == "" {
		return token, nil
	}
	rule, err := apiRule(t.Limit, "token", identity)
	if err != nil {
		return api.Token{}, err
	}
	token.MaxAddresses = rule.Rate().Events // more at once would never pass
	token.Limit = func(r *http.Request, n int) api.Allowance {
		return allow(r.Context(), rt, rule, "token", limit.Keyed(name), n)
	}
	return token, nil
}

// ServeHTTP answers, and hands nothing on.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if request.IDOf(r.Context()) == "" { // no ip_reputation handler or matcher has been here
		id := request.ID(r, request.VarsOf(r))
		if extra, ok := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
			extra.Set(zap.String("request_id", id))
		}
		r = r.WithContext(request.WithID(r.Context(), id))
	}
	a.handler.ServeHTTP(w, r)
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*API)(nil)
	_ caddyhttp.MiddlewareHandler = (*API)(nil)
)
