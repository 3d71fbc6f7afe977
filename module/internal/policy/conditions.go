package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Config holds conditions as operators write them; package module documents each. All conditions
// that are set must hold. A condition with several values holds if one of them does. Without any
// condition, the rule always matches.
type Config struct {
	Score     string
	Category  []string
	Nature    []string
	Country   []string
	Continent []string
	ASN       []uint32
	ASNList   []string // holds as if its numbers were in ASN
	Network   []string
	Source    []string
	Status    []string
}

// ASNSet is a list of autonomous systems, which may change at any time.
type ASNSet interface {
	// Has reports whether the list has the number. It must neither lock nor allocate.
	Has(asn uint32) bool
}

// Conditions are compiled conditions. The zero value always matches. A condition that is not set is
// the zero value of its field.
type Conditions struct {
	scored     bool
	min, max   uint8
	categories reputation.Categories
	nature     reputation.Nature
	countries  []string // sorted
	continents uint8    // a bit for each continent
	asns       []uint32 // sorted
	asnLists   []ASNSet
	networks   networks
	sources    []string
	own        bool  // sources has SourceOwn, which stands for all violations
	statuses   uint8 // a bit for each status
}

// Compile checks the conditions and converts them for Match. find returns a list of ASNList. If it is
// nil, the lists are only checked, and hold for nobody. Errors name the condition, the value and the
// cure.
func (c Config) Compile(find func(name string) (ASNSet, error)) (Conditions, error) {
	var out Conditions
	for _, step := range []func(*Conditions) error{
		c.score, c.categories, c.natures, c.countries, c.continents, c.asns, c.network, c.sources, c.statuses,
	} {
		if err := step(&out); err != nil {
			return Conditions{}, err
		}
	}
	for i, name := range c.ASNList {
		if slices.Contains(c.ASNList[:i], name) {
			return Conditions{}, duplicate("asn", name)
		}
		var list ASNSet = noASNs{}
		if find != nil {
			var err error
			if list, err = find(name); err != nil {
				return Conditions{}, fmt.Errorf("asn %q: %w", name, err)
			}
		}
		out.asnLists = append(out.asnLists, list)
	}
	return out, nil
}

// noASNs is the list without entries.
type noASNs struct{}

func (noASNs) Has(uint32) bool { return false }

func (c Config) score(out *Conditions) (err error) {
	if c.Score != "" {
		out.scored = true
		out.min, out.max, err = parseScore(c.Score)
	}
	return err
}

// parseScore reads "85", which means 85 or more, or "40-84".
func parseScore(s string) (low, high uint8, err error) {
	first, second, isRange := strings.Cut(s, "-")
	if !isRange {
		second = "100"
	}
	for _, number := range []struct {
		text string
		into *uint8
	}{{first, &low}, {second, &high}} {
		n, err := strconv.ParseUint(number.text, 10, 8)
		if err != nil || n > 100 {
			return 0, 0, fmt.Errorf("score %q: write whole numbers from 0 to 100, as in 85 (or more) or 40-84", s)
		}
		*number.into = uint8(n)
	}
	if low > high {
		return 0, 0, fmt.Errorf("score %q: the first number is the larger one, write %d-%d", s, high, low)
	}
	return low, high, nil
}

func (c Config) categories(out *Conditions) error {
	for _, word := range c.Category {
		category, err := reputation.ParseCategory(word)
		if err != nil {
			return err
		}
		if out.categories.Has(category) {
			return duplicate("category", word)
		}
		out.categories |= reputation.CategoriesOf(category)
	}
	return nil
}

func (c Config) natures(out *Conditions) error {
	for _, word := range c.Nature {
		kind, err := reputation.ParseKind(word)
		if err != nil {
			return err
		}
		if is, _ := out.nature.Is(kind); is {
			return duplicate("nature", word)
		}
		out.nature = out.nature.With(kind, true)
	}
	return nil
}

func (c Config) countries(out *Conditions) error {
	for _, word := range c.Country {
		code := strings.ToUpper(word)
		switch {
		case len(code) != 2 || strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "":
			return fmt.Errorf("country %q: write the two letters of ISO 3166-1, such as DE", word)
		case code == "UK":
			return fmt.Errorf("country %q: the code of the United Kingdom is GB", word)
		case slices.Contains(out.countries, code):
			return duplicate("country", word)
		}
		out.countries = append(out.countries, code)
	}
	slices.Sort(out.countries)
	return nil
}

