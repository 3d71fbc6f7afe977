package provider

import (
	"fmt"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
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
