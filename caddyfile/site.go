package caddyfile

import (
	"fmt"
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module"
)

// parseHandler reads the policy of a site. Syntax:
//
//	ip_reputation [<matcher>] {
//		mode    observe|enforce
//		pass    <condition> <values>...
//		block   [status <code>] <condition> <values>...
//		drop    <condition> <values>...
//		headers full|minimal|off
//		wait    <duration>
//		exempt  <range|private_ranges>...
//		unknown pass|block
//	}
//
// `pass`, `block` and `drop` are rules, tried in the order written. They and `exempt` may be repeated.
func parseHandler(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next() // the directive's name
	var handler module.Handler
	err := options{
		{word: "mode", set: oneOf(&handler.Mode, "observe", "enforce")},
		{word: "pass", set: rule(&handler.Rules), repeats: true},
		{word: "block", set: rule(&handler.Rules), repeats: true},
		{word: "drop", set: rule(&handler.Rules), repeats: true},
		{word: "headers", set: oneOf(&handler.Headers, "full", "minimal", "off")},
		{word: "wait", set: checked(wait(&handler.Wait), func() error { return module.CheckWait(*handler.Wait) })},
		{word: "exempt", set: checked(list(&handler.Exempt, "addresses, CIDR ranges or private_ranges"),
			func() error { return module.CheckSiteExemptions(handler.Exempt) }), repeats: true},
		{word: "unknown", set: oneOf(&handler.Unknown, "pass", "block")},
	}.parse(h.Dispenser, directive, nil)
	if err != nil {
		return nil, err
	}
	return &handler, nil
}

// withoutCondition says, for each action, why a rule for everybody is not what one writes here.
var withoutCondition = map[string]string{
	"pass":  "would end the rules here: remove it and those after it",
	"block": "would refuse everybody: give it one, such as score 85, or use Caddy's `error` or `respond`",
	"drop":  "would refuse everybody: give it one, such as score 97, or use Caddy's `abort`",
}

// rule reads one line of a policy, of which the action is the first word, and appends it.
func rule(to *[]module.Rule) setter {
	return func(d *caddyfile.Dispenser) error {
		r := module.Rule{Action: d.Val()}
		conditional := false
		for d.NextArg() {
			word, values := d.Val(), ""
			if d.NextArg() {
				values = d.Val()
			}
			if code, err := strconv.Atoi(values); err == nil && word == "status" {
				if err := setStatusCode(&r, code); err != nil {
					return d.WrapErr(err)
				}
				continue
			}
			if err := r.Add(word, values); err != nil {
				return d.WrapErr(err)
			}
			conditional = true
		}
		if !conditional {
			return d.Errf("%s without a condition %s", r.Action, withoutCondition[r.Action])
		}
		*to = append(*to, r)
		return nil
	}
}

// setStatusCode sets the HTTP status of a block. `status` followed by words is a condition instead.
func setStatusCode(r *module.Rule, code int) error {
	switch {
	case r.Action != "block":
		return fmt.Errorf("%s answers with no HTTP status: only block takes `status %d`", r.Action, code)
	case r.StatusCode != 0:
		return fmt.Errorf("status is given twice: %d and %d", r.StatusCode, code)
	case code < 400 || code > 599:
		return fmt.Errorf("status %d is not an HTTP error: use 400 to 599", code)
	}
	r.StatusCode = code
	return nil
}
