package module

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/secret"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/throttle"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// termed is what a service module may implement to say what its plan allows and how long its answers hold.
type termed interface {
	// Terms returns the quota of the plan that most keys have, such as "1000/day", and how long answers hold with and
	// without something bad in them. Zero values leave it to the defaults.
	Terms() (quota []string, listed, clean time.Duration)
}

// keyless is what a service module may implement to say that it needs no key.
type keyless interface {
	// KeyOptional reports whether the service answers without a key.
	KeyOptional() bool
}

// The defaults that config comments name.
const (
	defaultListedTTL = 6 * time.Hour
	defaultCleanTTL  = 24 * time.Hour
)

// provider is a configured provider, kept within its terms.
type provider struct {
	name   string
	keeper *quota.Keeper
}

// keyed puts a key into the context of every call: the first that the service accepts.
type keyed struct {
	*quota.Keeper
	name   string
	keys   *secret.Ring // nil for a service that is asked without
	logger *slog.Logger
	logged *throttle.Causes[string]

	// until when it was last told that all keys are set aside, in nanoseconds: most calls have no news
	toldUntil *atomic.Int64
}

// provisionProviders loads the service modules and sets their terms.
func (a *App) provisionProviders(ctx caddy.Context, dir string) ([]lookup.Provider, error) {
	if len(a.Providers) == 0 {
		return nil, nil
	}
	ledger, err := a.acquireLedger(dir)
	if err != nil {
		return nil, err
	}
	a.ledger = ledger
	list := make([]lookup.Provider, len(a.Providers))
	for i := range a.Providers {
		p := &a.Providers[i]
		label := p.label(i) // the raw service is gone once it is loaded
		if list[i], err = a.provisionProvider(ctx, p, ledger); err != nil {
			return nil, fmt.Errorf("provider %s: %w", label, err)
		}
	}
	return list, nil
}

func (a *App) provisionProvider(ctx caddy.Context, p *Provider, ledger quota.Ledger) (lookup.Provider, error) {
	if p.ServiceRaw == nil {
		return lookup.Provider{}, errors.New("no service is given: name one, such as abuseipdb")
	}
	settings := p.ServiceRaw // gone once the module is loaded
	loaded, err := ctx.LoadModule(p, "ServiceRaw")
	if err != nil {
		return lookup.Provider{}, err
	}
	service, ok := loaded.(reputation.Provider)
	if !ok {
		return lookup.Provider{}, fmt.Errorf("module %T is not a reputation provider: it lacks the Check method", loaded)
	}
	name := p.Name
	if name == "" {
		name = loaded.(caddy.Module).CaddyModule().ID.Name()
	}
	if err := checkSourceName(name); err != nil {
		return lookup.Provider{}, err
	}
	keys, err := a.provisionKeys(ctx, p, name, service)
	if err != nil {
		return lookup.Provider{}, err
	}
	terms, listed, clean, err := p.terms(service)
	if err != nil {
		return lookup.Provider{}, err
	}
	source, err := p.source(name, loaded.(caddy.Module))
	if err != nil {
		return lookup.Provider{}, err
	}
	budget, err := a.acquireBudget(name, settings)
	if err != nil {
		return lookup.Provider{}, err
	}
	series := metrics.OpenProvider(name)
	a.pools = append(a.pools, func() error { series.Close(); return nil })
	keeper := quota.New(name, service, terms, budget, ledger, quota.Options{
		Logger:  a.logger,
		Observe: func(_ string, result reputation.Result, took time.Duration) { series.Count(result, took) },
		Notify:  func(n quota.Notice) { notifyProvider(name, n) },
		NameKey: secret.Fingerprint,
	})
	a.keepers = append(a.keepers, &provider{name: name, keeper: keeper})
	served := keyed{keeper, name, keys, a.logger.With("provider", name), new(throttle.Causes[string]), new(atomic.Int64)}
	return lookup.Provider{Source: source, Provider: tracedProvider{name, served}, ListedTTL: listed, CleanTTL: clean}, nil
}

// Check implements reputation.Provider. A refused key is fetched anew at once, for the next call, and this one goes on with the
// next key. When all are set aside there is no call: nobody is asked again and again with what was refused.
func (k keyed) Check(ctx context.Context, addr netip.Addr) (reputation.Report, error) {
	if k.keys == nil {
		report, err := k.Keeper.Check(ctx, addr)
		if errors.Is(err, reputation.ErrRefused) {
			k.sayRefused()
			events.Refused(k.name, nil, k.RefusedUntil(""))
		}
		return report, err
	}
	var until time.Time // when the first of the keys that are set aside is tried again
	setAside := func(pause time.Time) {
		if until.IsZero() || pause.Before(until) {
			until = pause
		}
	}
	var refused error
	for key, kept := range k.keys.Each {
		if pause := k.RefusedUntil(key); !pause.IsZero() {
			setAside(pause)
			continue
		}
		report, err := k.Keeper.Check(reputation.WithKey(ctx, key), addr)
		if !errors.Is(err, reputation.ErrRefused) {
			return report, err
		}
		refused = err
		setAside(k.RefusedUntil(key))
		kept.Refresh()
	}
	k.tellRefused(until)
	if refused != nil {
		k.sayRefused()
		return reputation.Report{}, refused
	}
	return reputation.Report{}, k.Skip(until)
}

