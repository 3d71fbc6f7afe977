package command

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/mmdb"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/redis"
)

// status shows the state of every part. Warnings come last, next to the prompt.
func (p *page) status(s adminapi.Status) {
	p.row("version", fmt.Sprintf("%s on Caddy %s, %s", s.Version.Plugin, s.Version.Caddy, s.Version.Go))
	if s.Health.Status != "" { // missing in the answer of an older version
		p.row("health", string(s.Health.Status))
	}
	p.row("data folder", s.DataFolder)
	if s.Sites != nil {
		p.row("sites", sitesLine(s.Sites))
	}
	p.row("memory", fmt.Sprintf("%d of %d records, %d evicted", s.Memory.Records, s.Memory.Capacity, s.Memory.Evictions))
	if s.Redis != nil {
		p.row("redis", redisLine(s.Redis, p.now))
	}
	if s.History != nil {
		p.row("history", historyLine(s.History, p.now))
	}
	p.row("bans", bansLine(s))
	p.row("exemptions", strconv.Itoa(s.Exemptions))
	for i, provider := range s.Providers {
		p.row(label("providers", i), providerLine(provider))
		if provider.Terms != "" {
			p.row("", "  terms: "+provider.Terms)
		}
		if r := provider.Reports; r != nil {
			p.row("", "  "+reportsLine(r))
		}
	}
	for i, l := range s.Lists {
		p.row(label("lists", i), p.listLine(l))
		if trouble := p.listTrouble(l); trouble != "" {
			p.row("", "  "+trouble)
		}
	}
	for i, d := range s.Databases {
		p.row(label("databases", i), p.databaseLine(d))
	}
	if s.Bots != nil {
		p.row("bots", fmt.Sprintf("%d verified, %d of them exempt", s.Bots.Verified, s.Bots.Exempt))
	}
	if s.Violations != nil {
		p.row("violations", violationsLine(s.Violations))
	}
	for i, text := range s.Warnings {
		p.row(label("WARNINGS", i), text)
	}
}

// bansLine says how many bans are in force, and who made those that no operator did.
func bansLine(s adminapi.Status) string {
	text := strconv.Itoa(s.Bans)
	if rules, violations := s.BansBy["rule"], s.BansBy["violation"]; rules+violations > 0 {
		text += fmt.Sprintf(", %d of them by rules and %d by violations", rules, violations)
	}
	return text
}

// violationsLine says what is remembered of violations, and which were counted of late.
func violationsLine(v *health.Violations) string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(v.LastHour)) {
		names = append(names, fmt.Sprintf("%d %s", v.LastHour[name], name))
	}
	return fmt.Sprintf("%d of %d clients, %d evicted, in the last hour %s",
		v.Clients, v.Capacity, v.Evictions, cmp.Or(strings.Join(names, ", "), "none"))
}

// sitesLine says which sites have the handler, and who reaches none.
func sitesLine(s *health.Sites) string {
	text := fmt.Sprintf("%d of %d have ip_reputation", s.Protected, s.All)
	if len(s.Without) > 0 {
		text += ", not " + strings.Join(s.Without, " ")
	}
	if more := s.All - s.Protected - len(s.Without); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	if s.Redirects {
		text += "; redirects to https come before it"
	}
	return text
}

func redisLine(s *redis.Status, now time.Time) string {
	word := "away"
	if s.Up {
		word = "shared with other instances"
	}
	return fmt.Sprintf("%s for %s, %s, prefix %s, this is %s",
		word, span(now.Sub(s.Since)), strings.Join(s.Addresses, " "), s.Prefix, s.Instance)
}

func historyLine(s *health.History, now time.Time) string {
	word := "away"
	if s.Database.Up {
		word = "stored"
	}
	var dropped int64
	for _, n := range s.Recorder.Dropped {
		dropped += n
	}
	text := fmt.Sprintf("%s for %s, %s, %d entries written, %d waiting, %d dropped",
		word, span(now.Sub(s.Database.Since)), cmp.Or(s.Database.Server, "no database yet"),
		s.Recorder.Written, s.Recorder.Waiting, dropped)
	if n := s.Recorder.Folded; n > 0 {
		text += fmt.Sprintf(", %d requests of many clients counted together", n)
	}
	return text
}

