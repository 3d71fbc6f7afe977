package caddyfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/handler"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// parseHandler reads the policy of a site. Syntax:
//
//	ip_reputation [<matcher>] {
//		mode    observe|enforce
//		pass    <condition> <values>...
//		limit   <requests>/<time> [by network|asn|<lengths>] [key <text>] [<condition> <values>...]
//		block   [status <code>] <condition> <values>...
//		ban     [<time>] <condition> <values>...
//		drop    <condition> <values>...
//		violation  <name> @<matcher>|<condition> <values>...
//		violations default|from_application...
//		signed_in  cookie|header <name>...
//		headers full|minimal|off
//		ask     score|rules
//		wait    <duration>
//		priority @<matcher>|<condition> <values>...
//		exempt  <range|private_ranges>...
//		unknown pass|block
//		log     blocked|all|none [sample <first> <one in>]
//	}
//
// `pass`, `limit`, `block`, `ban` and `drop` are rules, which are tried in the order of the lines. They,
// `priority` and `exempt` may be repeated. So may `signed_in`, and `violation`, whose conditions are those of
// <see violationRule>.
func parseHandler(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next() // the directive's name
	var site handler.Handler
	names := ruleNames(h)
	check := func() error { return site.CheckRules(names) }
	err := option.Read(h.Dispenser, directive,
		option.Once("mode", option.OneOf(&site.Mode, "observe", "enforce")),
		option.Repeated("pass", rule(&site.Rules), check),
		option.Repeated("limit", limit(&site.Rules), check),
		option.Repeated("block", rule(&site.Rules), check),
		option.Repeated("ban", rule(&site.Rules), check),
		option.Repeated("drop", rule(&site.Rules), check),
		option.Repeated("violation", violationRule(h, &site.Violations),
			func() error { return site.CheckViolations(names.Violations) }),
		option.Repeated("violations", violationSets(&site),
			func() error { return site.CheckViolations(names.Violations) }),
		option.Repeated("signed_in", signedIn(&site.SignedIn)),
		option.Once("headers", option.OneOf(&site.Headers, "full", "minimal", "off")),
		option.Once("ask", option.OneOf(&site.Ask, "score", "rules")),
		wait(&site.Wait),
		option.Repeated("priority", priority(h, &site.Priority)),
		option.Repeated("exempt", option.List(&site.Exempt, "addresses, CIDR ranges or private_ranges"),
			func() error { return handler.CheckSiteExemptions(site.Exempt) }),
		option.Once("unknown", option.OneOf(&site.Unknown, "pass", "block")),
		option.Once("log", decisionLog(&site.Log)),
	)
	if err != nil {
		return nil, elsewhere(err, globalOnly, "write it into ip_reputation of the global options")
	}
	for _, check := range []func() error{site.CheckSignedIn, site.CheckAsk} {
		if err := check(); err != nil {
			return nil, h.WrapErr(err)
		}
	}
	return &site, nil
}

// ruleNames are the names that rules can ask for, as far as they are known yet.
func ruleNames(h httpcaddyfile.Helper) handler.Names {
	app := new(module.App)
	if global, ok := h.Option(directive).(httpcaddyfile.App); ok && json.Unmarshal(global.Value, app) != nil {
		return handler.Names{}
	}
	return handler.Names{Sources: app.SourceNames(), ASNLists: app.ASNListNames(), Violations: app.ViolationNames()}
}

// withoutCondition are the errors for rules without a condition, by action.
var withoutCondition = map[string]string{
	"pass":  "would end the rules here: remove it and those after it",
	"block": "would refuse everybody: give it one, such as score 85, or use Caddy's `error` or `respond`",
	"ban":   "would ban everybody: give it one, such as score 97 source own",
	"drop":  "would refuse everybody: give it one, such as score 97, or use Caddy's `abort`",
}

// rule reads one line of a policy, whose first word is the action, and appends it.
func rule(to *[]handler.Rule) option.Setter {
	return func(d *caddyfile.Dispenser) error {
		r := handler.Rule{Action: d.Val()}
		if err := banTime(d, &r); err != nil {
			return err
		}
		conditional, err := conditions(d, &r)
		if err != nil {
			return err
		}
		if !conditional {
			return d.Errf("%s without a condition %s", r.Action, withoutCondition[r.Action])
		}
		*to = append(*to, r)
		return nil
	}
}

