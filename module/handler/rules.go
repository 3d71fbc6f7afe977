package handler

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/policy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/lists"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Rule is one line of a site's policy. Rules are tried in the order written; the first whose conditions all
// hold decides.
type Rule struct {
	// What to do: `pass`, `limit` (let pass within a rate), `block` (an error page: that of `handle_errors`, else a plain
	// one with the request ID), `ban` (the same, and the client is banned) or `drop` (close the connection). A `drop` of
	// a request that a trusted proxy hands on is a `block`: the connection is the proxy's, which would take the site for
	// dead. Required.
	Action string `json:"action,omitempty"`

	// The rate of a `limit`, such as `10/1m`: that many requests may come at once, and as many again in the time
	// after the slash. What comes faster is answered with the status 429. Each subject (IPv4 address or IPv6 /64
	// network) has its own count. CORS preflights pass and are not counted. Instances that share a Redis, and sites with
	// the same limit, count together. Required for `limit`, and for nothing else.
	Limit string `json:"limit,omitempty"`

	// What a `limit` counts by instead of the subject: a text with placeholders, such as
	// `{http.request.header.X-Api-Key}`. Where it is empty for a request, the subject counts. Default: the
	// subject.
	Key string `json:"key,omitempty"`

	// Whom a `limit` counts together, instead of the subject: `network`, the IPv4 /24 or IPv6 /48 network; `asn`, the
	// autonomous system, or the network where the system is not known; or lengths of prefixes: `/56` for IPv6, `/24` for
	// IPv4, `/24,/56` for both, where the family that is not named counts by subject. Thousands of visitors may share a
	// network or a system, above all of mobile carriers: set the rate for all of them. It cannot stand beside `key`.
	// Default: the subject.
	By string `json:"by,omitempty"`

	// How long a `ban` lasts the first time; each time it is twice as long: see `bans` of the app. All sites that enforce
	// then block the client, on all instances that share a Redis, until it ends or an operator ends it. What decides
	// about its requests is then the ban, which they do not prolong. A site that observes bans nobody. Never banned are
	// addresses that are exempt, private or a trusted proxy's, verified bots, and whoever could have forged their
	// address. Default: 15m, or what `bans` of the app says.
	For caddy.Duration `json:"for,omitempty"`

	// The HTTP status of a `block`. Default: 403.
	StatusCode int `json:"status_code,omitempty"`

	// When the rule applies. All conditions must hold; of the values of one condition, any.
	Conditions
	RequestConditions
}

// Conditions are what a rule or a matcher asks of a client and the verdict on it. A condition that is left out always
// holds.
type Conditions struct {
	// The score: `85` for 85 and more, `40-84` for a range. It never holds for an address without a score.
	// Default: any, and none.
	Score string `json:"score,omitempty"`

	// Categories, of which the verdict must have one: abuse, scanner, bruteforce, web_attack, spam, bot, botnet_c2,
	// malware, ddos, compromised, hijacked, proxy, vpn, tor, hosting, crawler, benign_scanner, public_service, policy.
	// Default: any.
	Category []string `json:"category,omitempty"`

	// Natures, of which the address must have one: tor, vpn, proxy, hosting, mobile, relay. Default: any.
	Nature []string `json:"nature,omitempty"`

	// Countries, as ISO 3166-1 alpha-2 codes. Default: any.
	Country []string `json:"country,omitempty"`

	// Continents of the countries: AF (Africa), AN (Antarctica), AS (Asia), EU (Europe), NA (North and Central America),
	// OC (Oceania), SA (South America). Default: any.
	Continent []string `json:"continent,omitempty"`

	// Autonomous system numbers. Default: any.
	ASN []uint32 `json:"asn,omitempty"`

	// Lists of autonomous systems, which hold as if their numbers were in `asn`: the name of a feed or of another list of
	// `format asn`, or the path of a file with one number a line, which is watched. In a Caddyfile they stand among the
	// numbers of `asn`. Default: none.
	ASNList []string `json:"asn_list,omitempty"`

	// Ranges of addresses, of which the client's must lie in one: addresses, CIDR ranges or `private_ranges`. For longer
	// lists, write a feed, and its name as a `source`. Default: any.
	Network []string `json:"network,omitempty"`

	// Names of feeds or providers, of which one must speak for or against the address. `deny` and `ban` are the
	// operator's own lists. A feed speaks of the addresses that are on it, but a provider also of those that it finds
	// clean. With `block source abuseipdb` alone, nearly everybody is refused: add a `category` or a `score`.
	// Default: any.
	Source []string `json:"source,omitempty"`

	// Statuses: fresh, partial, stale, pending, unknown, exempt. Default: any.
	Status []string `json:"status,omitempty"`
}

