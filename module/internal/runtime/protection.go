package runtime

import (
	"log/slog"
	"slices"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup/listing"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/policy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Use says that a site uses the runtime. Handlers, matchers and look-up APIs call it while they are provisioned.
func (rt *Runtime) Use() { rt.used = true }

// warnUnprotected logs which sites are not protected.
func (rt *Runtime) warnUnprotected() {
	switch s := rt.sites; {
	case !rt.used:
		rt.Logger.Warn("no site has `ip_reputation` in it, so nobody is judged and no list or ban has an effect",
			slog.String("cure", "write `ip_reputation` into each site block that it is to protect"))
	case s != nil && s.Protected < s.All:
		rt.Logger.Info("some sites have no `ip_reputation` in them",
			slog.Int("count", s.Protected), slog.Int("of", s.All), slog.Any("without", s.Without))
	}
}

// CheckRule warns of a rule or a matcher that can never hold. It is called while sites are provisioned.
func (rt *Runtime) CheckRule(rule string, conditions policy.Config) {
	condition, why := conditions.NeverHolds(rt.reach())
	if condition == "" {
		return
	}
	_, neither := conditions.NeverHolds(rt.reachOf(true))
	if neither == "" && !rt.allKnown {
		rt.later = append(rt.later, laterRule{rule, conditions}) // a site after this one may count violations
		return
	}
	cure := "change the condition, or configure a source that says so: docs/rules.md has what each says, " +
		"a database (`mmdb`) knows countries, networks and natures, " +
		"and a feed of yours says what its `category` and `nature` name"
	if strings.HasPrefix(condition, "score ") {
		cure = "write a lower score, or configure more sources: docs/score.md has what each adds; " +
			"where a list of yours is proof, write `source <its name>` in place of the score"
	}
	if neither == "" {
		cure += "; or let a site count violations, such as by `violations default`"
	}
	why = condition + ": " + why
	if rt.neverHolds(health.Rule{Rule: rule, Why: why, Cure: cure}) {
		rt.Logger.Warn("a rule can never hold", slog.String("rule", rule), slog.String("why", why), slog.String("cure", cure))
	}
}

// neverHolds adds what can never hold to what health shows, and reports whether it is new: sites that import one
// snippet have the same rules.
func (rt *Runtime) neverHolds(never health.Rule) (added bool) {
	if slices.Contains(rt.rules, never) {
		return false
	}
	rt.rules = append(rt.rules, never)
	return true
}

// CheckRefusal warns of a rule that slows or refuses, and asks for nothing but a service that also speaks of clean
// addresses. It is called while sites are provisioned.
func (rt *Runtime) CheckRefusal(rule string, conditions policy.Config) {
	if rt.Engine == nil || !conditions.OnlySources() {
		return
	}
	for i := range rt.Engine.Providers {
		p := &rt.Engine.Providers[i].Source
		if p.GoodWeight > 0 && slices.Contains(conditions.Source, p.Name) && !slices.Contains(rt.forClean, rule) {
			rt.forClean = append(rt.forClean, rule) // sites that import one snippet have the same rules
			rt.Logger.Warn("a rule holds for clients that a service finds clean",
				slog.String("rule", rule), slog.String("source", p.Name),
				slog.String("cure", "add what it must say, such as `category abuse`, or a `score`"))
		}
	}
}

// CheckLimitBySystem warns of a limit that counts by autonomous system, if no source says to which one an address belongs.
// It is called while sites are provisioned.
func (rt *Runtime) CheckLimitBySystem(rule string) {
	if !rt.knowsSystems() {
		rt.Logger.Warn("a limit by asn counts by network: no source that is configured knows autonomous systems",
			slog.String("rule", rule),
			slog.String("cure", "configure a database, such as `mmdb /var/lib/GeoIP/GeoLite2-ASN.mmdb`, or write `by network`"))
	}
}

func (rt *Runtime) knowsSystems() bool {
	r := rt.reach()
	return r.Anything || r.Says.ASN
}

// checkASNLists warns of lists of autonomous systems that hold for nobody, since no source says to which one an address
// belongs.
func (rt *Runtime) checkASNLists() {
	if rt.knowsSystems() {
		return
	}
	const (
		why  = "no source that is configured knows the network of an address"
		cure = "configure a database, such as `mmdb /var/lib/GeoIP/GeoLite2-ASN.mmdb`"
	)
	for _, name := range rt.Lists.ASNNames() {
		what := "what the list " + name + " has of autonomous systems"
		if rt.neverHolds(health.Rule{Rule: what, Why: why, Cure: cure}) {
			rt.Logger.Warn("a list of autonomous systems can never hold",
				slog.String("rule", what), slog.String("why", why), slog.String("cure", cure))
		}
	}
}

// laterRule is a rule that can hold only if a site counts violations.
type laterRule struct {
	rule       string
	conditions policy.Config
}

// checkLaterRules checks the rules that depend on sites which were provisioned after theirs.
func (rt *Runtime) checkLaterRules() {
	rt.allKnown = true
	for _, l := range rt.later {
		rt.CheckRule(l.rule, l.conditions)
	}
	rt.later = nil
}

// reach returns what a verdict can hold.
func (rt *Runtime) reach() policy.Reach { return rt.reachOf(rt.Conduct.Own() != nil) }

// reachOf returns what a verdict can hold where a site counts violations, or none does.
func (rt *Runtime) reachOf(violations bool) policy.Reach {
	r := policy.Reach{Sources: []string{reputation.SourceBan}}
	var most []score.Evidence
	for i := range rt.Lists.Meanings {
		list := &rt.Lists.Meanings[i]
		switch list.Kind {
		case listing.Deny:
			r.Sources = append(r.Sources, reputation.SourceDeny)
		case listing.Feed:
			r.Says = r.Says.Union(reputation.Capabilities{Categories: list.Categories, Natures: kindsOf(list.Nature)})
			if list.Part {
				continue
			}
			r.Sources = append(r.Sources, rt.Lists.Names[i])
			most = append(most, score.Evidence{Source: &list.Source, Severity: 1, Confidence: list.Confidence, Listed: true})
		}
	}
	trusted, fake := rt.Bots.evidence()
	if trusted {
		r.Sources = append(r.Sources, reputation.SourceVerifiedBots)
	}
	if fake {
		source := score.OfFakeBot()
		r.Sources = append(r.Sources, reputation.SourceFakeBot)
		r.Says = r.Says.Union(reputation.Capabilities{Categories: reputation.CategoriesOf(reputation.Bot)})
		most = append(most, score.Evidence{Source: &source, Severity: 1, Confidence: 1})
	}
	if rt.Engine != nil {
		for i := range rt.Engine.Providers {
			p := &rt.Engine.Providers[i]
			says := p.Provider.Profile().Capabilities
			r.Providers, r.Anything = true, r.Anything || !says.Declared()
			r.Sources = append(r.Sources, p.Source.Name)
			r.Says = r.Says.Union(says)
			most = append(most, score.Evidence{Source: &p.Source, Severity: 1, Confidence: 1})
		}
	}
	if violations {
		most = append(most, rt.Conduct.Reach(&r)...)
	}
	databases, known := rt.Databases.Says()
	r.Says, r.Anything = r.Says.Union(databases), r.Anything || !known
	percent, _ := score.Judge(most, nil)
	r.Score, r.ScoreKnown = score.Round(percent), len(most) > 0
	return r
}

// kindsOf returns the kinds that are yes.
func kindsOf(n reputation.Nature) (kinds reputation.Kinds) {
	yes, _ := n.Bits()
	return reputation.Kinds(yes)
}
