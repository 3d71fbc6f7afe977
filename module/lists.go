package module

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/crowdsec"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/regularfile"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// configuredList is one list: where it comes from, and what being on it means.
type configuredList struct {
	spec     feed.Spec
	meaning  lookup.List
	parts    []lookup.List    // the meanings of the further parts
	stream   *crowdsec.Config // what fills the list
	settings string           // a hash of what is not in the spec, such as the settings of the key
}

// provisionLists opens all lists and stores what being on each means, by its position.
func (a *App) provisionLists(ctx caddy.Context) error {
	all, err := a.lists()
	if err != nil {
		return err
	}
	own := len(all) - len(a.Feeds)
	for i := range all {
		if i < own {
			if all[i].spec.URLs, err = resolveURLs(all[i].spec.URLs); err != nil {
				return fmt.Errorf("%s: %w", ownListOptions[all[i].meaning.Kind], err)
			}
		} else if a.Feeds[i-own].CrowdSec != nil {
			if err := a.follow(ctx, &a.Feeds[i-own], &all[i]); err != nil {
				return fmt.Errorf("feed %s: %w", a.Feeds[i-own].label(i-own), err)
			}
		} else if err := a.authorize(ctx, &a.Feeds[i-own], &all[i]); err != nil {
			return fmt.Errorf("feed %s: %w", a.Feeds[i-own].label(i-own), err)
		}
	}

	// A mistake in a file refuses a configuration while somebody waits for the answer. At a boot it does not:
	// without a server, a site would be worse off than with the good lines, or the file's last good copy.
	booting := runtime.Booting()
	specs, hashes := make([]feed.Spec, len(all)), make([]string, len(all))
	var streams []crowdsec.Config
	for i, list := range all {
		if !booting {
			if err := checkFile(list.spec); err != nil {
				return err
			}
		}
		specs[i], hashes[i] = list.spec, list.settings
		if list.stream != nil {
			streams = append(streams, *list.stream)
		}
		rt := a.runtime
		rt.ListNames, rt.ListMeanings = append(rt.ListNames, list.spec.Name), append(rt.ListMeanings, list.meaning)
		rt.ListsShown = append(rt.ListsShown, listShown(list.spec))
	}
	for _, list := range all { // their members of the index follow those of the lists
		a.runtime.ListMeanings = append(a.runtime.ListMeanings, list.parts...)
	}
	return a.runtime.OpenLists(specs, hashes, streams)
}

// ownListOptions are the options of the operator's own lists.
var ownListOptions = map[lookup.ListKind]string{lookup.Exempt: "exempt", lookup.Deny: "deny"}

// lists returns all lists, those of the feeds last. Nothing in them is resolved or opened.
func (a *App) lists() (all []configuredList, err error) {
	for _, own := range []struct {
		kind  lookup.ListKind
		words []string
	}{{lookup.Exempt, a.Exempt}, {lookup.Deny, a.Deny}} {
		lists, err := operatorLists(ownListOptions[own.kind], own.kind, own.words)
		if err != nil {
			return nil, err
		}
		all = append(all, lists...)
	}
	for i := range a.Feeds {
		list, err := a.Feeds[i].list()
		if err != nil {
			return nil, fmt.Errorf("feed %s: %w", a.Feeds[i].label(i), err)
		}
		all = append(all, list)
	}
	names := make(map[string]bool, len(all))
	for i := range all {
		name := all[i].spec.Name
		if names[name] {
			return nil, fmt.Errorf("two lists are named %q: give one of them another name, or name it once", name)
		}
		names[name] = true
	}
	return all, nil
}

// listShown is a list's name with the file or the host that it comes from.
func listShown(spec feed.Spec) string {
	from := spec.File
	if len(spec.URLs) > 0 {
		if u, err := url.Parse(spec.URLs[0]); err == nil {
			from = u.Host
		}
	}
	if from == "" {
		return spec.Name
	}
	return spec.Name + " (" + from + ")"
}

// CheckSources reports what is wrong with the lists and providers together, as far as it can be judged without files,
// secrets and services.
func (a *App) CheckSources() error {
	names, _, err := a.sourceNames()
	if err != nil {
		return err
	}
	if name := runtime.RepeatedName(names); name != "" {
		return fmt.Errorf("two sources are named %q: give one of them another name", name)
	}
	return lookup.CheckNumber(len(a.Providers))
}

// SourceNames are the names that rules can ask for, nil while some of them are not known: a service may say its name
// only once it is provisioned.
func (a *App) SourceNames() []string {
	names, all, err := a.sourceNames()
	if err != nil || !all {
		return nil
	}
	return append([]string{reputation.SourceDeny, reputation.SourceBan}, names...)
}

// sourceNames are the names of feeds and providers, and whether they are all: see SourceNames.
func (a *App) sourceNames() (names []string, all bool, err error) {
	lists, err := a.lists()
	if err != nil {
		return nil, false, err
	}
	for _, list := range lists[len(lists)-len(a.Feeds):] {
		names = append(names, list.spec.Name)
	}
	all = true
	for i := range a.Providers {
		if name, known := a.Providers[i].SourceName(); known {
			names = append(names, name)
		} else {
			all = false
		}
	}
	return names, all, nil
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
			if !strings.Contains(word, "{") && feed.Check(spec) != nil { // its error would name the list by its hash
				return nil, fmt.Errorf("%s: entry %d is a URL, and not of the form https://host/path", option, i+1)
			}
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