// conditionWords are the words that begin a condition in a Caddyfile and in an expression.
const conditionWords = "score, category, nature, country, continent, asn, network, source, status"

var stringSlice = reflect.TypeFor[[]string]()

// ParseCondition adds one condition written as in a Caddyfile: a word, a space, and values separated by commas, such as
// "score 40-84" or "nature tor,vpn". A condition that was given before is an error.
func (c *Conditions) ParseCondition(text string) error {
	word, values, _ := strings.Cut(strings.TrimSpace(text), " ")
	return c.Add(word, strings.TrimSpace(values))
}

// Add adds the condition that word names, with values separated by commas.
func (c *Conditions) Add(word, values string) error {
	set := c.setterOf(word)
	switch {
	case set == nil:
		return fmt.Errorf("unknown condition %q: use one of %s", word, conditionWords)
	case values == "":
		return fmt.Errorf("condition %q needs a value", word)
	case slices.Contains(strings.Split(values, ","), ""):
		return fmt.Errorf("condition %s %q has an empty value: write a comma, and no space, between two values", word, values)
	}
	if err := set(values); err != nil {
		return err
	}
	_, err := policy.Config(*c).Compile(nil)
	return err
}

// setterOf returns what sets the condition that word names, or nil.
func (c *Conditions) setterOf(word string) func(values string) error {
	var list *[]string
	switch word {
	case "score":
		return c.setScore
	case "asn":
		return c.setASNs
	case "category":
		list = &c.Category
	case "nature":
		list = &c.Nature
	case "country":
		list = &c.Country
	case "continent":
		list = &c.Continent
	case "network":
		list = &c.Network
	case "source":
		list = &c.Source
	case "status":
		list = &c.Status
	default:
		return nil
	}
	return func(values string) error {
		if *list != nil {
			return fmt.Errorf("condition %q is given twice: separate its values by commas", word)
		}
		*list = strings.Split(values, ",")
		return nil
	}
}

func (c *Conditions) setScore(values string) error {
	if c.Score != "" {
		return fmt.Errorf("condition %q is given twice: use one range such as 40-84", "score")
	}
	c.Score = values
	return nil
}

// setASNs tells numbers, as 64500 or AS64500, from names of lists, which begin with a letter, and from
// files, which have a slash.
func (c *Conditions) setASNs(values string) error {
	if c.ASN != nil || c.ASNList != nil {
		return fmt.Errorf("condition %q is given twice: separate its values by commas", "asn")
	}
	for value := range strings.SplitSeq(values, ",") {
		asn, ok := address.ParseASN(value)
		switch isNumber := strings.Trim(strings.TrimPrefix(strings.ToUpper(value), "AS"), "0123456789") == ""; {
		case ok:
			c.ASN = append(c.ASN, asn)
		case isNumber:
			return fmt.Errorf("asn %q is not the number of an autonomous system, such as 64496", value)
		default:
			c.ASNList = append(c.ASNList, value)
		}
	}
	return nil
}

func (c *Conditions) isEmpty() bool {
	return c.Score == "" && len(c.Category)+len(c.Nature)+len(c.Country)+len(c.Continent)+len(c.ASN)+len(c.ASNList)+
		len(c.Network)+len(c.Source)+len(c.Status) == 0
}

