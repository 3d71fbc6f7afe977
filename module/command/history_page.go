package command

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/privacy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// historyView writes answers of the history to a page.
type historyView struct {
	width    int
	ascii    bool
	networks bool // networks are ranked, not addresses

	// more returns the command that shows the next page.
	more func(next string, period history.Period) string
}

// timeline shows the history of an address: a summary, a plot and the entries.
func (v historyView) timeline(p *page, a adminapi.Timeline) {
	if a.Seen == nil && len(a.Entries) == 0 && a.Warning == "" {
		p.row(privacy.Shown(a.Prefix) + " is not in the history")
		v.together(p, a.Together)
		return
	}
	p.row(privacy.Shown(a.Prefix))
	p.gap()
	if a.Seen != nil { // only the first page has it
		p.row("first seen", health.FormatTime(a.Seen.First))
		p.row("last seen", health.FormatTime(a.Seen.Last))
		p.row("requests", fmt.Sprintf("%d: %s", a.Seen.Requests, actionsText(a.Seen.Actions)))
		p.gap()
	}
	if len(a.Entries) == 0 {
		p.row("there is nothing " + periodText(a.Period) + ": --since and --until take another time")
		v.together(p, a.Together)
		return
	}
	if a.Graph != nil {
		v.plot(p, *a.Graph)
	}
	p.warning(a.Warning)
	if len(a.Together) > 0 {
		v.together(p, a.Together)
		p.gap()
	}
	for _, row := range v.entryRows(a) {
		p.row(row...)
	}
	v.next(p, a.Next, a.Period)
}

// together says that requests of the address may be counted elsewhere.
func (v historyView) together(p *page, list []history.Together) {
	if len(list) == 0 {
		return
	}
	var rows []string
	for _, t := range list {
		rows = append(rows, fmt.Sprintf("%d of %s", t.Requests, privacy.Shown(t.Prefix)))
	}
	p.row("more of its requests may be among those of many clients that were counted together: " + strings.Join(rows, ", "))
}

func (v historyView) plot(p *page, graph history.Graph) {
	with := blockGlyphs
	if v.ascii {
		with = asciiGlyphs
	}
	lines := plot(graph, v.width, with)
	if lines == nil {
		return
	}
	const minute = "2006-01-02 15:04"
	p.row(fmt.Sprintf("highest score and requests, %s to %s UTC",
		graph.Period.From.UTC().Format(minute), graph.Period.To.UTC().Format(minute)))
	for _, line := range lines {
		p.line(line)
	}
	p.gap()
}

// entryRows returns a heading and a row for each entry. A range has a column of addresses.
func (v historyView) entryRows(a adminapi.Timeline) [][]string {
	several := !a.Prefix.IsSingleIP()
	row := func(address string, cells ...string) []string {
		if several {
			return slices.Insert(cells, 1, address)
		}
		return cells
	}
	rows := [][]string{row("ADDRESS", "TIME (UTC)", "SCORE", "ACTION", "REQUESTS", "RULE", "HOST", "REQUEST ID")}
	for _, e := range a.Entries {
		switch {
		case e.Decision != nil:
			d := e.Decision
			rows = append(rows, row(privacy.Shown(d.Address), moment(e.At), scoreCell(d.Score),
				fmt.Sprintf("%s (%s)", d.Action, d.Mode), strconv.FormatInt(d.Count, 10),
				cmp.Or(d.Rule, "-"), cmp.Or(d.Host, "-"), d.RequestID))
		case e.Verdict != nil:
			c := e.Verdict
			rows = append(rows, row(privacy.Shown(c.Subject), moment(e.At), scoreCell(&c.Score),
				fmt.Sprintf("  verdict, %s: %s", c.Status, v.evidence(c.Evidence))))
		case e.Incident != nil:
			i := e.Incident
			action, what := incidentText(i)
			rows = append(rows, row(privacy.Shown(i.Address), moment(e.At), "-", action, strconv.FormatInt(i.Count, 10), what,
				cmp.Or(i.Host, "-"), cmp.Or(i.RequestID, "-")))
		}
	}
	return rows
}

// incidentText returns what an incident has in the columns of the action and the rule.
func incidentText(i *history.Incident) (action, what string) {
	switch i.Kind {
	case history.KindViolation:
		return "violation", fmt.Sprintf("%s: %s points", i.Name, roundedPoints(i.Points))
	case history.KindBan:
		return "banned for " + span(time.Duration(i.Seconds)*time.Second), i.Name
	case history.KindReport:
		what = fmt.Sprintf("%s: %s", i.Name, i.Result)
		if len(i.Categories) > 0 {
			what += ", " + strings.Join(i.Categories, ", ")
		}
		return "reported", what
	}
	return i.Kind, i.Name
}

func (v historyView) evidence(evidence []history.Evidence) string {
	var texts []string
	for _, e := range evidence {
		text := signed(e.Points) + " " + e.Source
		if e.Network {
			text += " (others of its network)"
		}
		texts = append(texts, text)
	}
	return cmp.Or(strings.Join(texts, ", "), "nothing is known against it")
}

