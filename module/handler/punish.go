package handler

import (
	"errors"
	"net/http"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/conduct"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// punish bans the client of a request, if that was decided. It does not wait.
func (h *Handler) punish(r *http.Request, v *visit) {
	d := &v.decision
	if d.action != reputation.Ban || !d.enforce {
		return
	}
	why := h.spare(r, v)
	switch {
	case why != "":
	case d.rule.request.asks() && foreignToTraps(r) != "":
		why = violation.IgnoredForeign // what the rule asks of the request was not the client's choice
	case h.runtime.MayBeBot(v.client, r.UserAgent()):
		why = conduct.SpareClaim
	}
	if why != "" {
		h.runtime.Conduct.NotBanned(why, v.client)
		return
	}
	h.runtime.Conduct.Punish(conduct.Punishment{
		Client: v.client, For: d.rule.ban, Rule: d.rule.text, Site: r.Host, RequestID: v.requestID,
	})
}

// checkFor reports what is wrong with the time of a ban.
func (r *Rule) checkFor() error {
	switch {
	case r.For == 0:
		return nil
	case r.Action != reputation.Ban.String():
		return errors.New("only a ban lasts for a time: remove it, or write ban")
	}
	return conduct.CheckBan(time.Duration(r.For))
}
