package conduct

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

// service is a provider that is sent reports, by its name.
type service struct {
	name string
	to   *ReportsTo
}

// reportResults are the words of all that can become of a report to a service.
var reportResults = func() (words []string) {
	for o := report.Sent; o < report.Shown; o++ {
		words = append(words, o.String())
	}
	return words
}()

// useReports finds or makes the queue of reports, which outlives reloads. Providers with `report yes` and violations
// with `report` need it.
func (c *Conduct) useReports() (err error) {
	if c.Reports != nil {
		return nil
	}
	c.Reports, err = process.Share(c.Leases, "reports", func() (*report.Queue, func() error, error) {
		return report.New(), nil, nil
	})
	return err
}

// OpenReports begins to count the reports to a provider.
func (c *Conduct) OpenReports(name string, to *ReportsTo) error {
	to.series = metrics.OpenReports(name, reportResults...)
	c.Leases.Add(func() error { to.series.Close(); return nil })
	c.services = append(c.services, service{name, to})
	return c.useReports()
}

// startReports sends what is queued until the configuration stops.
func (c *Conduct) startReports() {
	if c.Reports == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.stopReports = cancel
	c.warnUnreported()
	process.Background.Keep(ctx, c.Logger, "sending reports", func(ctx context.Context) { c.Reports.Run(ctx, c.outlet()) })
}

// warnUnreported logs which reports are never sent, although the configuration asks for them.
func (c *Conduct) warnUnreported() {
	var takes reputation.Categories
	var providers []string
	for _, s := range c.services {
		takes |= s.to.Takes
		providers = append(providers, s.name)
	}
	if len(providers) == 0 {
		return // what would be reported is shown
	}
	reports := false
	for i := range c.terms {
		t := &c.terms[i]
		reports = reports || t.Report
		if t.Report && !takes.Has(t.Category) {
			c.Logger.Warn("a violation is never reported, since no provider takes reports of its category",
				slog.String("violation", t.Name), slog.String("category", t.Category.String()),
				slog.String("cure", "give it a category that says what the client did, or take `report` out: docs/reports.md"))
		}
	}
	if !reports {
		c.Logger.Warn("nothing is reported, since no violation says `report`", slog.Any("providers", providers),
			slog.String("cure", "write `report` into the violations that are reported, or remove `report yes`"))
	}
}

// outlet is where reports go.
func (c *Conduct) outlet() report.Outlet {
	to := report.Outlet{Spared: c.mustNotReportFor, Ended: c.reportEnded, Logger: c.Logger}
	if c.Redis != nil {
		to.May = c.Redis.MayReport
	}
	for _, s := range c.services {
		to.Services = append(to.Services, report.Service{
			Name: s.name, Takes: s.to.Takes, IPv4Only: s.to.IPv4Only, Send: s.to.Send,
		})
	}
	return to
}

// reportEnded counts and records what became of a report.
func (c *Conduct) reportEnded(r report.Report) {
	for _, s := range c.services {
		if s.name == r.Service {
			s.to.count(r.Outcome)
		}
	}
	var categories []string
	for c := range r.Categories.All() {
		categories = append(categories, c.String())
	}
	c.recordReport(r.Address, r.Service, categories, r.Outcome.String(), r.RequestID)
}

func (to *ReportsTo) count(o report.Outcome) { to.series.Count(o.String()) }

// report queues a violation for the services that take reports. It does not wait. Only what a client did here, over a
// connection of its own, is ever reported: never a client in good standing, and nothing that a list, a service or the
// look-up API says of an address. What a site saw that only observes is shown to operators.
func (c *Conduct) report(o *Offence, t *violation.Terms, now violation.Result) {
	fromConnection := o.Method != "" && o.Token == ""
	if !t.Report || c.Reports == nil || !fromConnection || !now.Counted || now.Free || o.Share < 1 {
		return
	}
	if c.mustNotReport(o.Client) != "" {
		return
	}
	added := c.Reports.Add(report.Violation{
		Name: t.Name, Client: o.Client, At: o.At, Category: t.Category, Path: o.Path, RequestID: o.RequestID,
		Observed: !o.Enforce,
	})
	if added {
		return
	}
	for _, s := range c.services {
		s.to.count(report.Dropped)
	}
	if c.logged.Allow("reports", time.Now()) {
		c.Logger.Warn("the queue of reports has no room, so that some addresses are not reported",
			slog.String("cure", "nothing: it means that many clients violate the rules at the same time"))
	}
}

// mustNotReport returns why an address must not be reported, or the empty string.
func (c *Conduct) mustNotReport(addr netip.Addr) string {
	why := c.SpareAddr(addr)
	finding := c.Suspects.Finding(time.Now())
	switch {
	case why != "":
	case len(c.Suspects.UnstrictServers()) > 0:
		why = violation.IgnoredForwarded
	case finding.Proxy, finding.OneAddress && finding.Client.Contains(addr):
		why = violation.IgnoredEverybody
	}
	return cmp.Or(spared[why].text, string(why))
}

// mustNotReportFor is mustNotReport for a report that waits: an operator may have exempted the address meanwhile, or
// taken `report` from its violations, or it turned out that visitors can choose theirs.
func (c *Conduct) mustNotReportFor(addr netip.Addr, violations []string) string {
	reports := slices.ContainsFunc(violations, func(name string) bool {
		t := c.Terms(name)
		return t != nil && t.Report
	})
	if !reports {
		return "its violations do not say `report` any more"
	}
	return c.mustNotReport(addr)
}
