// Package policy decides what a site does with a request, based on the verdict on its client.
package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Rule is an action and its conditions.
type Rule struct {
	// Number is the rule's position in the policy, from 1. New sets it.
	Number int

	Action reputation.Action

	// StatusCode is the HTTP status of a blocked request, 400 to 599. Zero means 403. Actions other
	// than Block have none.
	StatusCode int

	// Ban is how long a Ban lasts, zero for the default.
	Ban time.Duration

	// BySystem is set if the action counts by the autonomous system of the client, and Varies if it depends on more of
	// the verdict than Conditions. Only Open needs them.
	BySystem, Varies bool

	Conditions Conditions

	// More is set if the rule has further conditions, which the caller of Decide tests.
	More bool
}

// Policy holds the rules of one site. The zero value passes all requests except those of denied and
// banned addresses.
type Policy struct {
	rules   []Rule
	unknown reputation.Action
}

// New returns a policy with the given rules, which are tried in this order. The action unknown,
// Pass or Block, applies to addresses of status Unknown when no rule decides. Errors name the rule
// by its number.
func New(rules []Rule, unknown reputation.Action) (*Policy, error) {
	if unknown != reputation.Pass && unknown != reputation.Block {
		return nil, fmt.Errorf("action %q for unknown addresses: use pass or block", unknown)
	}
	p := &Policy{rules: make([]Rule, len(rules)), unknown: unknown}
	for i, r := range rules {
		if err := r.check(); err != nil {
			return nil, fmt.Errorf("rule %d (%s): %w", i+1, r.Action, err)
		}
		if i > 0 && p.rules[i-1].always() {
			return nil, fmt.Errorf("rule %d (%s) is never tried, because rule %d has no conditions: "+
				"give that one conditions, or move it to the end", i+1, r.Action, i)
		}
		r.Number = i + 1
		p.rules[i] = r
	}
	return p, nil
}

// always reports whether the rule holds for every request.
func (r *Rule) always() bool { return !r.More && r.Conditions.always() }

func (r *Rule) check() error {
	switch {
	case r.Action >= reputation.NumActions:
		return errors.New("unknown action: use pass, limit, block, ban or drop")
	case r.StatusCode != 0 && r.Action != reputation.Block:
		return fmt.Errorf("status code %d: only block answers with one, remove it", r.StatusCode)
	case r.StatusCode != 0 && (r.StatusCode < 400 || r.StatusCode > 599):
		return fmt.Errorf("status code %d: use one from 400 to 599", r.StatusCode)
	case r.Action == reputation.Ban && r.Conditions.onlyUnwanted():
		return errors.New("condition source ban or deny never decides, because such addresses are kept out already: " +
			"use block or drop, or remove the rule")
	case r.Conditions.statuses == 1<<reputation.Exempt:
		return errors.New("condition status exempt never decides, because exempt addresses always pass: " +
			"remove the rule")
	case r.Conditions.onlyReserved() && len(r.Conditions.sources) == 0:
		return errors.New("condition network never decides, because private and reserved addresses always pass " +
			"unless you deny or ban them: remove the rule, or add `source deny,ban`")
	}
	return nil
}

// Decide returns the action for a request from a client with the given verdict, and the rule that
// decided. It tries the rules behind number after: 0 for all of them. If the rule has More conditions and
// one of them does not hold, call Decide again with the rule's number.
//
// Exempt addresses pass. For all others, the first rule whose conditions all hold decides. If none
// does, denied and banned addresses are blocked. A rule may thus be stricter or milder than that,
// such as a drop for source ban. A rule with Ban is skipped for denied and banned addresses, so that
// no ban is prolonged; so is one with Limit, unless it names a source. All other addresses pass,
// except unknown ones, which get the action that was passed to New.
//
// Limit means that the request passes if it is within the rule's rate. The rule is nil if none
// decided. It must not be modified.
func (p *Policy) Decide(v *reputation.Verdict, client netip.Addr, after int) (reputation.Action, *Rule) {
	if v.Status == reputation.Exempt {
		return reputation.Pass, nil
	}
	for i := after; i < len(p.rules); i++ {
		r := &p.rules[i]
		if !r.Conditions.Match(v, client) {
			continue
		}
		if r.yields() && Unwanted(v) != "" {
			continue
		}
		return r.Action, r
	}
	if Unwanted(v) != "" {
		return reputation.Block, nil
	}
	if v.Status == reputation.Unknown {
		return p.unknown, nil
	}
	return reputation.Pass, nil
}

// yields reports whether the rule is skipped for addresses that the operator excludes.
func (r *Rule) yields() bool {
	return r.Action == reputation.Ban || r.Action == reputation.Limit && len(r.Conditions.sources) == 0
}

// Unwanted returns the source, deny or ban, by which the operator excludes the address, or "".
func Unwanted(v *reputation.Verdict) string {
	for i := range v.Reasons {
		if source := v.Reasons[i].Source; source == reputation.SourceDeny || source == reputation.SourceBan {
			return source
		}
	}
	return ""
}
