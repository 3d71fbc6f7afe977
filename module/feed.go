package module

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Feed is a list of addresses that speaks against those on it, or says what they are.
type Feed struct {
	// Where the list comes from: the name of a preset such as `spamhaus_drop`, or URLs that make up one list
	// together, or a file, or addresses and CIDR ranges. Files are watched. The presets are in docs/sources.md.
	// Required.
	Sources []string `json:"sources,omitempty"`

	// The name by which the feed appears in reasons, rules, metrics and the data folder: lower-case letters, digits, `_`
	// and `-`, the first a letter. Required unless the source is a preset. Default: the preset's name.
	Name string `json:"name,omitempty"`

	// What the addresses on the list are accused of, such as `scanner` or `spam`. Default: the preset's, else `abuse`.
	Category []string `json:"category,omitempty"`

	// What the addresses on the list are by nature: `tor`, `vpn`, `proxy`, `hosting`, `mobile`, `relay`. Such a list moves the
	// score by little. Default: the preset's, else none.
	Nature []string `json:"nature,omitempty"`

	// How much you trust the list, from 0 (never counts) to 1. Default: 1.
	Trust *float64 `json:"trust,omitempty"`

	ListOptions
}

// feedConfidence is the evidence behind a feed that is not a preset: one feed alone is no proof.
const feedConfidence = 0.6

// Check reports what is wrong with the feed's settings, as far as they can be judged by themselves: files are
// not opened, secrets not resolved.
func (f *Feed) Check() error {
	l, err := f.list()
	if err != nil {
		return err
	}
	if err := f.checkKey(); err != nil {
		return err
	}
	return feed.Check(l.spec)
}

// list turns a configured feed into a list, without the headers that may be secrets.
func (f *Feed) list() (configuredList, error) {
	l, err := f.fromSources()
	if err != nil {
		return l, err
	}
	if err := f.describe(&l); err != nil {
		return l, err
	}
	return l, f.replace(&l.spec)
}

// fromSources says where the feed comes from, with what its preset says of it.
func (f *Feed) fromSources() (l configuredList, err error) {
	l.meaning.Confidence = feedConfidence
	l.options = &f.ListOptions
	if len(f.Sources) == 0 {
		return l, fmt.Errorf("%w: name a preset (%s), URLs, a file or ranges", errNoSource,
			strings.Join(feed.PresetNames(), ", "))
	}
	spec, preset, err := readSources("feed", f.Sources)
	if err != nil {
		return l, err
	}
	l.spec = spec
	if preset != nil {
		l.meaning.Confidence = preset.Confidence
		l.meaning.Categories = reputation.CategoriesOf(preset.Category)
		l.meaning.Source = score.OfFeed(preset.Spec.Name, l.meaning.Categories)
		l.meaning.Source.Weight = cmp.Or(preset.Weight, l.meaning.Source.Weight)
		l.meaning.Source.Group = cmp.Or(preset.Group, l.meaning.Source.Group)
		if preset.Nature != nil {
			l.meaning.Nature = l.meaning.Nature.With(*preset.Nature, true)
		}
		return l, nil
	}
	if f.Name == "" {
		return l, fmt.Errorf("a feed that is not a preset needs a name: add `name <name>`")
	}
	return l, nil
}

// describe sets what being on the list means.
func (f *Feed) describe(l *configuredList) (err error) {
	if f.Name != "" {
		if err := reputation.CheckName(f.Name); err != nil {
			return err
		}
		l.spec.Name = f.Name
	}
	if err := f.accuse(&l.meaning); err != nil {
		return err
	}
	if l.meaning.Source.Name == "" {
		l.meaning.Source = score.OfFeed("", l.meaning.Categories) // a name that a preset has makes no preset
	}
	l.meaning.Source.Name = l.spec.Name
	l.meaning.Source.Trust, err = provider.Trust(f.Trust)
	return err
}

// accuse sets what the addresses are accused of. A list of natures accuses of nothing else unless it says so.
func (f *Feed) accuse(m *lookup.List) error {
	var natures reputation.Categories
	for _, word := range f.Nature {
		kind, err := reputation.ParseKind(word)
		if err != nil {
			return err
		}
		m.Nature = m.Nature.With(kind, true)
		if category, err := reputation.ParseCategory(word); err == nil {
			natures |= reputation.CategoriesOf(category)
		}
	}
	var categories reputation.Categories
	for _, word := range f.Category {
		category, err := reputation.ParseCategory(word)
		if err != nil {
			return err
		}
		categories |= reputation.CategoriesOf(category)
	}
	switch {
	case categories != 0:
		m.Categories = categories
	case len(f.Nature) > 0:
		m.Categories = natures
	case m.Categories == 0:
		m.Categories = reputation.CategoriesOf(reputation.Abuse)
	}
	return nil
}

// label names a feed in errors before its name is known.
func (f *Feed) label(position int) string {
	switch {
	case f.Name != "":
		return f.Name
	case len(f.Sources) > 0 && !isURL(f.Sources[0]): // a URL may hold a key
		return f.Sources[0]
	}
	return fmt.Sprintf("number %d", position+1)
}
