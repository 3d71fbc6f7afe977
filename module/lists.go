package module

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
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

// feedConfidence is the evidence behind a feed that is not a preset: one feed alone is no proof.
const feedConfidence = 0.6

// listed is one list: where it comes from, and what being on it means.
type listed struct {
	spec    feed.Spec
	meaning lookup.List
	key     string // a hash of the feed's key, empty without one
}

// provisionLists opens all lists and notes what they mean, by their position.
func (a *App) provisionLists(ctx caddy.Context) error {
	var all []listed
	for _, own := range []struct {
		option string
		kind   lookup.ListKind
		words  []string
	}{
		{"exempt", lookup.Exempt, a.Exempt},
		{"deny", lookup.Deny, a.Deny},
	} {
		lists, err := ownLists(own.option, own.kind, own.words)
		for i := range lists {
			if err == nil {
				lists[i].spec.URLs, err = resolveURLs(lists[i].spec.URLs)
			}
		}
		if err != nil {
			return err
		}
		all = append(all, lists...)
	}
	for i := range a.Feeds {
		list, err := a.Feeds[i].list()
		if err == nil {
			err = a.authorize(ctx, &a.Feeds[i], &list)
		}
		if err != nil {
			return fmt.Errorf("feed %s: %w", a.Feeds[i].label(i), err)
		}
		all = append(all, list)
	}

	specs, keys := make([]feed.Spec, len(all)), make([]string, len(all))
	for i, list := range all {
		if slices.ContainsFunc(all[:i], func(other listed) bool { return other.spec.Name == list.spec.Name }) {
			return fmt.Errorf("two lists are named %q: give one of them another name, or name it once", list.spec.Name)
		}
		if err := readable(list.spec); err != nil {
			return err
		}
		specs[i], keys[i] = list.spec, list.key
		rt := a.runtime
		rt.ListNames, rt.ListKinds = append(rt.ListNames, list.spec.Name), append(rt.ListKinds, list.meaning)
	}
	return a.runtime.OpenLists(specs, keys)
}

// readable makes sure that a list's file can be opened, so that the error names the file as the operator wrote it.
func readable(spec feed.Spec) error {
	if spec.File == "" {
		return nil
	}
	file, err := os.Open(spec.File)
	if err != nil {
		return fmt.Errorf("list file: %w: check the path, and that the user Caddy runs as may read it", err)
	}
	return file.Close()
}

// ownLists turns the words of `exempt` and `deny` into lists: one for all values, one for each file, URL and preset.
func ownLists(option string, kind lookup.ListKind, words []string) ([]listed, error) {
	var values []netip.Prefix
	var lists []listed
	for _, word := range words {
		prefixes, ok, err := address.ParseRanges(word)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", option, err)
		}
		if ok {
			values = append(values, prefixes...)
			continue
		}
		var spec feed.Spec
		preset, isPreset := feed.Preset(word)
		switch {
		case isPreset:
			spec = preset.Spec
			spec.Name = option + "_" + spec.Name
		case isURL(word):
			spec = feed.Spec{Name: option + "_" + shortHash(word), URLs: []string{word}}
		case isFile(word):
			spec = feed.Spec{Name: fileListName(option, word, lists), File: word, AllowEmpty: true}
		default:
			return nil, fmt.Errorf("%s: %w", option, notASource(word))
		}
		spec.Own = spec.File != "" // what others publish is guarded like a feed
		lists = append(lists, listed{spec: spec, meaning: lookup.List{Kind: kind}})
	}
	if len(values) > 0 {
		lists = append(lists, listed{spec: feed.Spec{Name: option, Values: values}, meaning: lookup.List{Kind: kind}})
	}
	return lists, nil
}

// Check reports what is wrong with the feed's settings, as far as they can be judged by themselves: files are not opened,
// secrets not resolved.
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

// CheckAddresses reports what is wrong with the words of `exempt` or `deny`, as far as they can be judged by themselves.
func CheckAddresses(option string, words []string) error {
	_, err := ownLists(option, lookup.Deny, words)
	return err
}

// list turns a configured feed into a list, without the headers that may be secrets.
func (f *Feed) list() (listed, error) {
	l, err := f.origin()
	if err != nil {
		return l, err
	}
	if err := f.describe(&l); err != nil {
		return l, err
	}
	return l, f.override(&l.spec)
}

// resolveURLs resolves the placeholders in URLs, which may stand for keys.
func resolveURLs(urls []string) ([]string, error) {
	resolved := slices.Clone(urls)
	for i, url := range resolved {
		if !strings.Contains(url, "{") {
			continue
		}
		var err error
		if resolved[i], err = secret.Resolve("url", url); err != nil {
			return nil, err
		}
	}
	return resolved, nil
}

// origin says where the feed comes from, with what its preset says of it.
func (f *Feed) origin() (l listed, err error) {
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
		if i := slices.IndexFunc(f.Sources, func(s string) bool { return !isURL(s) }); i >= 0 {
			return l, fmt.Errorf("source %q is not a URL, as the first one is: give each kind its own feed", f.Sources[i])
		}
	case isFile(first):
		if len(f.Sources) > 1 {
			return l, fmt.Errorf("a feed reads one file: give %q its own feed", f.Sources[1])
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
func (f *Feed) describe(l *listed) (err error) {
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

// override applies the settings that replace those of the preset.
func (f *Feed) override(spec *feed.Spec) error {
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
	case len(f.Sources) > 0 && !isURL(f.Sources[0]): // a URL may hold a key
		return f.Sources[0]
	}
	return fmt.Sprintf("number %d", position+1)
}