// banTime reads the time of a ban, if there is one: the words of conditions begin with letters.
func banTime(d *caddyfile.Dispenser, r *handler.Rule) error {
	if next := option.Peek(d).Text; r.Action != reputation.Ban.String() || next == "" || next[0] < '0' || next[0] > '9' {
		return nil
	}
	d.NextArg()
	length, err := caddy.ParseDuration(d.Val())
	if err != nil || length <= 0 {
		return d.Errf("a ban of %q: write a duration such as 15m, 1h or 7d, or leave it out", d.Val())
	}
	r.For = caddy.Duration(length)
	return nil
}

// limit reads a limit rule, whose first value is the rate. Without a condition it
// applies to all requests.
func limit(to *[]handler.Rule) option.Setter {
	return func(d *caddyfile.Dispenser) error {
		r := handler.Rule{Action: d.Val()}
		if !d.NextArg() {
			return d.Err("limit needs a rate: a number of requests and a time, such as 10/1m")
		}
		r.Limit = d.Val()
		if err := handler.CheckLimit(r.Limit); err != nil {
			return d.WrapErr(err)
		}
		if _, err := conditions(d, &r); err != nil {
			return err
		}
		*to = append(*to, r)
		return nil
	}
}

// conditions reads the conditions of a rule, and reports whether there was one.
func conditions(d *caddyfile.Dispenser, r *handler.Rule) (conditional bool, err error) {
	for d.NextArg() {
		word, values := d.Val(), conditionValues(d)
		first := ""
		if len(values) > 0 {
			first = values[0]
		}
		code, notACode := strconv.Atoi(first)
		switch {
		case word == "status" && notACode == nil:
			err = setStatusCode(r, code)
		case word == "key" && r.Action == reputation.Limit.String():
			err = setKey(r, first)
		case word == "by" && r.Action == reputation.Limit.String():
			err = setBy(r, first)
		default:
			conditional = true
			err = r.AddCondition(word, values)
		}
		if err != nil {
			return false, d.WrapErr(err)
		}
	}
	return conditional, nil
}

// conditionValues reads the values behind the word of a condition: a field of a `header` and its value, unless the field
// must be missing; all paths of a `path`; one value of other conditions.
func conditionValues(d *caddyfile.Dispenser) []string {
	word := d.Val()
	return valuesWhile(d, func(value string, before []string) bool {
		switch {
		case len(before) == 0:
			return true
		case word == "path":
			return strings.HasPrefix(value, "/") || strings.HasPrefix(value, "*")
		case word == "header":
			return len(before) == 1 && !strings.HasPrefix(before[0], "!")
		}
		return false
	})
}

// valuesWhile reads the rest of the line of d, up to the first value that is not wanted. before are the values in front
// of it.
func valuesWhile(d *caddyfile.Dispenser, wanted func(value string, before []string) bool) (values []string) {
	for d.NextArg() {
		if !wanted(d.Val(), values) {
			d.Prev()
			break
		}
		values = append(values, d.Val())
	}
	return values
}

// setKey sets the key by which a limit counts.
func setKey(r *handler.Rule, text string) error {
	switch {
	case text == "":
		return errors.New("key needs a text with placeholders, such as {http.request.header.X-Api-Key}")
	case r.Key != "":
		return fmt.Errorf("key is given twice: put %s and %s into one text, between quotes", r.Key, text)
	}
	r.Key = text
	return nil
}

// setBy sets whom a limit counts together.
func setBy(r *handler.Rule, text string) error {
	switch {
	case text == "":
		return errors.New("by needs a value: network, asn, or the length of a prefix such as /56")
	case r.By != "":
		return fmt.Errorf("by is given twice: %s and %s", r.By, text)
	}
	r.By = text
	return nil
}

// setStatusCode sets the HTTP status of a block. `status` followed by words is a condition instead.
func setStatusCode(r *handler.Rule, code int) error {
	switch {
	case r.Action == reputation.Ban.String():
		return fmt.Errorf("ban answers with 403, as what is banned does from then on: remove `status %d`, "+
			"and write `block status %d source ban` before it for another status of those", code, code)
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
