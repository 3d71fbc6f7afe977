package command

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/redis"
)

// page is what a person reads: rows of cells, aligned.
type page struct {
	out *tabwriter.Writer
	now time.Time
}

func newPage(w io.Writer) *page {
	return &page{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0), time.Now()}
}

// row writes one line. Cells hold text from outside, which must not move the cursor of a terminal or forge a line.
func (p *page) row(cells ...string) {
	for i := range cells {
		cells[i] = clean(cells[i])
	}
	fmt.Fprintln(p.out, strings.Join(cells, "\t"))
}

// gap writes an empty line, which ends the alignment of the columns above.
func (p *page) gap() { fmt.Fprintln(p.out) }

func (p *page) flush() error { return p.out.Flush() }

// clean replaces what does not print.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, text)
}

// escapeJSON writes what does not print as JSON escapes. Outside of strings, JSON of one line has nothing of the kind.
func escapeJSON(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// check shows a verdict and all that it was made of.
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

// sum shows the addition that makes the score.
func (p *page) sum(c adminapi.Check) {
	// decimal points stand below each other: points are whole thousandths
	line := func(points float64, text string) { p.row(fmt.Sprintf("%+10.3f", points), text) }
	line(*c.Prior, "where every address starts")
	for _, r := range c.Reasons {
		text := r.Source
		if len(r.Categories) > 0 {
			text += ": " + strings.Join(r.Categories, ", ")
		}
		if r.AgeSeconds > 0 {
			text += ", asked " + span(time.Duration(r.AgeSeconds)*time.Second) + " ago"
		}
		line(r.Points, text)
	}
	line(*c.Points, fmt.Sprintf("points = %s %% likely to be abusive", strconv.FormatFloat(*c.Percent, 'f', 2, 64)))
}

// evidence shows where the reasons come from, and what else is known.
func (p *page) evidence(c adminapi.Check) {
	if c.Subject.IsValid() && !c.Subject.IsSingleIP() {
		p.row("remembered as", c.Subject.String())
	}
	if facts := factsText(c.Facts); facts != "" {
		p.row("facts", facts)
	}
	for i, l := range c.Lists {
		p.row(label("lists", i), fmt.Sprintf("%s (%s, from %s)", l.Name, l.Kind, l.Source))
	}
	if len(c.Lists) == 0 {
		p.row("lists", "none")
	}
	for i, e := range c.Overrides {
		p.row(label("overrides", i), fmt.Sprintf("%s of %s", e.Kind, p.entry(e)))
	}
	for i, a := range c.Providers {
		p.row(label("providers", i), a.Name+": "+p.said(a))
	}
}

// label names a group of rows in the first of them.
func label(name string, i int) string {
	if i > 0 {
		return ""
	}
	return name
}

// said is what a provider last said, and how it went since.
func (p *page) said(a adminapi.ProviderAnswer) string {
	text := "never answered"
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
	var natures []string
	for kind, is := range f.Nature {
		if is {
			natures = append(natures, kind)
		}
	}
	slices.Sort(natures)
	return strings.Join(append(known, natures...), ", ")
}

// entry is a ban or an exemption in one line.
func (p *page) entry(e ban.Entry) string {
	text := e.Prefix.String() + " " + p.end(e)
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return text
}

func (p *page) end(e ban.Entry) string {
	if e.Expires.IsZero() {
		return "forever"
	}
	return fmt.Sprintf("until %s (%s left)", adminapi.FormatTime(e.Expires), span(e.Expires.Sub(p.now)))
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

func (p *page) warning(text string) {
	if text != "" {
		p.row("warning: " + text)
	}
}

func (p *page) overrides(all allOverrides) {
	if len(all.Bans)+len(all.Exemptions) == 0 {
		p.row("nothing is banned or exempt at run time")
		return
	}
	for _, e := range slices.Concat(all.Exemptions, all.Bans) {
		p.row(e.Kind.String(), e.Prefix.String(), p.end(e), e.Reason)
	}
}

func (p *page) forgotten(f adminapi.Forgotten) {
	if f.Forgotten {
		p.row("forgot what providers said of " + f.Subject.String())
		p.warning(f.Warning)
		return
	}
	p.warning(f.Warning)
	p.row("no provider's answer was remembered of " + f.Subject.String())
}

func (p *page) refreshed(l adminapi.ListStatus) {
	p.row(fmt.Sprintf("%s is in force with %s", l.Name, entries(l.Entries)))
}

// status shows how everything is doing, and what is wrong last, where the eye ends up.
func (p *page) status(s adminapi.Status) {
	p.row("version", fmt.Sprintf("%s on Caddy %s, %s", s.Version.Plugin, s.Version.Caddy, s.Version.Go))
	if s.Health.Status != "" { // an older Caddy does not say it
		p.row("health", string(s.Health.Status))
	}
	p.row("data folder", s.DataFolder)
	p.row("memory", fmt.Sprintf("%d of %d records, %d evicted", s.Memory.Records, s.Memory.Capacity, s.Memory.Evictions))
	if s.Redis != nil {
		p.row("redis", redisLine(s.Redis, p.now))
	}
	if s.History != nil {
		p.row("history", historyLine(s.History, p.now))
	}
	p.row("bans", strconv.Itoa(s.Bans))
	p.row("exemptions", strconv.Itoa(s.Exemptions))
	for i, provider := range s.Providers {
		p.row(label("providers", i), providerLine(provider))
	}
	for i, l := range s.Lists {
		p.row(label("lists", i), p.listLine(l))
	}
	for i, text := range s.Warnings {
		p.row(label("WARNINGS", i), text)
	}
}

func redisLine(s *redis.Status, now time.Time) string {
	word := "away"
	if s.Up {
		word = "shared with other instances"
	}
	return fmt.Sprintf("%s for %s, %s, prefix %s, this is %s", word, span(now.Sub(s.Since)), strings.Join(s.Addresses, " "), s.Prefix, s.Instance)
}

func historyLine(s *adminapi.HistoryStatus, now time.Time) string {
	word := "away"
	if s.Database.Up {
		word = "stored"
	}
	var dropped int64
	for _, n := range s.Recorder.Dropped {
		dropped += n
	}
	return fmt.Sprintf("%s for %s, %s, %d entries written, %d waiting, %d dropped",
		word, span(now.Sub(s.Database.Since)), cmp.Or(s.Database.Server, "no database yet"), s.Recorder.Written, s.Recorder.Waiting, dropped)
}

func providerLine(s adminapi.ProviderStatus) string {
	text := s.Name + ": up"
	switch {
	case !s.Up || s.Problem != "":
		text = s.Name + ": not asked"
	case s.Failures > 0:
		text = fmt.Sprintf("%s: failing, %d in a row", s.Name, s.Failures)
	}
	for _, w := range s.Windows {
		text += fmt.Sprintf(", %d of %s left until %s", w.Remaining(), w.Window, adminapi.FormatTime(w.Reset))
	}
	return text
}

func (p *page) listLine(l adminapi.ListStatus) string {
	text := fmt.Sprintf("%s: %s, %s from %s", l.Name, l.Role, entries(l.Entries), l.Source)
	if l.Kind != feed.KindValues && !l.LastSuccess.IsZero() {
		text += ", confirmed " + span(p.now.Sub(l.LastSuccess)) + " ago"
	}
	if !l.NextRefresh.IsZero() {
		text += ", next in " + span(l.NextRefresh.Sub(p.now))
	}
	return text
}

func entries(n int) string {
	if n == 1 {
		return "1 entry"
	}
	return strconv.Itoa(n) + " entries"
}

// span writes a duration in its two largest units.
func span(d time.Duration) string {
	d = max(d, 0)
	const day = 24 * time.Hour
	switch {
	case d >= day:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}
