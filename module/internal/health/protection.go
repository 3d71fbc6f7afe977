package health

// Sites are the sites of the HTTP app.
type Sites struct {
	All       int `json:"all"`
	Protected int `json:"protected"` // those with the handler ip_reputation in them

	// Without are the names of those without it, of which there are at most MaxSites.
	Without []string `json:"without,omitempty"`

	// Redirects is whether Caddy redirects requests from HTTP to HTTPS by itself, ahead of the handler.
	Redirects bool `json:"redirects,omitempty"`
}

// MaxSites bounds Sites.Without.
const MaxSites = 20

// Rule is a rule or a matcher that can never hold.
type Rule struct {
	Rule string `json:"rule"` // which one: its number and action, or the word for a matcher
	Why  string `json:"why"`
	Cure string `json:"cure"`
}

// unprotected are the reasons for which visitors are not protected though each part works. It is the closed set of
// the metric protection_off.
var unprotected = []struct {
	reason string
	holds  func(*State) bool
}{
	{"no_source", (*State).noSource},
	{"no_site", func(s *State) bool { return s.Unused }},
	{"no_address", func(s *State) bool { return s.Clients.Missing }},
	{"one_address", func(s *State) bool { return s.Clients.Proxy || s.Clients.OneAddress }},
	{"exempt", func(s *State) bool { return s.Clients.Exempt }},
	{"rule", func(s *State) bool { return len(s.Rules) > 0 }},
	{"ban_burst", func(s *State) bool { return s.Bans.Burst != nil }},
}

// ProtectionOff calls each with every reason for which protection can be off, and whether it is.
func (s *State) ProtectionOff(each func(reason string, off bool)) {
	for _, u := range unprotected {
		each(u.reason, u.holds(s))
	}
}

// noSource reports whether there is nothing to judge by: what sites see of clients is something, too.
func (s *State) noSource() bool { return len(s.Providers)+len(s.Lists) == 0 && s.Violations == nil }

// sources checks that there is anything to judge by.
func (r *Report) sources(s State) {
	if s.noSource() {
		r.check("configuration:sources", Check{Type: "component", Value: 0, Unit: "sources"}, warning(NothingConfigured, "",
			"no list and no provider is configured, so nothing is known of anybody but whom you ban: "+
				"name feeds and providers in the global ip_reputation options"))
	}
}

// sites checks that anybody is judged.
func (r *Report) sites(s State) {
	if s.Unused {
		r.check("configuration:sites", Check{Type: "component", Value: 0, Unit: "sites"}, warning(NoSite, "",
			"no site has `ip_reputation` in it, so nobody is judged and no list or ban has an effect: "+
				"write `ip_reputation` into each site block that it is to protect"))
	}
}

// rules checks that the rules can hold.
func (r *Report) rules(s State) {
	for _, rule := range s.Rules {
		r.check("configuration:rules", Check{Type: "component", Value: "never"}, warning(RuleNeverHolds, "",
			"a rule can never hold, since no source says what it asks for: `caddy ip-reputation status` names it").
			detail("%s can never hold: %s: %s", rule.Rule, rule.Why, rule.Cure))
	}
}
