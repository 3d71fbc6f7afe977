package command

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/redis"
)

// status shows the state of every part. Warnings come last, next to the prompt.
func (p *page) status(s adminapi.Status) {
	p.row("version", fmt.Sprintf("%s on Caddy %s, %s", s.Version.Plugin, s.Version.Caddy, s.Version.Go))
	if s.Health.Status != "" { // missing in the answer of an older version
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
	return fmt.Sprintf("%s for %s, %s, %d entries written, %d waiting, %d dropped",
		word, span(now.Sub(s.Database.Since)), cmp.Or(s.Database.Server, "no database yet"),
		s.Recorder.Written, s.Recorder.Waiting, dropped)
}

func providerLine(s adminapi.ProviderStatus) string {
	text := s.Name + ": up"
	switch {
	case !s.Up || s.Problem != "":
		text = s.Name + ": not asked"
	case s.Failures > 0:
		text = fmt.Sprintf("%s: failing, %d in a row", s.Name, s.Failures)
	}
	if !s.PacedUntil.IsZero() {
		text += ", next call at " + health.FormatTime(s.PacedUntil)
	}
	for _, w := range s.Windows {
		text += fmt.Sprintf(", %d of %s left until %s", w.Remaining(), w.Window, health.FormatTime(w.Reset))
	}
	return text
}

func (p *page) listLine(l health.List) string {
	text := fmt.Sprintf("%s: %s, %s from %s", l.Name, l.Role, entries(l.Entries), l.Source)
	if l.Kind != feed.KindValues && !l.LastSuccess.IsZero() {
		text += ", confirmed " + span(p.now.Sub(l.LastSuccess)) + " ago"
	}
	if !l.NextRefresh.IsZero() {
		text += ", next in " + span(l.NextRefresh.Sub(p.now))
	}
	return text
}

func (p *page) refreshed(l health.List) {
	p.row(fmt.Sprintf("%s is in force with %s", l.Name, entries(l.Entries)))
}
