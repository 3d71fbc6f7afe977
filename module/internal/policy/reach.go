package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Reach is what a verdict can hold, given the sources that are configured.
type Reach struct {
	// Anything is set if a source does not state what its reports contain.
	Anything bool

	// Says is what the reports of all sources can contain.
	Says reputation.Capabilities

	// Sources are the names of those that can be a reason.
	Sources []string

	// Providers is whether any is asked.
	Providers bool

	// Score is the highest that all sources together can give. It is not known without a source. Addresses that the
	// operator denies or bans have 100.
	Score      uint8
	ScoreKnown bool
}

// NeverHolds returns the first condition that no verdict within reach meets, and why. It returns nothing if all can
// hold, each by itself. A condition with several values is returned if none of them is within reach.
func (c Config) NeverHolds(r Reach) (condition, why string) {
	for _, check := range []func(Config, Reach) (string, []string, string){
		Config.scoreBeyond, Config.categoryBeyond, Config.natureBeyond, Config.countryBeyond,
		Config.continentBeyond, Config.asnBeyond, Config.sourceBeyond, Config.statusBeyond,
	} {
		if word, values, why := check(c, r); why != "" {
			return word + " " + strings.Join(values, ","), why
		}
	}
	return "", ""
}

func (c Config) scoreBeyond(r Reach) (string, []string, string) {
	low, high, err := parseScore(c.Score)
	switch {
	case c.Score == "" || err != nil || !r.ScoreKnown || r.Score >= low:
		return "", nil, ""
	case high < 100:
		return "score", []string{c.Score}, fmt.Sprintf("all sources together give a score of %d at most", r.Score)
	}
	return "score", []string{c.Score},
		fmt.Sprintf("all sources together give a score of %d at most, unless you deny or ban the address", r.Score)
}

func (c Config) categoryBeyond(r Reach) (string, []string, string) {
	return beyond("category", c.Category, r.Anything, func(word string) bool {
		category, err := reputation.ParseCategory(word)
		return err != nil || r.Says.Categories.Has(category)
	})
}

func (c Config) natureBeyond(r Reach) (string, []string, string) {
	return beyond("nature", c.Nature, r.Anything, func(word string) bool {
		kind, err := reputation.ParseKind(word)
		return err != nil || r.Says.Natures.Has(kind)
	})
}

func (c Config) countryBeyond(r Reach) (string, []string, string) {
	return beyond("country", c.Country, r.Anything, func(string) bool { return r.Says.Country })
}

func (c Config) continentBeyond(r Reach) (string, []string, string) {
	return beyond("continent", c.Continent, r.Anything, func(string) bool { return r.Says.Country })
}

// ASNValues returns the numbers and the lists of the condition asn, as operators write them.
func (c Config) ASNValues() []string {
	var values []string
	for _, n := range c.ASN {
		values = append(values, strconv.FormatUint(uint64(n), 10))
	}
	return append(values, c.ASNList...)
}

func (c Config) asnBeyond(r Reach) (string, []string, string) {
	return beyond("asn", c.ASNValues(), r.Anything, func(string) bool { return r.Says.ASN })
}

func (c Config) sourceBeyond(r Reach) (string, []string, string) {
	return beyond("source", c.Source, false, func(name string) bool {
		return slices.Contains(r.Sources, name) || name == reputation.SourceOwn && slices.ContainsFunc(r.Sources, isOwn)
	})
}

// statusBeyond knows the statuses that only an answer of a provider can have, or the lack of it.
func (c Config) statusBeyond(r Reach) (string, []string, string) {
	return beyond("status", c.Status, r.Providers, func(word string) bool {
		return word != reputation.Pending.String() && word != reputation.Stale.String()
	})
}

// beyond returns a condition if none of its values is within reach.
func beyond(word string, values []string, all bool, within func(string) bool) (condition string, of []string, why string) {
	if all || len(values) == 0 || slices.ContainsFunc(values, within) {
		return "", nil, ""
	}
	return word, values, "no source that is configured ever says so"
}
