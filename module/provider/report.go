package provider

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/conduct"
	refresh "github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/secret"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/throttle"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// reportTimeout is how long a service may take to store a report. Nobody waits for it.
const reportTimeout = 10 * time.Second

// reportShare is how much of a quota reports about one network may use.
const reportShare = 0.1

// openReports holds the reports to the service to terms of their own: a service counts them apart from other calls, and
// what ends the one must not end the other. They are counted in an account of the ledger of their own.
func (p *Provider) openReports(
	rt *runtime.Runtime, name string, service reputation.Provider, keys *refresh.Ring, settings []byte,
) (*conduct.ReportsTo, error) {
	profile := service.Profile()
	terms, err := p.reportTerms(profile)
	if err != nil {
		return nil, err
	}
	account := name + "/report" // names of providers have no slash
	budget, err := rt.OpenBudget(account, settings)
	if err != nil {
		return nil, err
	}
	guard := quota.New(account, service, terms, budget, rt.Ledger, quota.Options{
		Logger: rt.Logger, NameKey: refresh.Fingerprint,
	})
	withKey := keyed{
		Guard: guard, keys: keys, logger: rt.Logger.With("provider", account),
		logged: new(throttle.Causes[string]), notifiedUntil: new(atomic.Int64),
		notify: func([]string, time.Time) {}, // the event is about the service that is asked
	}
	to := &conduct.ReportsTo{
		Guard: guard, Send: withKey.report, Takes: profile.Reports.Categories, IPv4Only: p.Send == "network",
	}
	return to, rt.Conduct.OpenReports(name, to)
}

// report sends a report with the first key that the service accepts.
func (k keyed) report(ctx context.Context, i reputation.Incident) error {
	_, err := k.check(ctx, reputation.Query{Addr: i.Addr},
		func(ctx context.Context, q reputation.Query) (reputation.Report, error) {
			return reputation.Report{}, k.Report(ctx, q.Key, i)
		})
	return err
}

// reportTerms returns how many reports may be sent.
func (p *Provider) reportTerms(profile reputation.Profile) (quota.Terms, error) {
	terms := quota.Terms{Burst: 1, NetworkShare: reportShare, Concurrency: 1, Timeout: reportTimeout}
	words := p.ReportQuota
	if len(words) == 0 {
		words = profile.Reports.Quota
	}
	for _, word := range words {
		window, err := ledger.ParseWindow(word)
		if err != nil {
			return terms, fmt.Errorf("report_%w", err) // it begins with the word quota
		}
		terms.Windows = append(terms.Windows, window)
	}
	return terms, nil
}

// checkReport reports what is wrong with the settings of reports. The service is nil while it is not known.
func (p *Provider) checkReport(service reputation.Provider) error {
	if _, err := p.reportTerms(reputation.Profile{}); err != nil {
		return err
	}
	_, takes := service.(reputation.Reporter)
	switch {
	case service != nil && p.Report && !takes:
		return errors.New("the service takes no reports: remove `report yes`")
	case service != nil && len(p.ReportQuota) > 0 && !p.Report:
		return errors.New("report_quota is of no use without `report yes`: write that too, or remove it")
	}
	return nil
}
