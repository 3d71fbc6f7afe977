package module

import (
	"fmt"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup/listing"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Feed is a list of addresses that speaks against those on it, or says what they are.
type Feed struct {
	// Where the list comes from: the name of a preset such as `spamhaus_drop`, or URLs that make up one list
	// together, or a file, or addresses, CIDR ranges and autonomous systems such as `AS64500`. Files are watched. The
	// presets are in docs/sources.md. The address of `azure` changes: behind its name stands the file or the URL. Required.
	Sources []string `json:"sources,omitempty"`

	// The name by which the feed appears in reasons, rules, metrics and the data folder: lower-case letters, digits, `_`
	// and `-`, the first a letter. Required unless the source is a preset. Default: the preset's name.
	Name string `json:"name,omitempty"`

	// What the addresses on the list are accused of, such as `scanner` or `spam`. Default: the preset's, else none for a
	// list with a `nature` and `abuse` for others.
	Category []string `json:"category,omitempty"`

	// What the addresses on the list are by nature: `tor`, `vpn`, `proxy`, `hosting`, `mobile`, `relay`. Such a list moves the
	// score by little; `mobile` and `relay` do not move it. Default: the preset's, else none.
	Nature []string `json:"nature,omitempty"`

	// How much you trust the list, from 0 (never counts) to 1. Default: 1.
	Trust *float64 `json:"trust,omitempty"`

	ListOptions

	// Or the decisions of a CrowdSec, in place of sources. Of the other settings, `name`, `trust`, `key`, `refresh`,
	// `max_entries` and `max_shrink` go with it. Default: none.
	CrowdSec *CrowdSec `json:"crowdsec,omitempty"`
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
	if f.CrowdSec == nil {
		err = f.checkKey(l.preset)
	}
	if err != nil {
		return err
	}
	return feed.Check(l.spec)
}

// list turns a configured feed into a list, without the headers that may be secrets.
func (f *Feed) list() (configuredList, error) {
	if f.CrowdSec != nil {
		return f.decisions()
	}
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
		return l, fmt.Errorf("%w: name a preset, URLs, a file or ranges", errNoSource)
	}
	spec, known, err := readSources("feed", f.Sources)
	if err != nil {
		return l, err
	}
	l.spec, l.preset = spec, known
	if known != nil {
		l.meaning = listing.List{
			Confidence: known.Confidence, Categories: known.Categories, Nature: known.Nature,
			Source: score.Source{Name: known.Name, Trust: 1, Weight: known.Weight, Group: known.Group},
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
	switch {
	case l.meaning.Source.Name != "": // a preset's; a name that a preset has makes no preset
	case l.meaning.Categories == 0:
		l.meaning.Source = score.OfLabel("")
	default:
		l.meaning.Source = score.OfFeed("", l.meaning.Categories)
	}
	l.meaning.Source.Name = l.spec.Name
	l.meaning.Source.Trust, err = provider.Trust(f.Trust)
	return err
}

// accuse sets what the addresses are accused of. A list of natures accuses of nothing else unless it says so.
func (f *Feed) accuse(m *listing.List) error {
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
	case m.Categories == 0 && m.Source.Name == "": // a preset may accuse of nothing
		m.Categories = reputation.CategoriesOf(reputation.Abuse)
	}
	return nil
}

// label names a feed in errors before its name is known.
func (f *Feed) label(position int) string {
	switch {
	case f.Name != "":
		return f.Name
	case f.CrowdSec != nil:
		return crowdSecName
	case len(f.Sources) > 0 && !isURL(f.Sources[0]): // a URL may hold a key
		return f.Sources[0]
	}
	return fmt.Sprintf("number %d", position+1)
}