// sayRefused logs, once a minute, that no key is left. A single refused key is logged by quota.
func (k keyed) sayRefused() {
	if !k.logged.Allow("refused", time.Now()) {
		return
	}
	k.logger.Error("no key of the provider is accepted, so it is not asked: give it one that is, which is used at once")
}

// tellRefused tells that all keys are set aside, unless there are none, and that was not told yet.
func (k keyed) tellRefused(until time.Time) {
	if until.IsZero() || k.toldUntil.Swap(until.UnixNano()) == until.UnixNano() {
		return
	}
	var fingerprints []string
	for key := range k.keys.Each {
		fingerprints = append(fingerprints, secret.Fingerprint(key))
	}
	events.Refused(k.name, fingerprints, until)
}

// provisionKeys returns the provider's keys, in the order written.
func (a *App) provisionKeys(ctx caddy.Context, p *Provider, name string, service any) (*secret.Ring, error) {
	if len(p.Keys) == 0 {
		if k, ok := service.(keyless); ok && k.KeyOptional() {
			return nil, nil
		}
		return nil, errors.New("no key is given: " + howToWrite("key"))
	}
	var keepers []*secret.Keeper
	for i := range p.Keys {
		kept, err := a.provisionSecret(ctx, name, "key", &p.Keys[i])
		if err != nil {
			return nil, err
		}
		keepers = append(keepers, kept.Keeper)
	}
	return secret.NewRing(keepers...), nil
}

// Check reports what is wrong with the provider's terms, as far as they can be judged by themselves.
func (p *Provider) Check() error {
	_, _, _, err := p.terms(nil)
	return err
}

// terms returns what the provider may be used for, and how long its answers hold.
func (p *Provider) terms(service any) (terms quota.Terms, listed, clean time.Duration, err error) {
	words := p.Quota
	listed, clean = defaultListedTTL, defaultCleanTTL
	if t, ok := service.(termed); ok {
		plan, l, c := t.Terms()
		if len(words) == 0 {
			words = plan
		}
		if l > 0 {
			listed = l
		}
		if c > 0 {
			clean = c
		}
	}
	for _, word := range words {
		window, err := quota.ParseWindow(word)
		if err != nil {
			return terms, 0, 0, err
		}
		terms.Windows = append(terms.Windows, window)
	}
	if p.Rate != "" {
		if terms.Rate, err = rate.Parse(p.Rate); err != nil {
			return terms, 0, 0, err
		}
	}
	if p.ListedTTL != 0 {
		listed = time.Duration(p.ListedTTL)
	}
	if p.CleanTTL != 0 {
		clean = time.Duration(p.CleanTTL)
	}
	terms.Timeout, terms.Concurrency = time.Duration(p.Timeout), p.Concurrency
	switch {
	case terms.Timeout < 0 || terms.Timeout > time.Minute:
		err = fmt.Errorf("timeout %s is out of range: use up to 1m", terms.Timeout)
	case terms.Concurrency < 0 || terms.Concurrency > 1000:
		err = fmt.Errorf("concurrency %d is out of range: use 1 to 1000", terms.Concurrency)
	case listed < time.Second || clean < time.Second:
		err = fmt.Errorf("ttl %s %s: use at least 1s, or every request asks the service", listed, clean)
	}
	return terms, listed, clean, err
}

// source returns how the provider's reports are weighed.
func (p *Provider) source(name string, service caddy.Module) (score.Source, error) {
	id := service.CaddyModule().ID.Name()
	source, _ := score.Defaults(id)
	if source.Group == "" {
		source.Group = id // one service asked in two ways is one witness
	}
	source.Name = name
	if p.Trust == nil {
		return source, nil
	}
	var err error
	source.Trust, err = trust(p.Trust)
	return source, err
}

// trust returns how much a source is trusted.
func trust(configured *float64) (float64, error) {
	if configured == nil {
		return 1, nil
	}
	if t := *configured; !(t >= 0 && t <= 1) { // written so that NaN is refused
		return 0, fmt.Errorf("trust %v is out of range: use 0 (never counts) to 1", t)
	}
	return *configured, nil
}

// label names a provider in errors before its name is known.
func (p *Provider) label(position int) string {
	if p.Name != "" {
		return p.Name
	}
	var inline struct {
		Service string `json:"service"`
	}
	if json.Unmarshal(p.ServiceRaw, &inline) == nil && inline.Service != "" {
		return inline.Service
	}
	return fmt.Sprintf("number %d", position+1)
}

// checkSourceName makes sure that a name can stand in headers, metrics and file names as it is, and is not one of those
// that stand for the operator's own word.
func checkSourceName(name string) error {
	valid := name != "" && len(name) <= 64 && name[0] >= 'a' && name[0] <= 'z'
	for _, c := range []byte(name) {
		valid = valid && ('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '-')
	}
	switch {
	case !valid:
		return fmt.Errorf("name %q: use at most 64 lower-case letters, digits, _ and -, the first a letter", name)
	case name == reputation.SourceDeny, name == reputation.SourceBan, name == "exempt":
		return fmt.Errorf("name %q stands for your own lists: use another one", name)
	}
	return nil
}
