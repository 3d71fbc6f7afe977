package command

import (
	"cmp"
	"fmt"
	"strconv"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/privacy"
)

// request shows what was decided about a request.
func (p *page) request(r adminapi.Request) {
	p.row("request", r.RequestID)
	if r.Decision != nil {
		p.decision(r.Decision)
	}
	if r.History == nil {
		return
	}
	for _, d := range r.History.Decisions {
		p.gap()
		p.row("first", moment(d.First))
		p.row("address", privacy.Shown(d.Address))
		p.row("host", cmp.Or(d.Host, "-"))
		p.row("decision", fmt.Sprintf("%s (%s)", d.Action, d.Mode))
		p.row("decided by", cmp.Or(d.Rule, "no rule"))
		p.row("score", scoreCell(d.Score)+", "+d.Status)
		p.row("requests", strconv.FormatInt(d.Count, 10)+" equal ones in that minute, of which this was the first")
	}
}

func (p *page) decision(d *adminapi.RequestDecision) {
	p.row("time", moment(d.At))
	p.row("address", cmp.Or(d.Address, "unknown"))
	p.row("host", d.Host)
	p.row("decision", fmt.Sprintf("%s (%s)", d.Action, d.Mode))
	by := d.DecidedBy
	if d.Rule > 0 {
		by += fmt.Sprintf(", rule %d of the site", d.Rule)
	}
	p.row("decided by", by)
	if d.Lists != "" {
		p.row("denied by", d.Lists)
	}
	for i, ban := range d.Bans {
		text := ban.Prefix.String() + " since " + moment(ban.Created)
		if why := ban.Why(); why != "" {
			text += ": " + why
		}
		p.row(label("banned", i), text)
	}
	p.row("score", scoreCell(d.Score)+", "+d.Status+fmt.Sprintf(", coverage %.2f", d.Coverage))
	for i, r := range d.Reasons {
		text := signed(r.Points) + " " + r.Source
		if r.Network {
			text += ", of others of its network"
		}
		if r.AgeSeconds > 0 {
			text += ", asked " + span(time.Duration(r.AgeSeconds)*time.Second) + " before"
		}
		p.row(label("because", i), text)
	}
}
