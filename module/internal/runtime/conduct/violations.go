package conduct

import (
	"context"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
)

// Offence is a violation as a site or the look-up API has seen it.
type Offence struct {
	Violation string // its name
	Client    netip.Addr
	At        time.Time
	Site      string // host of the request
	Method    string
	Path      string // without the query; empty for what the look-up API was told
	Status    int    // of the response; 0 for none
	RequestID string
	Token     string // of the look-up API, by its name; empty for what a site has seen

	// Enforce is whether the site acts: otherwise bans are only logged, and nothing is reported.
	Enforce bool

	// MayBeBot is set while it is being found out whether the client is the bot that it claims to be. It is neither banned
	// nor reported then.
	MayBeBot bool

	// OncePerPath lets the same path count once.
	OncePerPath bool

	// Share is what part of its points it costs: less than 1 for a client in good standing.
	Share float64
}

// Open sets what violations cost.
func (c *Conduct) Open(terms []violation.Terms) error {
	c.terms = terms
	release := metrics.OpenViolations(c.ViolationNames()...)
	c.Leases.Add(func() error { release(); return nil })
	if slices.ContainsFunc(terms, func(t violation.Terms) bool { return t.Report }) {
		return c.useReports()
	}
	return nil
}

// Terms returns what a violation costs, nil for an unknown one.
func (c *Conduct) Terms(name string) *violation.Terms {
	for i := range c.terms {
		if c.terms[i].Name == name {
			return &c.terms[i]
		}
	}
	return nil
}

// ViolationNames returns the names of all violations that have terms, sorted.
func (c *Conduct) ViolationNames() (names []string) {
	for i := range c.terms {
		names = append(names, c.terms[i].Name)
	}
	slices.Sort(names)
	return names
}

// Violate counts a violation against its client, and does what its terms say besides: a ban, a report. It does not
// wait. A fault of ours costs no request: the violation is not counted.
func (c *Conduct) Violate(ctx context.Context, o Offence) (result violation.Result) {
	defer func() {
		if fault := recover(); fault != nil {
			if c.logged.Allow("panic", time.Now()) {
				c.Logger.ErrorContext(ctx, "counting a violation panicked; this is a bug",
					slog.Any("panic", fault), slog.String("at", string(debug.Stack())))
			}
			result = violation.Result{}
		}
	}()
	t := c.Terms(o.Violation)
	if t == nil {
		c.warnUnknown(ctx, &o)
		return c.Ignore(violation.IgnoredUnknown)
	}
	if why := c.SpareAddr(o.Client); why != "" {
		return c.Ignore(why)
	}
	if c.Store() == nil {
		return c.Ignore(violation.IgnoredDisabled)
	}
	act := violation.Act{Client: o.Client, At: o.At, Share: o.Share}
	if o.OncePerPath {
		act.Path = caddyhttp.CleanPath(o.Path, true) // in another spelling it is the same page
	}
	result = c.Store().Add(t, act)
	if !result.Counted {
		metrics.CountIgnoredViolation(string(result.Ignored))
		return result
	}
	metrics.CountViolation(t.Name)
	c.recordViolation(&o, t, result)
	if !result.Free {
		c.answer(ctx, &o, t, result)
	}
	return result
}

// answer does what the terms of a violation say besides points.
func (c *Conduct) answer(ctx context.Context, o *Offence, t *violation.Terms, now violation.Result) {
	if !o.MayBeBot {
		c.report(o, t, now)
	}
	switch {
	case t.Ban == 0:
	case o.MayBeBot:
		c.NotBanned(SpareClaim, o.Client)
	case o.Enforce:
		c.Punish(Punishment{
			Client: o.Client, For: t.Ban, Rule: "violation " + t.Name, Site: o.Site, RequestID: o.RequestID,
		})
	case c.logged.Allow("observed "+t.Name, time.Now()):
		c.Logger.InfoContext(ctx, "a violation would ban its client if its site enforced its rules",
			slog.String("violation", t.Name), slog.String("address", c.Privacy.Addr(o.Client)), slog.String("site", o.Site))
	}
}

// Ignore counts a violation that counts against nobody.
func (c *Conduct) Ignore(why violation.Ignored) violation.Result {
	metrics.CountIgnoredViolation(string(why))
	return violation.Result{Ignored: why}
}

// maxUnknownName is how much of an unknown name is logged.
const maxUnknownName = 64

// warnUnknown logs once a minute that an application names a violation that there is not.
func (c *Conduct) warnUnknown(ctx context.Context, o *Offence) {
	if !c.logged.Allow("unknown "+o.Token, time.Now()) { // tokens are configured: few
		return
	}
	by := slog.String("site", o.Site)
	if o.Token != "" {
		by = slog.String("token", o.Token)
	}
	c.Logger.WarnContext(ctx, "a violation of an unknown name was reported and has no effect",
		slog.String("violation", o.Violation[:min(len(o.Violation), maxUnknownName)]), by,
		slog.String("cure", "use one of "+strings.Join(c.ViolationNames(), ", ")+
			", or define it by `violation` in the global ip_reputation options"))
}

// goodForEach is how many good answers there must be for each violation of a client in good standing.
const goodForEach = 10

// InGoodStanding reports whether a client got many good answers for each of its violations. Good answers are counted
// from its first violation on.
func (c *Conduct) InGoodStanding(client netip.Addr) bool {
	var s violation.Subject
	store := c.Store()
	if store == nil || !store.Find(client, &s) {
		return false
	}
	var violations uint64 // in thousandths
	for i := range s.Slots {
		violations += uint64(s.Slots[i].Count)
	}
	return uint64(s.Good)*1000 >= goodForEach*max(violations, 1000)
}
