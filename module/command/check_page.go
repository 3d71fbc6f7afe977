package command

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
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