func (c Config) asns(out *Conditions) error {
	for _, n := range c.ASN {
		switch {
		case n == 0: // RFC 7607
			return errors.New("asn 0: no address belongs to it, write a number from 1 to 4294967295")
		case slices.Contains(out.asns, n):
			return duplicate("asn", strconv.FormatUint(uint64(n), 10))
		}
		out.asns = append(out.asns, n)
	}
	slices.Sort(out.asns)
	return nil
}

func (c Config) sources(out *Conditions) error {
	for _, name := range c.Source {
		switch {
		case name == "":
			return errors.New(`source "": write the name of a list, feed or provider`)
		case slices.Contains(out.sources, name):
			return duplicate("source", name)
		}
		out.sources = append(out.sources, name)
		out.own = out.own || name == reputation.SourceOwn
	}
	return nil
}

func (c Config) statuses(out *Conditions) error {
	for _, word := range c.Status {
		status, err := reputation.ParseStatus(word)
		if err != nil {
			return err
		}
		if out.statuses&(1<<status) != 0 {
			return duplicate("status", word)
		}
		out.statuses |= 1 << status
	}
	return nil
}

func duplicate(condition, value string) error {
	return fmt.Errorf("%s %q is written twice: remove one", condition, value)
}

// always reports whether the conditions match every verdict.
func (c *Conditions) always() bool {
	return !c.scored && c.categories == 0 && !c.nature.Some() && c.statuses == 0 &&
		c.continents == 0 && len(c.countries)+len(c.asns)+len(c.asnLists)+len(c.networks)+len(c.sources) == 0
}

// Match reports whether all conditions hold for a client with a verdict. The address must be unmapped. It may
// be invalid: then it is in no network.
func (c *Conditions) Match(v *reputation.Verdict, client netip.Addr) bool {
	return (!c.scored || v.Scored && c.min <= v.Score && v.Score <= c.max) &&
		(c.categories == 0 || c.categories&v.Categories != 0) &&
		(!c.nature.Some() || c.nature.Any(v.Facts.Nature)) &&
		(c.statuses == 0 || c.statuses&(1<<v.Status) != 0) &&
		(len(c.countries) == 0 || containsSorted(c.countries, v.Facts.Country)) &&
		(c.continents == 0 || c.onContinent(v.Facts.Country)) &&
		(len(c.asns)+len(c.asnLists) == 0 || c.matchASN(v.Facts.ASN)) &&
		(len(c.networks) == 0 || c.networks.contains(client)) &&
		(len(c.sources) == 0 || c.matchSource(v.Reasons))
}

// OnlySources reports whether sources are the only condition.
func (c Config) OnlySources() bool {
	return len(c.Source) > 0 && c.Score == "" && len(c.Category)+len(c.Nature)+len(c.Country)+len(c.Continent)+
		len(c.ASN)+len(c.ASNList)+len(c.Network)+len(c.Status) == 0
}

// onlyUnwanted reports whether the conditions name no source but those by which the operator excludes an address.
func (c *Conditions) onlyUnwanted() bool {
	return len(c.sources) > 0 && !slices.ContainsFunc(c.sources, func(name string) bool {
		return name != reputation.SourceBan && name != reputation.SourceDeny
	})
}

func (c *Conditions) matchSource(reasons []reputation.Reason) bool {
	for i := range reasons {
		if reasons[i].Network {
			continue // the source has said nothing of the address
		}
		if c.names(reasons[i].Source) {
			return true
		}
	}
	return false
}

// names reports whether the condition `source` names a source.
func (c *Conditions) names(source string) bool {
	return slices.Contains(c.sources, source) || c.own && isOwn(source)
}

// isOwn reports whether a source is what this site has seen of the client, such as own.login_failed.
func isOwn(source string) bool { return strings.HasPrefix(source, reputation.SourceOwn+".") }

func (c *Conditions) matchASN(asn uint32) bool {
	if asn == 0 {
		return false
	}
	for _, list := range c.asnLists {
		if list.Has(asn) {
			return true
		}
	}
	return containsSorted(c.asns, asn)
}

func containsSorted[T string | uint32](sorted []T, v T) bool {
	_, found := slices.BinarySearch(sorted, v)
	return found
}
