package conduct

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
)

// BanTerms are how bans of rules and violations last.
type BanTerms struct {
	First time.Duration // where a rule says nothing
	Most  time.Duration // to which bans of a repeat offender grow
	Burst float64       // share of the networks of recent clients, above which such bans stop
}

// The shortest and the longest ban that is configured.
const (
	minBan = time.Second
	maxBan = 366 * 24 * time.Hour
)

// CheckBan reports whether the time of a ban is out of range.
func CheckBan(length time.Duration) error {
	if length < minBan || length > maxBan {
		return fmt.Errorf("a ban of %s is out of range: use %s to %s", Span(length), Span(minBan), Span(maxBan))
	}
	return nil
}

// Span writes a duration as a Caddyfile has it: 15m, 1h30m or 7d.
func Span(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= day && d%day == 0 {
		return strconv.Itoa(int(d/day)) + "d"
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// Punishment is a ban that no person has decided: by a rule of a site, or by a violation.
type Punishment struct {
	Client    netip.Addr
	For       time.Duration // the first time; zero for the default
	Rule      string        // as a Caddyfile has it, or `violation trap`
	Site      string        // host of the request
	RequestID string
}

// by returns who punishes.
func (p *Punishment) by() ban.By {
	if strings.HasPrefix(p.Rule, "violation ") {
		return ban.Violation
	}
	return ban.Rule
}

// UseBans makes what rules and violations that ban need. It is called while sites are provisioned, and outlives reloads.
func (c *Conduct) UseBans() error {
	if c.punisher != nil {
		return nil
	}
	punisher, err := process.Share(c.Leases, "punisher", func() (*punisher, func() error, error) {
		p := newPunisher(c.Overrides, c.Events, c.Serving, c.LoggerOf("bans"))
		return p, p.close, nil
	})
	if err != nil {
		return err
	}
	c.punisher = punisher
	return nil
}

// Punish bans a client on all instances, for longer each time. It does not wait, and spares those who must never be
// banned. The caller's site enforces.
func (c *Conduct) Punish(p Punishment) {
	if c.punisher == nil || !p.Client.IsValid() {
		return
	}
	why := c.SpareAddr(p.Client)
	if f := c.Suspects.Finding(time.Now()); f.OneAddress && f.Client.Contains(p.Client) {
		why = violation.IgnoredEverybody
	}
	if why != "" {
		c.punisher.spare(why, p.Client)
		return
	}
	c.punisher.take(ban.Sentence{
		Client: p.Client, First: cmp.Or(p.For, c.Bans.First), Most: c.Bans.Most,
		Cause: ban.Cause{By: p.by(), Rule: p.Rule, Site: p.Site, RequestID: p.RequestID},
	})
}

// SawClient counts a client among those that bans are measured by.
func (c *Conduct) SawClient(client netip.Addr) {
	if c.punisher != nil && client.IsValid() {
		c.punisher.clients.Add(client)
	}
}

// NotBanned counts and logs that a client is spared, for one of the reasons that Spare returns.
func (c *Conduct) NotBanned(why violation.Ignored, client netip.Addr) {
	if c.punisher != nil {
		c.punisher.spare(why, client)
	}
}

// BansState is what health judges of bans.
func (c *Conduct) BansState() (s health.Bans) {
	if c.Overrides != nil {
		s.By = map[string]int{}
		for by, n := range c.Overrides.CountBy() {
			s.By[ban.By(by).String()] = n
		}
	}
	if c.punisher != nil {
		s.Burst = c.punisher.burst.Load()
	}
	return s
}
