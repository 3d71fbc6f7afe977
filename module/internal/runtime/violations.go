package runtime

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

// OpenViolations sets what violations cost.
func (rt *Runtime) OpenViolations(terms []violation.Terms) error {
	rt.violationTerms = terms
	release := metrics.OpenViolations(rt.ViolationNames()...)
	rt.Leases.Add(func() error { release(); return nil })
	if slices.ContainsFunc(terms, func(t violation.Terms) bool { return t.Report }) {
		return rt.UseReports()
	}
	return nil
}

// Terms returns what a violation costs, nil for an unknown one.
func (rt *Runtime) Terms(name string) *violation.Terms {
	for i := range rt.violationTerms {
		if rt.violationTerms[i].Name == name {
			return &rt.violationTerms[i]
		}
	}
	return nil
}

// ViolationNames returns the names of all violations that have terms, sorted.
func (rt *Runtime) ViolationNames() (names []string) {
	for i := range rt.violationTerms {
		names = append(names, rt.violationTerms[i].Name)
	}
	slices.Sort(names)
	return names
}

// Violate counts a violation against its client, and does what its terms say besides: a ban, a report. It does not
// wait. A fault of ours costs no request: the violation is not counted.
func (rt *Runtime) Violate(ctx context.Context, o Offence) (result violation.Result) {
	defer func() {
		if fault := recover(); fault != nil {
			if rt.violationsLogged.Allow("panic", time.Now()) {
				rt.Logger.ErrorContext(ctx, "counting a violation panicked; this is a bug",
					slog.Any("panic", fault), slog.String("at", string(debug.Stack())))
			}
			result = violation.Result{}
		}
	}()
	t := rt.Terms(o.Violation)
	if t == nil {
		rt.warnUnknown(ctx, &o)
		return rt.IgnoreViolation(violation.IgnoredUnknown)
	}
	if why := rt.SpareAddr(o.Client); why != "" {
		return rt.IgnoreViolation(why)
	}
	if rt.ViolationStore() == nil {
		return rt.IgnoreViolation(violation.IgnoredDisabled)
	}
	act := violation.Act{Client: o.Client, At: o.At, Share: o.Share}
	if o.OncePerPath {
		act.Path = caddyhttp.CleanPath(o.Path, true) // in another spelling it is the same page
	}
	result = rt.ViolationStore().Add(t, act)
	if !result.Counted {
		metrics.CountIgnoredViolation(string(result.Ignored))
		return result
	}
	metrics.CountViolation(t.Name)
	rt.recordViolation(&o, t, result)
	if !result.Free {
		rt.answer(ctx, &o, t, result)
	}
	return result
}

// answer does what the terms of a violation say besides points.
func (rt *Runtime) answer(ctx context.Context, o *Offence, t *violation.Terms, now violation.Result) {
	if !o.MayBeBot {
		rt.report(o, t, now)
	}
	switch {
	case t.Ban == 0:
	case o.MayBeBot:
		rt.NotBanned(SpareClaim, o.Client)
	case o.Enforce:
		rt.Punish(Punishment{
			Client: o.Client, For: t.Ban, Rule: "violation " + t.Name, Site: o.Site, RequestID: o.RequestID,
		})
	case rt.violationsLogged.Allow("observed "+t.Name, time.Now()):
		rt.Logger.InfoContext(ctx, "a violation would ban its client if its site enforced its rules",
			slog.String("violation", t.Name), slog.String("address", rt.Privacy().Addr(o.Client)), slog.String("site", o.Site))
	}
}

// IgnoreViolation counts a violation that counts against nobody.
func (rt *Runtime) IgnoreViolation(why violation.Ignored) violation.Result {
	metrics.CountIgnoredViolation(string(why))
	return violation.Result{Ignored: why}
}

// maxUnknownName is how much of an unknown name is logged.
const maxUnknownName = 64

// warnUnknown logs once a minute that an application names a violation that there is not.
func (rt *Runtime) warnUnknown(ctx context.Context, o *Offence) {
	if !rt.violationsLogged.Allow("unknown "+o.Token, time.Now()) { // tokens are configured: few
		return
	}
	by := slog.String("site", o.Site)
	if o.Token != "" {
		by = slog.String("token", o.Token)
	}
	rt.Logger.WarnContext(ctx, "a violation of an unknown name was reported and has no effect",
		slog.String("violation", o.Violation[:min(len(o.Violation), maxUnknownName)]), by,
		slog.String("cure", "use one of "+strings.Join(rt.ViolationNames(), ", ")+
			", or define it by `violation` in the global ip_reputation options"))
}

// goodForEach is how many good answers there must be for each violation of a client in good standing.
const goodForEach = 10

// InGoodStanding reports whether a client got many good answers for each of its violations. Good answers are counted
// from its first violation on.
func (rt *Runtime) InGoodStanding(client netip.Addr) bool {
	var s violation.Subject
	store := rt.ViolationStore()
	if store == nil || !store.Find(client, &s) {
		return false
	}
	var violations uint64 // in thousandths
	for i := range s.Slots {
		violations += uint64(s.Slots[i].Count)
	}
	return uint64(s.Good)*1000 >= goodForEach*max(violations, 1000)
}
