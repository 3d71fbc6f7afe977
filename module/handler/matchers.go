package handler

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// matchers are sets of Caddy's request matchers, as further conditions of a rule. nil stands for none.
type matchers caddyhttp.MatcherSets

// loadMatchers loads what the field MatcherSetsRaw of a rule has.
func loadMatchers(ctx caddy.Context, rule any, raw caddyhttp.RawMatcherSets) (matchers, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	loaded, err := ctx.LoadModule(rule, "MatcherSetsRaw")
	if err != nil {
		return nil, err
	}
	var sets caddyhttp.MatcherSets
	err = sets.FromInterface(loaded)
	return matchers(sets), err
}

// holds reports whether all matchers of a set match. One that fails does not.
func (m matchers) holds(r *http.Request) bool {
	if m == nil {
		return true
	}
	holds, err := caddyhttp.MatcherSets(m).AnyMatchWithError(r)
	return holds && err == nil
}
