// Package provider is what all reputation services share: their settings, the terms that they are held to,
// and the rotation of their keys. Each service is a package below.
package provider

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/request"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	refresh "github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/secret"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/throttle"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/secret"
)

// Provider is a reputation service that is asked about addresses one by one, within its terms.
type Provider struct {
	// The service: a module of the namespace `ip_reputation.providers`. Required.
	ServiceRaw json.RawMessage `json:"service,omitempty" caddy:"namespace=ip_reputation.providers inline_key=service"`

	// The name by which the provider appears in reasons, rules and metrics. Needed when one service is used twice.
	// Default: the service's name.
	Name string `json:"name,omitempty"`

	// The API keys. The first that the service accepts is used: with several, a new key can be put in place before the old
	// one ends. A key that the service refuses is fetched anew at once, and set aside for a while if it is still the same.
	// Required by services that ask for one. Default: none.
	Keys []secret.Secret `json:"keys,omitempty"`

	// How many calls the plan includes, such as `1000/day`; all windows hold. Windows follow the calendar in
	// UTC: minute, hour, day, week, month. Default: the service's free plan.
	Quota []string `json:"quota,omitempty"`

	// The most calls in a short time, such as `5/s` or `1/2s`. Where one call asks about several addresses, it counts
	// once here, and once for each address in the quota. Default: the service's, else no limit besides the quota.
	Rate string `json:"rate,omitempty"`

	// How much of each `quota` may be used at once, from above 0 to 1. The rest becomes available evenly
	// until the window ends, so that a scan cannot use up the day's calls in a minute. Calls that are not
	// used stay available. Quotas of up to 10 calls, and those of a minute, are not spread. 1 spreads
	// none. Default: 0.25.
	Burst *float64 `json:"burst,omitempty"`

	// How much of each `quota` calls about one network may use, an IPv4 /24 or an IPv6 /48, from above 0 to 1.
	// It is a part of the calls that are available by then: 20 of 1,000. Of fewer calls than 500 it is more:
	// a tenth, up to 10. Quotas of up to 10 calls are not divided. About further clients of the network, what
	// the service said of those that were asked about counts a little: see docs/score.md. Each instance
	// counts for itself. A service without a quota counts as one with `50000/hour`. 1 sets no bound: for a
	// site whose clients come from few networks. Default: 0.02.
	NetworkShare *float64 `json:"network_share,omitempty"`

	// What is sent of an IPv6 address: `address`, all of it, or `network`, the first address of its /64. Services have
	// reports about whole addresses, and know less of a network: `network` is for who may send no more. IPv4 addresses are
	// sent whole in any case, since an answer about a neighbour would be about somebody else. Default: `address`.
	Send string `json:"send,omitempty"`

	// Which addresses the service is asked about: `always`, all whose verdict it can change, or `unless_listed`, those
	// that are on no feed and not denied. Addresses on an `exempt` list are never sent. Default: `always`.
	Ask string `json:"ask,omitempty"`

	// Whether addresses that your site caught in a violation with `report` are reported to the service: their address,
	// what kind of violation it was, and when. Some services want that, and suspend accounts that report wrongly: see
	// docs/reports.md. Services that take no reports refuse it. Default: no.
	Report bool `json:"report,omitempty"`

	// How many reports the plan includes, such as `1000/day`: services count them apart from the calls that ask. It
	// matters only with `report`. Default: a little less than the service's free plan, since other programs may report with
	// the same account.
	ReportQuota []string `json:"report_quota,omitempty"`

	// How long one call may take. Requests do not wait for it longer than `wait`. Default: 2s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// How many calls may be under way at a time. Of services that answer about several addresses in one call, clients
	// that come meanwhile are asked about together, in the next call. Default: 4.
	Concurrency int `json:"concurrency,omitempty"`

	// How much you trust the service, from 0 (never counts) to 1. Default: the service's, else 1.
	Trust *float64 `json:"trust,omitempty"`

	// How long an answer holds that speaks against an address, 30d at most. Default: the
	// service's, else 6h.
	ListedTTL caddy.Duration `json:"listed_ttl,omitempty"`

	// How long an answer holds that does not, 30d at most. Default: the service's, else 24h.
	CleanTTL caddy.Duration `json:"clean_ttl,omitempty"`
}