// Names are what conditions can ask for by name, nil for anything.
type Names struct {
	Sources    []string
	ASNLists   []string
	Violations []string
}

// asnList returns nothing but an error if there is no list of the name. Files are not opened.
func (n *Names) asnList(name string) (policy.ASNSet, error) {
	return nil, lists.CheckASNList(name, n.ASNLists)
}

// compile checks the conditions. find returns the lists of a condition `asn`. Another source than those
// of sources, which may be nil for any, is a misspelling that would silently never match.
func (c *Conditions) compile(sources []string, find findASNs) (policy.Conditions, error) {
	for _, name := range c.Source {
		if sources != nil && !slices.Contains(sources, name) {
			return policy.Conditions{}, fmt.Errorf("unknown source %q: use one of %s", name, strings.Join(sources, ", "))
		}
	}
	return policy.Config(*c).Compile(find)
}

type findASNs func(name string) (policy.ASNSet, error)

// CheckRules reports what is wrong with the site's rules, as far as it can be judged without files.
func (h *Handler) CheckRules(names Names) error {
	if _, err := compilePolicy(h.Rules, h.Unknown, names.Sources, names.asnList); err != nil {
		return err
	}
	_, _, err := compileRules(h.Rules, modeWord(h.enforce))
	return err
}

// provisionRules prepares the site's rules, and what they need of the runtime.
func (h *Handler) provisionRules(rt *runtime.Runtime) (err error) {
	if h.policy, err = compilePolicy(h.Rules, h.Unknown, rt.SourceNames(), rt.Lists.ASNList); err != nil {
		return err
	}
	var limits bool
	if h.rules, limits, err = compileRules(h.Rules, modeWord(h.enforce)); err != nil {
		return err
	}
	for i := range h.Rules {
		compiled := &h.rules[i+1]
		name := fmt.Sprintf("rule %d (%s)", compiled.number, compiled.text)
		if err := compiled.request.resolve(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		rt.CheckRule(name, policy.Config(h.Rules[i].Conditions))
		if h.Rules[i].Action != reputation.Pass.String() {
			rt.CheckRefusal(name, policy.Config(h.Rules[i].Conditions))
		}
		if compiled.limit.by.asn {
			rt.CheckLimitBySystem(name)
		}
	}
	if limits {
		if err := rt.UseLimits(); err != nil {
			return err
		}
	}
	if h.enforce && h.has(reputation.Ban) {
		return rt.Conduct.UseBans()
	}
	return nil
}

// compilePolicy turns a site's rules into its policy.
func compilePolicy(rules []Rule, unknown string, sources []string, find findASNs) (*policy.Policy, error) {
	compiled := make([]policy.Rule, len(rules))
	for i := range rules {
		action, err := reputation.ParseAction(rules[i].Action)
		if err != nil {
			return nil, fmt.Errorf("rule %d: %w", i+1, err)
		}
		conditions, err := rules[i].compile(sources, find)
		if err != nil {
			return nil, fmt.Errorf("rule %d (%s): %w", i+1, action, err)
		}
		asks := rules[i].asksRequest()
		if rules[i].isEmpty() && !asks && action != reputation.Pass && action != reputation.Limit {
			return nil, fmt.Errorf("rule %d (%s) has no condition and would refuse everybody: give it one of %s", i+1, action, ruleWords)
		}
		compiled[i] = policy.Rule{
			Action: action, StatusCode: rules[i].StatusCode, Ban: time.Duration(rules[i].For), Conditions: conditions, More: asks,
			BySystem: rules[i].By == bySystemWord, Varies: strings.Contains(rules[i].Key, placeholders),
		}
	}
	otherwise := reputation.Pass
	switch unknown {
	case "", "pass":
	case "block":
		otherwise = reputation.Block
	default:
		return nil, fmt.Errorf("unknown addresses cannot be treated as %q: use pass or block", unknown)
	}
	return policy.New(compiled, otherwise)
}
