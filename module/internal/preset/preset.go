// Package preset is the table of well-known lists: where each one is, how it is written, and what
// it means that an address is on it. A row here is a row of docs/sources.md.
package preset

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/listformat"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Preset is a well-known list.
type Preset struct {
	// Name is what operators write, and the name of the source in reasons.
	Name string

	// URLs are the parts of the list. Without one, its address changes and the operator names it.
	URLs []string

	// Format is how the list is written. The zero value is found by looking, for each part.
	Format listformat.Format

	// ArchiveParts is set if the files of a zip archive are parts of the list.
	ArchiveParts bool

	// ASNs is set if the entries are autonomous systems.
	ASNs bool

	// Header is sent with each request. `{key}` stands for the operator's key: see NeedsKey.
	Header map[string]string

	// Says is what an entry means, in a few words.
	Says string

	// Categories are what the list accuses its addresses of. A list without any only tells what
	// they are, and has no Weight.
	Categories reputation.Categories

	// Nature is the kind of the addresses, such as a VPN.
	Nature reputation.Nature

	// Confidence is how much independent evidence an entry has: 0 to 1. It is at most .95 for a
	// curated list or a publisher's own ranges, .9 for addresses that were seen in action, and .6 for
	// any other single list.
	Confidence float64

	// Weight is the points of an entry with confidence 1. Group is shared by lists that share
	// observations. TestScoresThatTheDefaultsMustGive in score checks which scores they lead to.
	Weight float64
	Group  string

	// Refresh is how often the list is fetched, and MinRefresh the most often that its publisher
	// tolerates.
	Refresh, MinRefresh time.Duration

	// MaxAge is the age, by the publisher's own date, from which the list is old.
	MaxAge time.Duration

	// MayBeEmpty is set if an empty list is true at times.
	MayBeEmpty bool

	// IPv6 is set if the list has IPv6 addresses.
	IPv6 bool

	// Terms are the publisher's conditions of use, in a sentence. Restricted marks those that
	// somebody must look at before a company uses the list.
	Terms      string
	Restricted bool

	// Sure is how well the URL and the form of the list are known.
	Sure Certainty

	// Exempt is set if it makes sense to exempt the addresses.
	Exempt bool
}

// Certainty is how well something about a publisher is known.
type Certainty string

// The certainties.
const (
	Confirmed   Certainty = "confirmed"   // by the publisher's documentation, or by copies of its answers
	Likely      Certainty = "likely"      // by several clients that agree
	Unconfirmed Certainty = "unconfirmed" // by one client
)

// Groups of lists that share observations.
const (
	lists  = "lists"  // public lists copy from each other
	nature = "nature" // kinds of access, which are no abuse by themselves
)

const (
	day = 24 * time.Hour

	// Steady is the MaxAge of lists that rightly stay as they are for years.
	Steady = 3650 * day
)

// presets are all rows by name. They are never changed.
var presets = func() map[string]Preset {
	all := make(map[string]Preset)
	for _, p := range slices.Concat(attackers, blocklistDE, access, clouds, networks) {
		if _, twice := all[p.Name]; twice {
			panic("two presets are named " + p.Name)
		}
		all[p.Name] = p
	}
	return all
}()

// Find returns the preset with the given name. The caller may change what it gets.
func Find(name string) (Preset, bool) {
	p, ok := presets[name]
	p.URLs = slices.Clone(p.URLs)
	p.Format.Members = slices.Clone(p.Format.Members)
	p.Header = maps.Clone(p.Header)
	return p, ok
}

// Names returns the names of all presets, sorted.
func Names() []string { return slices.Sorted(maps.Keys(presets)) }

// Near returns the presets that a misspelt name may have meant, the nearest first: those whose names
// differ in few letters, or begin with it. They are three at most.
func Near(word string) []string {
	word = strings.ToLower(word)
	var near []string
	for _, name := range Names() {
		begins := len(word) >= 3 && strings.HasPrefix(name, word)
		if begins || distance(word, name) <= len(name)/4 {
			near = append(near, name)
		}
	}
	slices.SortStableFunc(near, func(a, b string) int { return distance(word, a) - distance(word, b) })
	return near[:min(len(near), 3)]
}

// distance is the number of letters that must be added, removed or replaced. Long words are far from
// all others.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// Spec returns where the list is and how it is written, without secrets.
func (p Preset) Spec() feed.Spec {
	spec := feed.Spec{
		Name: p.Name, URLs: p.URLs, Format: p.Format, ArchiveParts: p.ArchiveParts, ASNs: p.ASNs,
		Refresh: p.Refresh, MinRefresh: p.MinRefresh, MaxAge: p.MaxAge,
		AllowEmpty: p.MayBeEmpty, Terms: p.Terms,
	}
	if p.MayBeEmpty {
		spec.MaxShrink = new(1.0)
	}
	for name, value := range p.Header {
		if spec.Header == nil {
			spec.Header = make(http.Header)
		}
		spec.Header.Set(name, value)
	}
	return spec
}

// NeedsKey reports whether the publisher gives the list to those with a key only.
func (p Preset) NeedsKey() bool {
	for _, value := range p.Header {
		if strings.Contains(value, "{key}") {
			return true
		}
	}
	return false
}

// Accuses reports whether the list accuses its addresses of abuse. Others tell what an address is: a
// cloud's, a VPN's, a CDN's.
func (p Preset) Accuses() bool { return p.Categories != 0 && !p.Nature.Some() }

// text is an address or a range in the first column. In CSV without a header line, too.
var text = listformat.Format{Encoding: listformat.Text}

// json is a document in which these members hold the addresses.
func json(members ...string) listformat.Format {
	return listformat.Format{Encoding: listformat.JSON, Members: members}
}

// of and is keep the rows short.
func of(c ...reputation.Category) reputation.Categories { return reputation.CategoriesOf(c...) }
func is(k reputation.Kind) reputation.Nature            { return reputation.Nature{}.With(k, true) }
