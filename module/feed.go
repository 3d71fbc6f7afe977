package module

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/listformat"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/secret"
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

	// How often URLs are fetched. A preset is never fetched more often than its publisher allows. Default: the preset's,
	// else 1h.
	Refresh caddy.Duration `json:"refresh,omitempty"`

	// How long one fetch may take. Default: 30s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// Headers sent when the list is fetched, for lists that need a token. Placeholders are resolved for every
	// request, so that a file that changes is used without a reload; `{key}` stands for the key. They are not
	// sent to another host after a redirect. Default: none.
	Header map[string]string `json:"header,omitempty"`

	// The publisher's key for you. It is sent where a header has `{key}` in it, such as `Authorization "Bearer {key}"`.
	// Needed for a key in a store, or for a warning before the key ends. Default: none.
	Key *secret.Secret `json:"key,omitempty"`

	// How the list is written: `text` (one address or range a line), `csv`, `json` or `ndjson`. Default: the preset's,
	// else `text`.
	Format string `json:"format,omitempty"`

	// Which column (`csv`) or members (`json`, `ndjson`) hold the addresses. A member holds an address, or an array of
	// addresses. It is named as it is within an entry of the list, such as `ip`, or within the whole document, such as
	// `hooks` in `{"hooks": ["192.0.2.1"], …}`; then other arrays are left out. A dot leads to a member of a member, such
	// as `properties.addressPrefixes`. Required for `csv` and `ndjson`. Default: none, which is right for arrays of
	// addresses.
	Field []string `json:"field,omitempty"`

	// The least number in the second column of a `text` list for an entry to count, as in ipsum, where it is the number
	// of other lists that name the address. Zero takes all. Default: the preset's (`ipsum`: 3), else 0.
	MinCount int `json:"min_count,omitempty"`

	// The largest list that is accepted, in bytes after decompression. Default: 64 MiB.
	MaxSize int64 `json:"max_size,omitempty"`

	// The largest number of ranges that the list may have, after duplicates and neighbours are merged. It bounds the
	// memory that the list takes. Default: 2000000.
	MaxEntries int `json:"max_entries,omitempty"`

	// The share of its entries that a list may lose from one fetch to the next; one that loses more is refused and the
	// old one stays in force. Default: 0.5.
	MaxShrink *float64 `json:"max_shrink,omitempty"`

	// Whether an empty list is believed. Default: the preset's (`feodo`: yes), else no.
	AllowEmpty bool `json:"allow_empty,omitempty"`

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
		err = f.checkKey()
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
	if len(f.Sources) == 0 {
		return l, fmt.Errorf("no source is given: name a preset (%s), URLs, a file or ranges", strings.Join(feed.PresetNames(), ", "))
	}
	preset, ok := feed.Preset(f.Sources[0])
	if ok && len(f.Sources) > 1 {
		return l, fmt.Errorf("%s is a preset, which has its own sources: give %q its own feed", f.Sources[0], f.Sources[1])
	}
	if ok {
		l.spec = preset.Spec
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
	switch first := f.Sources[0]; {
	case isURL(first):
		l.spec.URLs = f.Sources
		for i, source := range f.Sources {
			if !isURL(source) {
				return l, fmt.Errorf("source %q is not a URL, as the first one is: give each kind its own feed", source)
			}
			if slices.Contains(f.Sources[:i], source) {
				return l, fmt.Errorf("%s is given twice: remove one", shown(source))
			}
		}
	case isFile(first):
		if len(f.Sources) > 1 {
			return l, fmt.Errorf("a feed reads one file: give %q its own feed", f.Sources[1])
		}
		if err := checkPath(first); err != nil {
			return l, err
		}
		l.spec.File = first
	default:
		if l.spec.Values, err = f.values(); err != nil {
			return l, err
		}
	}
	if f.Name == "" {
		return l, fmt.Errorf("a feed that is not a preset needs a name: add `name <name>`")
	}
	return l, nil
}

// values returns the ranges that the feed is made of.
func (f *Feed) values() ([]netip.Prefix, error) {
	var values []netip.Prefix
	for _, word := range f.Sources {
		prefixes, ok, err := address.ParseRanges(word)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, notASource(word)
		}
		values = append(values, prefixes...)
	}
	return values, nil
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

// replace sets what the feed says otherwise than its preset.
func (f *Feed) replace(spec *feed.Spec) error {
	if f.Refresh < 0 || f.Timeout < 0 {
		return fmt.Errorf("refresh %s, timeout %s: use positive durations", time.Duration(f.Refresh), time.Duration(f.Timeout))
	}
	if f.Refresh != 0 {
		spec.Refresh = time.Duration(f.Refresh)
	}
	if f.Timeout != 0 {
		spec.Timeout = time.Duration(f.Timeout)
	}
	if f.MaxSize != 0 {
		spec.MaxBytes = f.MaxSize
	}
	if f.MaxEntries != 0 {
		spec.MaxEntries = f.MaxEntries
	}
	if f.MaxShrink != nil {
		spec.MaxShrink = f.MaxShrink
	}
	if f.MinCount != 0 {
		spec.Format.MinCount = f.MinCount
	}
	if f.Format != "" {
		spec.Format.Encoding = listformat.Encoding(f.Format)
	}
	if len(f.Field) > 0 {
		spec.Format.Members = f.Field
	}
	spec.AllowEmpty = spec.AllowEmpty || f.AllowEmpty
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
