package provider

import (
	"fmt"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Check reports what is wrong with the provider's terms, as far as they can be judged by themselves.
func (p *Provider) Check() error {
	_, _, _, err := p.terms(reputation.Profile{})
	return err
}

// defaultShare is how much of a quota may be used at once, and by one network.
const defaultShare = 0.1

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
		window, err := quota.ParseWindow(word)
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
	terms.Burst, terms.NetworkShare = defaultShare, defaultShare
	if p.Burst != nil {
		terms.Burst = *p.Burst
	}
	if p.NetworkShare != nil {
		terms.NetworkShare = *p.NetworkShare
	}
	terms.Timeout, terms.Concurrency = time.Duration(p.Timeout), p.Concurrency
	switch {
	case !(terms.Burst > 0 && terms.Burst <= 1): // written so that NaN is refused
		err = fmt.Errorf("burst %v is out of range: use above 0 to 1 (the whole quota at once), such as 0.1", terms.Burst)
	case !(terms.NetworkShare > 0 && terms.NetworkShare <= 1):
		err = fmt.Errorf("network_share %v is out of range: use above 0 to 1 (no bound), such as 0.1", terms.NetworkShare)
	case terms.Timeout < 0 || terms.Timeout > time.Minute:
		err = fmt.Errorf("timeout %s is out of range: use up to 1m", terms.Timeout)
	case terms.Concurrency < 0 || terms.Concurrency > 1000:
		err = fmt.Errorf("concurrency %d is out of range: use 1 to 1000", terms.Concurrency)
	case listed < time.Second || clean < time.Second:
		err = fmt.Errorf("ttl %s %s: use at least 1s, or every request asks the service", listed, clean)
	case listed > record.MaxTTL || clean > record.MaxTTL:
		err = fmt.Errorf("ttl %s %s: use at most 30d: older answers are not believed after a restart",
			listed, clean)
	}
	return terms, listed, clean, err
}
