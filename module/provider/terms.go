package provider

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Check reports what is wrong with the provider's terms, as far as they can be judged by themselves.
func (p *Provider) Check() error {
	if _, _, _, err := p.terms(reputation.Profile{}); err != nil {
		return err
	}
	return p.checkReport(nil)
}

// CheckService reports what the service needs and has not, and a name that it cannot have, as far as the service says so
// before it is provisioned.
func (p *Provider) CheckService() error {
	if p.Name != "" {
		if err := reputation.CheckName(p.Name); err != nil {
			return err
		}
	}
	profile, known := p.profile()
	if !known {
		return nil
	}
	service := p.unprovisioned()
	if err := p.checkKeys(service); err != nil {
		return err
	}
	if err := p.checkReport(service); err != nil {
		return err
	}
	_, _, _, err := p.terms(profile)
	return err
}

// SourceName is the provider's name in rules. It is not known where the service says it only once it is provisioned.
func (p *Provider) SourceName() (name string, known bool) {
	if p.Name != "" {
		return p.Name, true
	}
	profile, known := p.profile()
	return profile.Name, known
}

// profile is what the service says of itself by its settings, which are not provisioned.
func (p *Provider) profile() (reputation.Profile, bool) {
	service := p.unprovisioned()
	if service == nil {
		return reputation.Profile{}, false
	}
	profile := service.Profile()
	return profile, profile.Validate() == nil
}

// unprovisioned returns the service with its settings, nil if there is no such service or they cannot be read.
func (p *Provider) unprovisioned() reputation.Provider {
	info, err := caddy.GetModule("ip_reputation.providers." + p.service())
	if err != nil {
		return nil
	}
	service, ok := info.New().(reputation.Provider)
	if !ok || json.Unmarshal(p.ServiceRaw, service) != nil {
		return nil
	}
	return service
}

// Longest is how long a look-up may have to wait for the service: its time limit and, where calls are made for several
// addresses together, the time until the next one.
func (p *Provider) Longest() time.Duration {
	profile, _ := p.profile()
	terms, _, _, _ := p.terms(profile) // wrong ones are reported when the provider is opened
	return terms.Longest(profile.Batch)
}

// service is the name of the module, or the empty string.
func (p *Provider) service() string { return serviceOf(p.ServiceRaw) }

func serviceOf(settings json.RawMessage) string {
	var inline struct {
		Service string `json:"service"`
	}
	if json.Unmarshal(settings, &inline) != nil {
		return ""
	}
	return inline.Service
}

const (
	// defaultBurst is how much of a quota may be used at once.
	defaultBurst = 0.25

	// defaultShare is how much of it one network may use.
	defaultShare = 0.02
)

// terms returns what the provider may be used for, and how long its answers hold.
func (p *Provider) terms(profile reputation.Profile) (terms quota.Terms, listed, clean time.Duration, err error) {
	profile = profile.WithDefaults()
	listed, clean = profile.ListedTTL, profile.CleanTTL
	words, speed := p.Quota, p.Rate
	if len(words) == 0 {
		words = profile.Quota
	}
	if speed == "" {
		speed = profile.Rate
	}
	for _, word := range words {
		window, err := ledger.ParseWindow(word)
		if err != nil {
			return terms, 0, 0, err
		}
		terms.Windows = append(terms.Windows, window)
	}
	if speed != "" {
		if terms.Rate, err = rate.Parse(speed); err != nil {
			return terms, 0, 0, err
		}
	}
	if p.ListedTTL != 0 {
		listed = time.Duration(p.ListedTTL)
	}
	if p.CleanTTL != 0 {
		clean = time.Duration(p.CleanTTL)
	}
	terms.Burst, terms.NetworkShare = defaultBurst, defaultShare
	if p.Burst != nil {
		terms.Burst = *p.Burst
	}
	if p.NetworkShare != nil {
		terms.NetworkShare = *p.NetworkShare
	}
	terms.Timeout, terms.Concurrency = time.Duration(p.Timeout), p.Concurrency
	switch {
	case !(terms.Burst > 0 && terms.Burst <= 1): // written so that NaN is refused
		err = fmt.Errorf("burst %v is out of range: use above 0 to 1 (the whole quota at once), such as 0.25", terms.Burst)
	case !(terms.NetworkShare > 0 && terms.NetworkShare <= 1):
		err = fmt.Errorf("network_share %v is out of range: use above 0 to 1 (no bound), such as 0.02", terms.NetworkShare)
	case terms.Timeout < 0 || terms.Timeout > time.Minute:
		err = fmt.Errorf("timeout %s is out of range: use up to 1m", terms.Timeout)
	case terms.Concurrency < 0 || terms.Concurrency > 1000:
		err = fmt.Errorf("concurrency %d is out of range: use 1 to 1000", terms.Concurrency)
	case p.Send != "" && p.Send != "address" && p.Send != "network":
		err = fmt.Errorf("unknown send %q: use address or network", p.Send)
	case p.Ask != "" && p.Ask != "always" && p.Ask != "unless_listed":
		err = fmt.Errorf("unknown ask %q: use always or unless_listed", p.Ask)
	case listed < time.Second || clean < time.Second:
		err = fmt.Errorf("ttl %s %s: use at least 1s, or every request asks the service", listed, clean)
	case listed > record.MaxTTL || clean > record.MaxTTL:
		err = fmt.Errorf("ttl %s %s: use at most 30d: older answers are not believed after a restart",
			listed, clean)
	}
	return terms, listed, clean, err
}
