package command

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/privacy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// check shows a verdict and what it was made of.
func (p *page) check(c adminapi.Check) {
	verdict := []string{c.Address.String()}
	if c.Score != nil {
		verdict = append(verdict, fmt.Sprintf("score %d", *c.Score))
	} else {
		verdict = append(verdict, "no score")
	}
	p.row(append(verdict, c.Status, fmt.Sprintf("coverage %.2f", c.Coverage))...)
	if c.LoggedAs != "" {
		p.row("in the log", c.LoggedAs)
	}
	p.gap()
	if c.Points != nil {
		p.sum(c)
		p.gap()
	}
	p.evidence(c)
	for i, text := range c.Next {
		p.row(label("next", i), text)
	}
}

// sum shows how the points add up to the score.
func (p *page) sum(c adminapi.Check) {
	// Three decimals are exact: points are whole thousandths.
	line := func(points float64, text string) { p.row(fmt.Sprintf("%+10.3f", points), text) }
	line(*c.Prior, "where every address starts")
	for _, r := range c.Reasons {
		text := r.Source
		if len(r.Categories) > 0 {
			text += ": " + strings.Join(r.Categories, ", ")
		}
		if r.Network {
			text += ", of others of its network"
		}
		if r.AgeSeconds > 0 {
			text += ", " + agedBy(r.Source) + " " + span(time.Duration(r.AgeSeconds)*time.Second) + " ago"
		}
		line(r.Points, text)
	}
	line(*c.Points, fmt.Sprintf("points = %s %% likely to be abusive", strconv.FormatFloat(*c.Percent, 'f', 2, 64)))
}

// evidence shows facts, lists, overrides and the answers of providers.
func (p *page) evidence(c adminapi.Check) {
	if c.Subject.IsValid() && !c.Subject.IsSingleIP() {
		p.row("remembered as", c.Subject.String())
	}
	if facts := factsText(c.Facts); facts != "" {
		p.row("facts", facts)
	}
	if c.Claim != nil {
		p.row("claims", c.Claim.Bot+": "+c.Claim.Outcome)
		for _, why := range c.Claim.Why {
			p.row("", "  "+why)
		}
	}
	for i, l := range c.Lists {
		text := fmt.Sprintf("%s (%s, from %s)", l.Name, l.Kind, l.Source)
		if l.By != "" {
			text += ", by " + map[string]string{"asn": "its autonomous system", "country": "its country"}[l.By]
		}
		p.row(label("lists", i), text)
	}
	if len(c.Lists) == 0 {
		p.row("lists", "none")
	}
	for i, e := range c.Overrides {
		p.row(label("overrides", i), fmt.Sprintf("%s of %s", e.Kind, p.entry(e)))
	}
	p.seen(c)
	for i, a := range c.Providers {
		p.row(label("providers", i), a.Name+": "+p.lastAnswer(a))
	}
}

// lastAnswer writes the last answer of a provider, and whether the last call failed.
func (p *page) lastAnswer(a adminapi.ProviderAnswer) string {
	text := "never answered"
	if a.Others > 0 {
		text += fmt.Sprintf("; what it said of %s of the network counts a little", plural(int64(a.Others), "other"))
	}
	if a.Answer != nil {
		text = fmt.Sprintf("severity %.2f, confidence %.2f", a.Answer.Severity, a.Answer.Confidence)
		if len(a.Answer.Categories) > 0 {
			text += ", " + strings.Join(a.Answer.Categories, ", ")
		}
		text += ", answered " + span(p.now.Sub(a.Answer.Fetched)) + " ago"
	}
	if a.Failed {
		text += ", no answer to the last question"
	} else if a.Due.After(p.now) {
		text += ", good for " + span(a.Due.Sub(p.now))
	}
	return text
}

func factsText(f adminapi.Facts) string {
	var known []string
	if f.Country != "" {
		known = append(known, f.Country)
	}
	if f.ASN != 0 {
		known = append(known, strings.TrimSpace(fmt.Sprintf("AS%d %s", f.ASN, f.ASName)))
	}
	if f.Network != "" {
		known = append(known, f.Network)
	}
	if f.Bot != "" {
		known = append(known, "bot="+f.Bot)
	}
	var natures []string
	for kind, is := range f.Nature {
		if is {
			natures = append(natures, kind)
		}
	}
	slices.Sort(natures)
	return strings.Join(append(known, natures...), ", ")
}

func (p *page) forgotten(f adminapi.Forgotten) {
	if f.Violations {
		p.row("forgot the violations of " + f.Subject.String())
	}
	if f.Forgotten {
		p.row("forgot what providers said of " + f.Subject.String())
	}
	if !f.Forgotten && !f.Violations {
		p.row("nothing was remembered of " + f.Subject.String())
	}
	if f.Note != "" {
		p.row("note: " + f.Note)
	}
	p.warning(f.Warning)
}

// seen shows what clients of the address, and others of its network, did on the sites.
func (p *page) seen(c adminapi.Check) {
	for i, v := range c.Violations {
		text := fmt.Sprintf("%s: %s, %s, last %s ago",
			v.Name, plural(int64(v.Count), "time"), pointsText(v.Points), span(p.now.Sub(v.Last)))
		p.row(label("violations", i), text)
	}
	if c.Neighbours == nil {
		return
	}
	n := c.Neighbours
	text := fmt.Sprintf("%s of %s within a day", plural(int64(n.Offenders), "other offender"), n.Network)
	if !n.Last.IsZero() {
		text += ", last " + span(p.now.Sub(n.Last)) + " ago"
	}
	if n.Networks > 0 {
		text += fmt.Sprintf("; %s of its autonomous system with offenders", plural(int64(n.Networks), "other network"))
	}
	p.row("neighbours", text)
}

// agedBy returns the word for what the age of a reason is counted from: the newest violation, or when the source was asked.
func agedBy(source string) string {
	if source == reputation.SourceNeighbourhood || strings.HasPrefix(source, reputation.SourceOwn+".") {
		return "last"
	}
	return "asked"
}

func pointsText(points float64) string {
	points = math.Round(points*10) / 10 // the sum above has them exactly
	if points == 0 {
		return "no points"
	}
	return adminapi.FormatPoints(points) + " points"
}

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
