package module

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"net/url"
	"slices"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/regularfile"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
)

// configuredList is one list: where it comes from, and what being on it means.
type configuredList struct {
	spec    feed.Spec
	meaning lookup.List
	keyHash string // of the settings of the feed's key, empty without one
}

// provisionLists opens all lists and stores what being on each means, by its position.
func (a *App) provisionLists(ctx caddy.Context) error {
	var all []configuredList
	for _, operator := range []struct {
		option string
		kind   lookup.ListKind
		words  []string
	}{
		{"exempt", lookup.Exempt, a.Exempt},
		{"deny", lookup.Deny, a.Deny},
	} {
		lists, err := operatorLists(operator.option, operator.kind, operator.words)
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

	// A mistake in a file refuses a configuration while somebody waits for the answer. At a boot it does not:
	// without a server, a site would be worse off than with the good lines, or the file's last good copy.
	booting := runtime.Booting()
	specs, keyHashes := make([]feed.Spec, len(all)), make([]string, len(all))
	for i, list := range all {
		if slices.ContainsFunc(all[:i], func(other configuredList) bool { return other.spec.Name == list.spec.Name }) {
			return sameName(list.spec.Name)
		}
		if !booting {
			if err := checkFile(list.spec); err != nil {
				return err
			}
		}
		specs[i], keyHashes[i] = list.spec, list.keyHash
		rt := a.runtime
		rt.ListNames, rt.ListMeanings = append(rt.ListNames, list.spec.Name), append(rt.ListMeanings, list.meaning)
	}
	return a.runtime.OpenLists(specs, keyHashes)
}

// checkFile refuses a list's file that cannot be opened, or that has a mistake in it. An error names the file as the
// operator wrote it.
func checkFile(spec feed.Spec) error {
	if spec.File == "" {
		return nil
	}
	file, _, err := regularfile.Open(spec.File, math.MaxInt64)
	if err != nil {
		cure := "check the path, and that the user Caddy runs as may read it"
		if errors.Is(err, fs.ErrNotExist) {
			cure += aURL(spec.File)
		}
		return fmt.Errorf("list file: %w: %s", err, cure)
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("list file: %w", err)
	}
	return feed.CheckFile(spec)
}

// operatorLists turns the words of `exempt` and `deny` into lists: one for all values, one for each file, URL
// and preset.
func operatorLists(option string, kind lookup.ListKind, words []string) ([]configuredList, error) {
	var values []netip.Prefix
	var lists []configuredList
	for i, word := range words {
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
			if err := checkPath(word); err != nil {
				return nil, fmt.Errorf("%s: %w", option, err)
			}
			spec = feed.Spec{Name: fileListName(option, word, lists), File: word, AllowEmpty: true}
		default:
			return nil, fmt.Errorf("%s: %w", option, notASource(word))
		}
		if slices.Contains(words[:i], word) {
			return nil, fmt.Errorf("%s: %s is given twice: remove one", option, shown(word))
		}
		spec.Own = spec.File != "" // what others publish is guarded like a feed
		lists = append(lists, configuredList{spec: spec, meaning: lookup.List{Kind: kind}})
	}
	if len(values) > 0 {
		lists = append(lists, configuredList{spec: feed.Spec{Name: option, Values: values}, meaning: lookup.List{Kind: kind}})
	}
	return lists, nil
}

// shown returns how an error names a list: a URL may hold a key, so that only its host is shown.
func shown(word string) string {
	if !isURL(word) {
		return word
	}
	if u, err := url.Parse(word); err == nil {
		return "a URL on " + u.Host
	}
	return "a URL"
}

// CheckAddresses reports what is wrong with the words of `exempt` or `deny`, as far as they can be judged by
// themselves.
func CheckAddresses(option string, words []string) error {
	_, err := operatorLists(option, lookup.Deny, words)
	return err
}