// changes shows what changed the score of an address.
func (v historyView) changes(p *page, a history.Changes) {
	name := privacy.Shown(a.Prefix)
	if len(a.Changes) == 0 {
		p.row(fmt.Sprintf("no verdict about %s has changed %s", name, periodText(a.Period)))
		return
	}
	p.row(name + ", what changed its score " + periodText(a.Period))
	p.gap()
	p.row("TIME (UTC)", "SUBJECT", "SCORE", "STATUS", "REQUEST ID", "BECAUSE")
	for _, d := range a.Changes {
		score := scoreCell(&d.Score)
		if d.Before != nil {
			score = fmt.Sprintf("%d %s %d", *d.Before, v.arrow(), d.Score)
		}
		var causes []string
		for _, c := range d.Causes {
			causes = append(causes, v.cause(c))
		}
		p.row(moment(d.At), privacy.Shown(d.Subject), score, d.Status, cmp.Or(d.RequestID, "-"),
			cmp.Or(strings.Join(causes, ", "), "-"))
	}
	v.next(p, a.Next, a.Period)
}

// cause writes how a source changed a verdict: it was added, it changed, or it was removed.
func (v historyView) cause(c history.Cause) string {
	switch {
	case c.After == nil && v.ascii:
		return "- " + c.Source
	case c.After == nil:
		return "− " + c.Source
	case c.Before == nil:
		return signed(*c.After) + " " + c.Source
	}
	return fmt.Sprintf("%s %s %s %s", c.Source, roundedPoints(*c.Before), v.arrow(), roundedPoints(*c.After))
}

func (v historyView) arrow() string {
	if v.ascii {
		return "->"
	}
	return "→"
}

// worst shows the worst addresses or networks.
func (v historyView) worst(p *page, a history.Worst) {
	if len(a.Worst) == 0 {
		p.row("no request was limited, blocked or dropped, or would have been, " + periodText(a.Period))
		return
	}
	what, heading := worstAddresses, "ADDRESS"
	if v.networks {
		what, heading = worstNetworks, "NETWORK"
	}
	p.row(fmt.Sprintf("the worst %s %s", what, periodText(a.Period)))
	p.gap()
	row := func(prefix, refused, requests, addresses, score, first, last string) {
		cells := []string{prefix, refused, requests, addresses, score, first, last}
		if !v.networks {
			cells = slices.Delete(cells, 3, 4)
		}
		p.row(cells...)
	}
	row(heading, "REFUSED", "REQUESTS", "ADDRESSES", "SCORE", "FIRST (UTC)", "LAST (UTC)")
	for _, r := range a.Worst {
		row(privacy.Shown(r.Prefix), strconv.FormatInt(r.Refused, 10), strconv.FormatInt(r.Requests, 10),
			strconv.FormatInt(r.Addresses, 10), scoreCell(r.Score), moment(r.First), moment(r.Last))
	}
	v.next(p, a.Next, a.Period)
}

// rules shows what rules decided.
func (v historyView) rules(p *page, a history.Rules) {
	if len(a.Rules) == 0 {
		p.row("nothing was decided " + periodText(a.Period))
		return
	}
	p.row("what was decided " + periodText(a.Period))
	p.gap()
	p.row("REQUESTS", "ADDRESSES", "ACTION", "RULE", "HOST", "FIRST (UTC)", "LAST (UTC)")
	for _, r := range a.Rules {
		p.row(strconv.FormatInt(r.Requests, 10), strconv.FormatInt(r.Addresses, 10),
			fmt.Sprintf("%s (%s)", r.Action, r.Mode), cmp.Or(r.Rule, "-"), cmp.Or(r.Host, "-"), moment(r.First), moment(r.Last))
	}
	v.next(p, a.Next, a.Period)
}

// next shows the command for the next page, if there is one.
func (v historyView) next(p *page, next string, period history.Period) {
	if next == "" {
		return
	}
	p.gap()
	p.row("there is more:")
	p.line(v.more(next, period))
}

// actionsText writes the number of requests of each action.
func actionsText(actions map[string]int64) string {
	var texts []string
	for _, action := range actionsOf([]history.Part{{Actions: actions}}) {
		texts = append(texts, fmt.Sprintf("%d %s", actions[action], action))
	}
	return strings.Join(texts, ", ")
}

// actionsOf returns the actions that occurred, from the mildest to the hardest, unknown ones last.
func actionsOf(parts []history.Part) (actions []string) {
	seen := map[string]bool{}
	for _, p := range parts {
		for action, n := range p.Actions {
			if n > 0 {
				seen[action] = true
			}
		}
	}
	for a := range reputation.Action(reputation.NumActions) {
		if seen[a.String()] {
			actions = append(actions, a.String())
			delete(seen, a.String())
		}
	}
	return append(actions, slices.Sorted(maps.Keys(seen))...)
}

func periodText(p history.Period) string {
	text := "since the history began"
	if !p.From.IsZero() {
		text = "from " + health.FormatTime(p.From)
	}
	if !p.To.IsZero() {
		text += " to " + health.FormatTime(p.To)
	}
	return text
}

// moment writes a time for a column whose heading says UTC.
func moment(t time.Time) string { return t.UTC().Format(time.DateTime) }

func scoreCell(score *uint8) string {
	if score == nil {
		return "-"
	}
	return strconv.Itoa(int(*score))
}

// signed writes points with a sign.
func signed(points float64) string {
	if points < 0 {
		return roundedPoints(points)
	}
	return "+" + roundedPoints(points)
}

// roundedPoints writes points with the precision of `check`.
func roundedPoints(points float64) string {
	return adminapi.FormatPoints(math.Round(points*1000) / 1000)
}
