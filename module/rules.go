package module

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/policy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// conditionWords are the words that begin a condition in a Caddyfile and in an expression.
const conditionWords = "score, category, nature, country, asn, source, status"

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
	_, err := policy.Config(*c).Compile()
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

func (c *Conditions) setASNs(values string) error {
	if c.ASN != nil {
		return fmt.Errorf("condition %q is given twice: separate its values by commas", "asn")
	}
	for value := range strings.SplitSeq(values, ",") {
		digits := strings.TrimPrefix(strings.ToUpper(value), "AS")
		n, err := strconv.ParseUint(digits, 10, 32)
		if err != nil || n == 0 {
			return fmt.Errorf("asn %q is not the number of an autonomous system, such as 64496", value)
		}
		c.ASN = append(c.ASN, uint32(n))
	}
	return nil
}

func (c *Conditions) isEmpty() bool {
	return c.Score == "" && len(c.Category)+len(c.Nature)+len(c.Country)+len(c.ASN)+len(c.Source)+len(c.Status) == 0
}

// compile checks the conditions. sources are the names that a `source` condition may ask for: any other is a misspelling
// that would silently never match.
func (c *Conditions) compile(sources []string) (policy.Conditions, error) {
	for _, name := range c.Source {
		if !slices.Contains(sources, name) {
			return policy.Conditions{}, fmt.Errorf("unknown source %q: use one of %s", name, strings.Join(sources, ", "))
		}
	}
	return policy.Config(*c).Compile()
}

// compilePolicy turns a site's rules into its policy.
func compilePolicy(rules []Rule, unknown string, sources []string) (*policy.Policy, error) {
	compiled := make([]policy.Rule, len(rules))
	for i := range rules {
		action, err := parseRuleAction(rules[i].Action)
		if err != nil {
			return nil, fmt.Errorf("rule %d: %w", i+1, err)
		}
		conditions, err := rules[i].compile(sources)
		if err != nil {
			return nil, fmt.Errorf("rule %d (%s): %w", i+1, action, err)
		}
		if rules[i].isEmpty() && action != reputation.Pass && action != reputation.Limit {
			return nil, fmt.Errorf("rule %d (%s) has no condition and would refuse everybody: give it one of %s", i+1, action, conditionWords)
		}
		compiled[i] = policy.Rule{Action: action, StatusCode: rules[i].StatusCode, Conditions: conditions}
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

// parseRuleAction returns the action that a rule names.
func parseRuleAction(word string) (reputation.Action, error) {
	action, err := reputation.ParseAction(word)
	if err != nil {
		return 0, err
	}
	return action, nil
}
