package command

import (
	"fmt"
	"slices"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
)

// entry writes a ban or an exemption in one line.
func (p *page) entry(e ban.Entry) string {
	text := e.Prefix.String() + " " + p.end(e)
	if why := e.Why(); why != "" {
		text += ": " + why
	}
	return text
}

func (p *page) end(e ban.Entry) string {
	if e.Expires.IsZero() {
		return "forever"
	}
	return fmt.Sprintf("until %s (%s left)", health.FormatTime(e.Expires), span(e.Expires.Sub(p.now)))
}

func (p *page) added(a adminapi.OverrideAnswer) {
	p.row(adminapi.StateOf(a.Kind) + ": " + p.entry(a.Entry))
	p.remarks(a)
}

func (p *page) removed(a adminapi.OverrideAnswer) {
	p.row(fmt.Sprintf("the %s of %s has ended", a.Kind, a.Prefix))
	p.remarks(a)
}

func (p *page) remarks(a adminapi.OverrideAnswer) {
	if a.Note != "" {
		p.row("note: " + a.Note)
	}
	p.warning(a.Warning)
}

func (p *page) overrides(all allOverrides) {
	if len(all.Bans)+len(all.Exemptions) == 0 {
		p.row("nothing is banned or exempt at run time")
		return
	}
	for _, e := range slices.Concat(all.Exemptions, all.Bans) {
		p.row(e.Kind.String(), e.Prefix.String(), p.end(e), e.Why())
	}
}
