package module

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/crowdsec"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup/listing"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/preset"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/regularfile"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/conduct"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// configuredList is one list: where it comes from, and what being on it means.
type configuredList struct {
	spec     feed.Spec
	meaning  listing.List
	label    string         // for errors: its option, with the name of a feed
	options  *ListOptions   // nil for the ranges of several lines
	preset   *preset.Preset // nil for other lists
	settings string         // a hash of what the spec lacks, such as the settings of the list's key

	// Of a feed of decisions only.
	crowdSec *CrowdSec
	stream   *crowdsec.Config
	parts    []listing.List // the meanings of the list's further parts
}

// provisionLists opens all lists and stores what being on each means, by its position.
func (a *App) provisionLists(ctx caddy.Context) error {
	all, err := a.lists()
	if err != nil {
		return err
	}
	for i := range all {
		open := a.authorize
		if all[i].crowdSec != nil {
			open = a.follow
		}
		if err := open(ctx, &all[i]); err != nil {
			return fmt.Errorf("%s: %w", all[i].label, err)
		}
	}

	// A mistake in a file refuses a configuration while somebody waits for the answer. At a boot it does not:
	// without a server, a site would be worse off than with the good lines, or the file's last good copy.
	booting := process.Booting()
	specs, settings := make([]feed.Spec, len(all)), make([]string, len(all))
	var streams []crowdsec.Config
	for i, list := range all {
		if !booting {
			if err := checkFile(list.spec); err != nil {
				return err
			}
		}
		specs[i], settings[i] = list.spec, list.settings
		if list.stream != nil {
			streams = append(streams, *list.stream)
		}
		rt := a.runtime
		rt.Lists.Names, rt.Lists.Meanings = append(rt.Lists.Names, list.spec.Name), append(rt.Lists.Meanings, list.meaning)
		rt.Lists.Shown = append(rt.Lists.Shown, listShown(list.spec))
	}
	for _, list := range all { // the parts follow all lists
		a.runtime.Lists.Meanings = append(a.runtime.Lists.Meanings, list.parts...)
	}
	logTerms(a.runtime.Logger, all)
	return a.runtime.OpenLists(specs, settings, streams)
}

// ownListOptions are the options of the operator's own lists.
var ownListOptions = map[listing.Kind]string{listing.Exempt: "exempt", listing.Deny: "deny"}

