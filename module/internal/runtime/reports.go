package runtime

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/report"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// ReportsTo is a provider that is sent reports.
type ReportsTo struct {
	// Guard holds the reports to their own terms.
	Guard *quota.Guard

	// Send sends a report, within these terms and with a key that the service accepts.
	Send func(ctx context.Context, i reputation.Incident) error

	// Takes are the categories that the service takes.
	Takes reputation.Categories

	// IPv4Only means that no IPv6 address is sent.
	IPv4Only bool

	series *metrics.ResultSeries
}

// reportResults are the words of all that can become of a report to a service.
var reportResults = func() (words []string) {
	for o := report.Sent; o < report.Shown; o++ {
		words = append(words, o.String())
	}
	return words
}()

// UseReports finds or makes the queue of reports, which outlives reloads. Providers with `report yes`, and violations
// with `report`, call it while they are provisioned.
func (rt *Runtime) UseReports() (err error) {
	if rt.Reports != nil {
		return nil
	}
	rt.Reports, err = process.Share(&rt.Leases, "reports", func() (*report.Queue, func() error, error) {
		return report.New(), nil, nil
	})
	return err
}

// OpenReports begins to count the reports to a provider.
func (rt *Runtime) OpenReports(name string, to *ReportsTo) error {
	to.series = metrics.OpenReports(name, reportResults...)
	rt.Leases.Add(func() error { to.series.Close(); return nil })
	return rt.UseReports()
}

// startReports sends what is queued until the configuration stops.
func (rt *Runtime) startReports() {
	if rt.Reports == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	rt.stopReports = cancel
	rt.warnUnreported()
	process.Background.Keep(ctx, rt.Logger, "sending reports", func(ctx context.Context) { rt.Reports.Run(ctx, rt.outlet()) })
}

// warnUnreported logs which reports are never sent, although the configuration asks for them.
func (rt *Runtime) warnUnreported() {
	var takes reputation.Categories
	var providers []string
	for _, p := range rt.Providers {
		if p.Reports != nil {
			takes |= p.Reports.Takes
			providers = append(providers, p.Name)
		}
	}
	if len(providers) == 0 {
		return // what would be reported is shown
	}
	reports := false
	for i := range rt.violationTerms {
		t := &rt.violationTerms[i]
		reports = reports || t.Report
		if t.Report && !takes.Has(t.Category) {
			rt.Logger.Warn("a violation is never reported, since no provider takes reports of its category",
				slog.String("violation", t.Name), slog.String("category", t.Category.String()),
				slog.String("cure", "give it a category that says what the client did, or take `report` out: docs/reports.md"))
		}
	}
	if !reports {
		rt.Logger.Warn("nothing is reported, since no violation says `report`", slog.Any("providers", providers),
			slog.String("cure", "write `report` into the violations that are reported, or remove `report yes`"))
	}
}

// outlet is where reports go.
func (rt *Runtime) outlet() report.Outlet {
	to := report.Outlet{Spared: rt.mustNotReportFor, Ended: rt.reportEnded, Logger: rt.Logger}
	if rt.Redis != nil {
		to.May = rt.Redis.MayReport
	}
	for _, p := range rt.Providers {
		if p.Reports != nil {
			to.Services = append(to.Services, report.Service{
				Name: p.Name, Takes: p.Reports.Takes, IPv4Only: p.Reports.IPv4Only, Send: p.Reports.Send,
			})
		}
	}
	return to
}

// reportEnded counts and records what became of a report.
func (rt *Runtime) reportEnded(r report.Report) {
	for _, p := range rt.Providers {
		if p.Name == r.Service {
			p.Reports.count(r.Outcome)
		}
	}
	var categories []string
	for c := range r.Categories.All() {
		categories = append(categories, c.String())
	}
	rt.recordReport(r.Address, r.Service, categories, r.Outcome.String(), r.RequestID)
}

// count counts a report, if the provider is sent any.
func (to *ReportsTo) count(o report.Outcome) {
	if to != nil {
		to.series.Count(o.String())
	}
}

// report queues a violation for the services that take reports. It does not wait. Only what a client did here, over a
// connection of its own, is ever reported: never a client in good standing, and nothing that a list, a service or the
// look-up API says of an address. What a site saw that only observes is shown to operators.
func (rt *Runtime) report(o *Offence, t *violation.Terms, now violation.Result) {
	fromConnection := o.Method != "" && o.Token == ""
	if !t.Report || rt.Reports == nil || !fromConnection || !now.Counted || now.Free || o.Share < 1 {
		return
	}
	if rt.mustNotReport(o.Client) != "" {
		return
	}
	added := rt.Reports.Add(report.Violation{
		Name: t.Name, Client: o.Client, At: o.At, Category: t.Category, Path: o.Path, RequestID: o.RequestID,
		Observed: !o.Enforce,
	})
	if added {
		return
	}
	for _, p := range rt.Providers {
		p.Reports.count(report.Dropped)
	}
	if rt.violationsLogged.Allow("reports", time.Now()) {
		rt.Logger.Warn("the queue of reports has no room, so that some addresses are not reported",
			slog.String("cure", "nothing: it means that many clients violate the rules at the same time"))
	}
}

// mustNotReport returns why an address must not be reported, or the empty string.
func (rt *Runtime) mustNotReport(addr netip.Addr) string {
	why := rt.SpareAddr(addr)
	finding := rt.Suspects.Finding(time.Now())
	switch {
	case why != "":
	case len(rt.Suspects.UnstrictServers()) > 0:
		why = violation.IgnoredForwarded
	case finding.Proxy, finding.OneAddress && finding.Client.Contains(addr):
		why = violation.IgnoredEverybody
	}
	return cmp.Or(spared[why].text, string(why))
}

// mustNotReportFor is mustNotReport for a report that waits: an operator may have exempted the address meanwhile, or
// taken `report` from its violations, or it turned out that visitors can choose theirs.
func (rt *Runtime) mustNotReportFor(addr netip.Addr, violations []string) string {
	reports := slices.ContainsFunc(violations, func(name string) bool {
		t := rt.Terms(name)
		return t != nil && t.Report
	})
	if !reports {
		return "its violations do not say `report` any more"
	}
	return rt.mustNotReport(addr)
}