// Open loads the service, holds it to its terms, and adds it to the runtime. Nobody is called. A look-up asks
// what it returns: a tracer, around what puts the key into the query, around the guard of the terms, around
// the service.
func (p *Provider) Open(ctx caddy.Context, rt *runtime.Runtime) (lookup.Provider, error) {
	settings, label := p.ServiceRaw, p.Label(0) // gone once the module is loaded
	service, err := p.load(ctx)
	if err != nil {
		return lookup.Provider{}, err
	}
	profile := service.Profile()
	name := p.Name
	if name == "" {
		name = profile.Name
	}
	if err := reputation.CheckName(name); err != nil {
		return lookup.Provider{}, err
	}
	keys, err := p.openKeys(ctx, rt, name, service)
	if err != nil {
		if name != label { // one module may be several services
			err = fmt.Errorf("%s: %w", name, err)
		}
		return lookup.Provider{}, err
	}
	if err := p.checkReport(service); err != nil {
		return lookup.Provider{}, err
	}
	terms, listed, clean, err := p.terms(profile)
	if err != nil {
		return lookup.Provider{}, err
	}
	source, err := p.source(name, profile)
	if err != nil {
		return lookup.Provider{}, err
	}
	terms.FirstCome = rt.FirstCome
	budget, err := rt.OpenBudget(name, settings)
	if err != nil {
		return lookup.Provider{}, err
	}
	series := metrics.OpenProvider(name)
	rt.Leases.Add(func() error { series.Close(); return nil })
	guard := quota.New(name, service, terms, budget, rt.Ledger, quota.Options{
		Logger:  rt.Logger,
		Observe: func(_ string, result reputation.Result, took time.Duration) { series.Count(result, took) },
		Sent:    series.CountSent,
		Notify:  func(n quota.Notice) { runtime.NotifyProvider(name, n) },
		NameKey: refresh.Fingerprint, SelfTest: profile.SelfTest,
	})
	withKey := keyed{
		Guard: guard, keys: keys, logger: rt.Logger.With("provider", name),
		logged: new(throttle.Causes[string]), notifiedUntil: new(atomic.Int64),
		notify: func(keys []string, until time.Time) { runtime.Events.Refused(name, keys, until) },
	}
	entry := runtime.Provider{
		Name: name, Service: serviceOf(settings), Terms: profile.Terms, Guard: guard, Probe: withKey.probe,
	}
	if _, ok := service.(reputation.Prober); !ok {
		entry.Probe = withKey.askAboutNobody
	}
	if p.Report {
		if entry.Reports, err = p.openReports(rt, name, service, keys, settings); err != nil {
			return lookup.Provider{}, err
		}
	}
	rt.Providers = append(rt.Providers, entry)
	traced := request.TracedProvider{Name: name, GatedProvider: withKey}
	return lookup.Provider{
		Source: source, Provider: traced, ListedTTL: listed, CleanTTL: clean,
		UnlessListed: p.Ask == "unless_listed", SendNetwork: p.Send == "network", CallsPerDay: terms.CallsPerDay(),
	}, nil
}

// load loads the service, and checks that it is complete.
func (p *Provider) load(ctx caddy.Context) (reputation.Provider, error) {
	if p.ServiceRaw == nil {
		return nil, errors.New("no service is given: name one, such as abuseipdb")
	}
	loaded, err := ctx.LoadModule(p, "ServiceRaw")
	if err != nil {
		return nil, err
	}
	service, ok := loaded.(reputation.Provider)
	if !ok {
		return nil, fmt.Errorf("module %T is not a reputation provider: it lacks the Check or the Profile method", loaded)
	}
	profile := service.Profile()
	if err := profile.Validate(); err != nil {
		return nil, fmt.Errorf("module %T is not complete: %w", loaded, err)
	}
	if _, ok := service.(reputation.Prober); !ok && profile.SelfTest {
		return nil, fmt.Errorf("module %T has a self-test, but lacks the Probe method", loaded)
	}
	if _, ok := service.(reputation.Batcher); !ok && profile.Batch > 0 {
		return nil, fmt.Errorf("module %T has a Batch in its profile, but lacks the CheckAll method", loaded)
	}
	return service, nil
}

// openKeys returns the provider's keys, in the order written.
func (p *Provider) openKeys(
	ctx caddy.Context, rt *runtime.Runtime, name string, service reputation.Provider,
) (*refresh.Ring, error) {
	if err := p.checkKeys(service); err != nil || len(p.Keys) == 0 {
		return nil, err
	}
	var keys []*refresh.Refresher
	for i := range p.Keys {
		key, err := p.Keys[i].OpenFor(ctx, rt, name, "key", false)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return refresh.NewRing(keys...), nil
}

// checkKeys reports a key that is missing, or of no use. A service whose settings decide whether it sends a key says by
// itself what to do about one that it does not send.
func (p *Provider) checkKeys(service reputation.Provider) error {
	use := service.Profile().Key
	switch {
	case use == reputation.KeyNone && len(p.Keys) > 0:
		if s, ok := service.(interface{ KeyIsNotSent() error }); ok {
			return s.KeyIsNotSent()
		}
		return errors.New("the service has no keys: remove the key")
	case use == reputation.KeyRequired && len(p.Keys) == 0:
		return errors.New("no key is given: " + secret.HowToWrite("key"))
	}
	return nil
}

// source returns how the provider's reports are weighed.
func (p *Provider) source(name string, profile reputation.Profile) (score.Source, error) {
	source := score.OfProfile(name, profile)
	if p.Trust == nil {
		return source, nil
	}
	var err error
	source.Trust, err = Trust(p.Trust)
	return source, err
}

// Trust returns how much a source is trusted.
func Trust(configured *float64) (float64, error) {
	if configured == nil {
		return 1, nil
	}
	if t := *configured; !(t >= 0 && t <= 1) { // written so that NaN is refused
		return 0, fmt.Errorf("trust %v is out of range: use 0 (never counts) to 1", t)
	}
	return *configured, nil
}

// Label names a provider in errors before its name is known.
func (p *Provider) Label(position int) string {
	if p.Name != "" {
		return p.Name
	}
	if service := p.service(); service != "" {
		return service
	}
	return fmt.Sprintf("number %d", position+1)
}
