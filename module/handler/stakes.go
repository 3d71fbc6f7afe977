package handler

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/policy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/request"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// stakes is what answers of services can still change for a site.
type stakes struct {
	runtime *runtime.Runtime
	policy  *policy.Policy
	enforce bool
	score   bool // the application reads the score of whoever passes
}

// provisionStakes finds out what services are asked for.
func (h *Handler) provisionStakes(rt *runtime.Runtime) error {
	if err := h.CheckAsk(); err != nil {
		return err
	}
	s := &stakes{runtime: rt, policy: h.policy, enforce: h.enforce}
	switch h.Ask {
	case "":
		s.score = !h.decides() || !h.enforce || h.detail != off
	default:
		s.score = h.Ask == "score"
	}
	h.stakes = s
	rt.AddSite(s)
	return nil
}

// CheckAsk reports what is wrong with `ask`.
func (h *Handler) CheckAsk() error {
	switch {
	case h.Ask != "" && h.Ask != "score" && h.Ask != "rules":
		return fmt.Errorf("unknown ask %q: use score or rules", h.Ask)
	case h.Ask == "rules" && !h.decides():
		return errors.New("ask rules would ask no service, since the site has no rules: write rules, or remove it")
	}
	return nil
}

// decides reports whether the site treats clients in different ways.
func (h *Handler) decides() bool { return len(h.Rules) > 0 || h.Unknown == reputation.Block.String() }

// Open implements lookup.Stakes.
func (s *stakes) Open(client netip.Addr, v *reputation.Verdict, prospect *runtime.Prospect) bool {
	open, action := s.policy.Open(v, client, (*policy.Prospect)(prospect))
	if open || s.runtime.MatchersOpen(client, v, prospect) {
		return true
	}
	refused := s.enforce && action != reputation.Pass && action != reputation.Limit
	return s.score && !refused && prospect.Low < score.Certain
}

// lookUpAgain looks the client up once more if another handler has done so, whose rules may need to know less. It does not
// wait: the request has done so.
func (h *Handler) lookUpAgain(r *http.Request, v *visit) {
	if v.stakes != nil && v.stakes != h.stakes {
		v.lookUp(r, request.VarsOf(r), 0, h.exempt, h.lookupRequest(r))
	}
}