// lists returns all lists, those of the feeds last. Nothing in them is resolved or opened.
func (a *App) lists() (all []configuredList, err error) {
	for _, own := range []struct {
		kind  listing.Kind
		lists []List
	}{{listing.Exempt, a.Exempt}, {listing.Deny, a.Deny}} {
		lists, err := operatorLists(own.kind, own.lists)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", ownListOptions[own.kind], err)
		}
		all = append(all, lists...)
	}
	published, err := a.VerifiedBots.lists()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", verifiedBots, err)
	}
	all = append(all, published...)
	for i := range a.Feeds {
		label := "feed " + a.Feeds[i].label(i)
		list, err := a.Feeds[i].list()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", label, err)
		}
		list.label = label
		all = append(all, list)
	}
	if err := checkAskers(a.Feeds); err != nil {
		return nil, err
	}
	names := make(map[string]bool, len(all))
	for i := range all {
		name := all[i].spec.Name
		if names[name] {
			return nil, fmt.Errorf(
				"two lists are named %q: give one of them another name, with the option `name`, or name it once", name)
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
		return fmt.Errorf("two sources are named %q: give one of them another name, with the option `name`", name)
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
	own := []string{reputation.SourceDeny, reputation.SourceBan}
	if a.VerifiedBots != nil {
		own = append(own, reputation.SourceVerifiedBots, reputation.SourceFakeBot)
	}
	return slices.Concat(own, names, conduct.Sources(a.ViolationNames()))
}

// ASNListNames are the names of the lists of autonomous systems, which conditions can ask for.
func (a *App) ASNListNames() (names []string) {
	lists, err := a.lists()
	if err != nil {
		return nil
	}
	for _, list := range lists {
		if list.spec.ASNs || list.spec.ASNValues != nil {
			names = append(names, list.spec.Name)
		}
	}
	return names
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

// operatorLists turns what `exempt` or `deny` say into lists: one for all ranges, unless they have a name, and one for
// each other entry.
func operatorLists(kind listing.Kind, entries []List) (lists []configuredList, err error) {
	option := ownListOptions[kind]
	ranges := configuredList{spec: feed.Spec{Name: option}, meaning: listing.List{Kind: kind}, label: option}
	given := make(map[string]bool)
	for i := range entries {
		entry := &entries[i]
		spec, known, err := entry.read(option, i+1, lists)
		if err != nil {
			return nil, err
		}
		if ofValues(&spec) && entry.Name == "" {
			ranges.spec.Values = append(ranges.spec.Values, spec.Values...)
			ranges.spec.ASNValues = append(ranges.spec.ASNValues, spec.ASNValues...)
			continue
		}
		for _, source := range entry.Sources {
			if given[source] && !ofValues(&spec) {
				return nil, fmt.Errorf("%s is given twice: remove one", shown(source))
			}
			given[source] = true
		}
		lists = append(lists, configuredList{
			spec: spec, meaning: listing.List{Kind: kind}, label: option, options: &entry.ListOptions, preset: known,
		})
	}
	if ofValues(&ranges.spec) {
		lists = append(lists, ranges)
	}
	return lists, nil
}

// read returns the list that an entry of `exempt` or `deny` describes. The others are those before it.
func (l *List) read(
	option string, number int, others []configuredList,
) (spec feed.Spec, known *preset.Preset, err error) {
	if len(l.Sources) == 0 {
		return spec, nil, fmt.Errorf("%w: name addresses, CIDR ranges, files, URLs or presets", errNoSource)
	}
	spec, known, err = readSources(option, l.Sources)
	if err != nil {
		return spec, nil, err
	}
	switch {
	case known != nil && option == ownListOptions[listing.Exempt] && !known.Exempt:
		return spec, nil, notToExempt(known)
	case known != nil:
		spec.Name = option + "_" + spec.Name
	case len(spec.URLs) > 0:
		spec.Name = option + "_" + shortHash(strings.Join(spec.URLs, " "))
		if !havePlaceholders(spec.URLs) && feed.Check(spec) != nil { // its error would name the list by its hash
			return spec, nil, fmt.Errorf("entry %d is a URL, and not of the form https://host/path", number)
		}
	case spec.File != "":
		spec.Name, spec.AllowEmpty = fileListName(option, spec.File, others), true
		spec.Own = true // what others publish is guarded like a feed
	default:
		spec.Name = option
	}
	if l.Name != "" {
		if err := reputation.CheckName(l.Name); err != nil {
			return spec, nil, err
		}
		spec.Name = l.Name
	}
	if err := l.checkKey(known); err != nil {
		return spec, nil, err
	}
	if err := l.replace(&spec); err != nil {
		return spec, nil, err
	}
	if havePlaceholders(spec.URLs) {
		return spec, known, nil // what they stand for is not known yet
	}
	return spec, known, feed.Check(spec)
}

func havePlaceholders(urls []string) bool {
	return slices.ContainsFunc(urls, func(url string) bool { return strings.Contains(url, "{") })
}

// readSources says where a list comes from. A preset is returned as well.
func readSources(option string, sources []string) (spec feed.Spec, known *preset.Preset, err error) {
	first := sources[0]
	p, isPreset := preset.Find(first)
	if _, _, err := address.ParseRanges(first); err != nil { // before it is taken for a file
		return spec, nil, err
	}
	switch {
	case isPreset && len(p.URLs) == 0:
		spec, err = ofChanging(option, p, sources[1:])
		return spec, &p, err
	case isPreset && len(sources) > 1:
		return spec, nil, fmt.Errorf("%s is a preset, which has its own sources: give %q its own %s",
			first, sources[1], option)
	case isPreset:
		return p.Spec(), &p, nil
	case isURL(first):
		for i, source := range sources {
			if !isURL(source) {
				return spec, nil, fmt.Errorf("source %q is not a URL, as the first one is: give each kind its own %s",
					source, option)
			}
			if slices.Contains(sources[:i], source) {
				return spec, nil, fmt.Errorf("%s is given twice: remove one", shown(source))
			}
		}
		spec.URLs = sources
	case isFile(first) && len(sources) > 1:
		return spec, nil, fmt.Errorf("a %s reads one file: give %q its own %[1]s", option, sources[1])
	case isFile(first):
		spec.File, err = first, checkPath(first)
	default:
		spec.Values, spec.ASNValues, err = parseValues(option, sources)
	}
	return spec, nil, err
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
