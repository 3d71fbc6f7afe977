package handler

import (
	"fmt"
	"net/http"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types/ref"
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/policy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/request"
)

func init() {
	caddy.RegisterModule(MatchIPReputation{})
}

// MatchIPReputation matches requests by the reputation of the address they come from. All conditions must
// hold. It needs no `ip_reputation` handler in front of it: whichever of the two comes first looks the
// address up.
//
// In CEL expressions, each argument is one condition: `ip_reputation('score 40-84', 'nature tor,vpn')`.
type MatchIPReputation struct {
	Conditions

	runtime    *runtime.Runtime
	conditions policy.Conditions
}

// CaddyModule returns the Caddy module information.
func (MatchIPReputation) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.matchers.ip_reputation",
		New: func() caddy.Module { return new(MatchIPReputation) },
	}
}

// Provision prepares the conditions.
func (m *MatchIPReputation) Provision(ctx caddy.Context) error {
	rt, err := runtime.Of(ctx)
	if err != nil {
		return err
	}
	m.runtime = rt
	rt.Use()
	if m.isEmpty() {
		return fmt.Errorf("an ip_reputation matcher without a condition would match everything: give it one of %s", conditionWords)
	}
	if m.conditions, err = m.compile(rt.SourceNames(), rt.Lists.ASNList); err != nil {
		return fmt.Errorf("an ip_reputation matcher: %w", err)
	}
	rt.AddMatcher(&m.conditions)
	rt.CheckRule("a matcher", policy.Config(m.Conditions))
	return nil
}

// MatchWithError reports whether all conditions hold for the client of r.
func (m *MatchIPReputation) MatchWithError(r *http.Request) (bool, error) {
	vars := request.VarsOf(r)
	v, known := openVisit(m.runtime, r, vars)
	if !known {
		v.lookUp(r, vars, m.runtime.Wait, nil, runtime.LookupRequest{})
	}
	if v.known != nil && m.conditions.NeedsAddress() {
		return false, caddyhttp.Error(http.StatusTooEarly, errEarly) // as Caddy's own `client_ip`
	}
	return m.conditions.Match(v.judged(), v.client), nil
}

// Match reports whether all conditions hold for the client of r.
func (m *MatchIPReputation) Match(r *http.Request) bool {
	match, _ := m.MatchWithError(r)
	return match
}

// CELLibrary makes the matcher usable in expressions, with one string a condition.
//
// Example:
//
//	expression ip_reputation('score 40-84') && path('/login')
func (MatchIPReputation) CELLibrary(ctx caddy.Context) (cel.Library, error) {
	return caddyhttp.CELMatcherImpl("ip_reputation", "ip_reputation_match_request", []*cel.Type{cel.ListType(cel.StringType)},
		func(data ref.Val) (caddyhttp.RequestMatcherWithError, error) {
			words, err := data.ConvertToNative(stringSlice)
			if err != nil {
				return nil, err
			}
			m := new(MatchIPReputation)
			for _, condition := range words.([]string) {
				if err := m.ParseCondition(condition); err != nil {
					return nil, fmt.Errorf("ip_reputation(%q): %w", condition, err)
				}
			}
			return m, m.Provision(ctx)
		})
}

// UnmarshalCaddyfile sets up the matcher from Caddyfile tokens. Syntax:
//
//	ip_reputation <condition> <values> [<condition> <values>...] {
//		<condition> <values>
//	}
//
// Values are separated by commas.
func (m *MatchIPReputation) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	add := func(word string) error {
		if !d.NextArg() {
			return d.Errf("condition %q needs a value", word)
		}
		if err := m.Add(word, d.Val()); err != nil {
			return d.WrapErr(err)
		}
		return nil
	}
	for d.Next() {
		for d.NextArg() {
			if err := add(d.Val()); err != nil {
				return err
			}
		}
		for d.NextBlock(0) {
			if err := add(d.Val()); err != nil {
				return err
			}
			if d.NextArg() {
				return d.Errf("unexpected %q: write one condition a line, its values separated by commas", d.Val())
			}
		}
	}
	if m.isEmpty() {
		return d.Errf("an ip_reputation matcher needs a condition: one of %s", conditionWords)
	}
	return nil
}

// Interface guards
var (
	_ caddyfile.Unmarshaler             = (*MatchIPReputation)(nil)
	_ caddy.Provisioner                 = (*MatchIPReputation)(nil)
	_ caddyhttp.RequestMatcherWithError = (*MatchIPReputation)(nil)
	_ caddyhttp.CELLibraryProducer      = (*MatchIPReputation)(nil)
)