func providerLine(s adminapi.ProviderStatus) string {
	text := s.Name + ": up"
	switch {
	case !s.Up || s.Problem != "":
		text = s.Name + ": not asked"
	case s.NotAsked:
		text = s.Name + ": not asked yet"
	case s.Failures > 0:
		text = fmt.Sprintf("%s: failing, %d in a row", s.Name, s.Failures)
	}
	if !s.PacedUntil.IsZero() {
		text += ", next call at " + health.FormatTime(s.PacedUntil)
	} else if s.Price > 0 {
		text += fmt.Sprintf(", short: answers must be worth %.2f", s.Price)
	}
	for _, w := range s.Windows {
		text += fmt.Sprintf(", %d of %s left until %s", w.Remaining(), w.Window, health.FormatTime(w.Reset))
	}
	return text
}

// reportsLine says what became of the reports to a provider.
func reportsLine(r *adminapi.ReportStatus) string {
	text := fmt.Sprintf("reports: %d sent, %d known already, %d failed, %d waiting", r.Sent, r.Duplicates, r.Failed, r.Waiting)
	for _, w := range r.Quota {
		text += fmt.Sprintf(", %d of %s left until %s", w.Remaining(), w.Window, health.FormatTime(w.Reset))
	}
	if r.Problem != "" {
		text += "; " + r.Problem
	}
	return text
}

func (p *page) listLine(l health.List) string {
	text := fmt.Sprintf("%s: %s, %s from %s", l.Name, l.Role, entries(l.Entries), l.Source)
	if l.Kind != feed.KindValues && !l.LastSuccess.IsZero() {
		text += ", confirmed " + span(p.now.Sub(l.LastSuccess)) + " ago"
	}
	if l.Kind == feed.KindURL && !l.Published.IsZero() {
		text += ", published " + span(p.now.Sub(l.Published)) + " ago"
	}
	if !l.NextRefresh.IsZero() {
		text += ", next in " + span(l.NextRefresh.Sub(p.now))
	}
	return text
}

// oldContents is how long before its confirmation a list last changed for that to be worth a word.
const oldContents = 24 * time.Hour

// listTrouble says what an operator should know of a list besides: that its contents are old though they are
// confirmed, that it is refused, that lines of it are not in force.
func (p *page) listTrouble(l health.List) string {
	var all []string
	if !l.Loaded {
		all = append(all, "no contents yet")
	}
	if l.Kind == feed.KindURL && l.Loaded && l.LastSuccess.Sub(l.Changed) >= oldContents {
		all = append(all, "unchanged for "+span(p.now.Sub(l.Changed)))
	}
	if l.Failures > 0 {
		all = append(all, fmt.Sprintf("%s failed: %s", plural(int64(l.Failures), "attempt"), l.LastResult))
	}
	if s := l.Shrunk; s != nil {
		all = append(all, shrunk(s)+", "+notBelieved(s, l.Confirm, p.now))
	}
	if l.Accepted != nil {
		all = append(all, shrunk(l.Accepted)+", believed "+span(p.now.Sub(l.Accepted.At))+" ago")
	}
	if l.Ignored > 0 {
		all = append(all, plural(int64(l.Ignored), "line")+" ignored")
	}
	for _, o := range l.Overlaps {
		all = append(all, "lists "+prefixes(o.Prefixes)+" of "+o.List)
	}
	if l.SameAs != "" {
		all = append(all, "same contents as "+l.SameAs+", counts once")
	}
	return strings.Join(all, ", ")
}

func prefixes(n int) string {
	if n == 1 {
		return "1 prefix"
	}
	return fmt.Sprintf("%d prefixes", n)
}

func shrunk(s *feed.Shrunk) string {
	return fmt.Sprintf("shrank from %s to %d", plural(int64(s.Before), "line"), s.Lines)
}

// notBelieved says how much of what makes a list that shrank believed has been seen.
func notBelieved(s *feed.Shrunk, confirm int, now time.Time) string {
	if confirm == 0 {
		return "not believed"
	}
	return fmt.Sprintf("believed after %d fetches over a day: %d in %s", confirm, s.Seen, span(now.Sub(s.Since)))
}

func (p *page) databaseLine(d mmdb.Status) string {
	text := d.Name + ": "
	if d.Loaded {
		text += fmt.Sprintf("%s of %s, from %s", strings.Join(d.Facts, " "), plural(int64(d.Networks), "network"), d.File)
		if !d.Built.IsZero() {
			text += ", made " + span(p.now.Sub(d.Built)) + " ago"
		}
		text += ", read " + span(p.now.Sub(d.LastLoad)) + " ago"
	} else {
		text += "nothing is known from " + d.File
	}
	if d.Problem != "" {
		text += ", its present file is not in force"
	}
	return text
}

func (p *page) refreshed(l health.List) {
	p.row(fmt.Sprintf("%s is in force with %s", l.Name, entries(l.Entries)))
}
