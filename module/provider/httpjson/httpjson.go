// Package httpjson is a provider for services without a module of their own: any API that answers
// about an address in JSON. The operator writes the request, and what the answer means as
// expressions in CEL, Caddy's own language for expressions.
//
// Expressions are compiled and type-checked when the configuration is loaded. Their cost is bounded,
// and what they return is checked: a wrong type, a number out of range or a missing member makes an
// answer bad, and never a verdict.
package httpjson

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	defaultConfidence = 0.5

	// maxWeight is that of a source whose word is nearly beyond doubt.
	maxWeight = 40

	// maxBody bounds the max_size option.
	maxBody = 1 << 20
)

func init() {
	caddy.RegisterModule(HTTPJSON{})
}

// HTTPJSON asks a service that has no module of its own, over HTTP, and reads its answer by
// expressions. Each service is a source of its own: write one `provider http_json` for each, with
// the quota of your plan.
//
// Expressions are in [CEL](https://github.com/google/cel-spec/blob/master/doc/langdef.md), with
// optional values and the functions for strings and numbers that Caddy's own expressions have,
// `replace`, `join` and `format` left out. They have
//
//   - `body`: the JSON of the answer, `{}` if an error has none. Its numbers are doubles: write `body.score / 100.0`;
//   - `status`: the status code;
//   - `header`: the header fields, by names in lower case: `header["x-ttl"]`;
//   - `ip`: the address in question, as a string;
//   - `now`: the time.
//
// `has(body.a)` tells whether a member is there, `body.?a.orValue(0.0)` has a default, and
// `body.?a` alone says nothing if the member is missing. A fact about which an expression says
// nothing, or returns null, is not known. An expression that fails, or returns something of a wrong
// type or out of range, makes the answer a bad one, and it counts for nothing; so do `severity`,
// `confidence` and `address` that say nothing. One evaluation takes 20,000 steps at most.
//
// An answer is looked at in this order: `refused`, `throttled`, `not_found`, `error`, then, with status 200 only,
// `address` and the rest. A status that none of the first four explains means what it usually means: 401, 402 and
// 403 refuse the key, 429 asks for a pause, any other is a failure.
type HTTPJSON struct {
	// The name of the source in rules, reasons and metrics: at most 64 lower-case letters, digits,
	// `_` and `-`, the first a letter. Required.
	Name string `json:"name,omitempty"`

	// The address to ask. `{ip}` and `{key}` stand for the address in question and for the key, in
	// the path or the query, where they are escaped. `{env.*}` and `{file.*}` are resolved when the
	// configuration is loaded. A service whose request has no `{key}` has no keys. Required.
	URL string `json:"url,omitempty"`

	// Whether `url` may begin with `http://`: everybody on the way can then read who visits you,
	// and the key, and can change the answers. This machine and your own network may be asked so in
	// any case: private addresses, and names without a dot or in `.internal` or `.local`. Default:
	// no.
	ClearText bool `json:"clear_text,omitempty"`

	// Header fields of the request. Their values can have the placeholders of `url`. Default: none,
	// besides `Accept` and `User-Agent`.
	Header map[string]string `json:"header,omitempty"`

	// Whether the key is sent as HTTP Basic authentication. It is written `account:key` then. Default: no.
	BasicAuth bool `json:"basic_auth,omitempty"`

	// The JSON of a POST, an object or a list. Its strings can have the placeholders of `url`.
	// Default: none, the request is a GET.
	Body json.RawMessage `json:"body,omitempty"`

	// The content types of answers, for a service that sends its JSON as `text/plain` or the like. Default:
	// `application/json`, and all that end in `+json`.
	ContentTypes []string `json:"content_types,omitempty"`

	// The size of the largest answer in bytes, after decompression, up to 1 MiB. A larger one is a
	// bad answer. Default: 64 KiB.
	MaxSize int64 `json:"max_size,omitempty"`

	// The header field that says when a 429 ends, for a service that sends no `Retry-After`: in
	// seconds from now, or since 1970. Default: none.
	ResetHeader string `json:"reset_header,omitempty"`

	// The addresses that the service covers: `ipv4`, `ipv6` or `both`. It is not asked about
	// others, and not missed. Default: `both`.
	Covers string `json:"covers,omitempty"`

	// When the service does not accept the key, true or false. The key is set aside then. Default:
	// statuses 401, 402 and 403, unless one of the others holds.
	Refused string `json:"refused,omitempty"`

	// When the service asks for a pause, true or false. How long is taken from `Retry-After` or
	// `reset_header`. Default: status 429.
	Throttled string `json:"throttled,omitempty"`

	// When the service does not know the address, true or false. It is a valid answer, and no good
	// word. Make sure that the 404 of a proxy does not count as one: look at the body too. Default:
	// never.
	NotFound string `json:"not_found,omitempty"`

	// When an answer is an error in spite of its status 200, true or false. Default: never.
	Error string `json:"error,omitempty"`

	// The address that the answer is about, as a string. An answer about another address is a bad
	// one. Default: not compared.
	Address string `json:"address,omitempty"`

	// How bad the address is: a number from -1 (known good) over 0 (neutral) to 1 (abusive). Required.
	Severity string `json:"severity,omitempty"`

	// How much independent evidence there is, from 0 (none) to 1 (beyond doubt); not how bad the
	// address is. Default: 0.5.
	Confidence string `json:"confidence,omitempty"`

	// What the address did: for each category when it holds, true or false. Default: none.
	Categories map[string]string `json:"categories,omitempty"`

	// What the address is: for each nature, true, false or nothing if it is not known. Nature is a
	// fact, not a fault: let it raise the severity little, or not at all. Default: none.
	Natures map[string]string `json:"natures,omitempty"`

	// The country, as a code of two letters. An empty string says nothing. Default: not known.
	Country string `json:"country,omitempty"`

	// The number of the network (autonomous system), as a number or as a string such as
	// `AS64500 Example`. 0 and an empty string say nothing. Default: not known.
	ASN string `json:"asn,omitempty"`

	// When the address was last seen doing this: a timestamp, a string such as `2027-03-31`,
	// `2027-03-31 12:00:00` (UTC) or of RFC 3339, or seconds since 1970. Older reports count less.
	// An empty string says nothing. Default: not known.
	LastSeen string `json:"last_seen,omitempty"`

	// How long the answer is valid: a duration or a number of seconds, from 1s to a year. It can
	// only shorten the `ttl` of the provider, and to 5 minutes at least. Default: that.
	ValidFor string `json:"valid_for,omitempty"`

	// How many points a report of severity 1 and confidence 1 adds to the score, above 0 to 40. Default: 20.
	Weight float64 `json:"weight,omitempty"`

	// How many points a report of severity -1 and confidence 1 takes off, above 0 to 40. Default: 2.
	GoodWeight float64 `json:"good_weight,omitempty"`

	// The group of sources that copy each other or see the same. Together they count little more
	// than the strongest. Default: the name.
	Group string `json:"group,omitempty"`

	// Whether the service lowers its own score as time passes. Its reports do not lose weight by
	// `last_seen` then. Default: no.
	SelfAged bool `json:"self_aged,omitempty"`

	// One line about terms of the service that restrict its use, to be shown where the sources are. It is logged at
	// each load. Default: none.
	Terms string `json:"terms,omitempty"`

	endpoint rest.Endpoint
	request  *request
	mapping  *mapping
	now      func() time.Time
}

// CaddyModule returns the Caddy module information.
func (HTTPJSON) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ip_reputation.providers.http_json",
		New: func() caddy.Module { return new(HTTPJSON) },
	}
}

// Provision compiles the expressions, resolves the settings and creates the client. It opens no connection.
func (h *HTTPJSON) Provision(ctx caddy.Context) error {
	if err := h.check(); err != nil {
		return err
	}
	if err := h.prepare(caddy.NewReplacer()); err != nil {
		return fmt.Errorf("%s: %w", h.Name, err)
	}
	h.now = time.Now
	return h.endpoint.Open(ctx, rest.API{
		Profile: h.Profile(), Title: h.Name, URL: h.endpoint.URL, SelfHosted: true,
		MediaTypes: h.ContentTypes, MaxBody: h.MaxSize, ResetHeader: h.ResetHeader,
	})
}

// prepare compiles the expressions, and resolves the global placeholders of the request.
func (h *HTTPJSON) prepare(repl *caddy.Replacer) error {
	var err error
	if h.mapping, err = h.compile(); err != nil {
		return err
	}
	parts, err := h.parse()
	if err != nil {
		return err
	}
	base, err := parts.target.base(repl)
	if err != nil {
		return err
	}
	if err := checkEncrypted(base, h.ClearText); err != nil {
		return err
	}
	h.endpoint.URL = base.String()
	h.request, err = parts.resolve(repl)
	return err
}

// Cleanup closes the idle connections.
func (h *HTTPJSON) Cleanup() error { return h.endpoint.Cleanup() }

// Profile implements reputation.Provider. It follows from the settings: what no expression is
// about, no report has.
func (h *HTTPJSON) Profile() reputation.Profile {
	p := reputation.Profile{
		Name: h.Name, Weight: h.Weight, GoodWeight: h.GoodWeight, Group: h.Group, SelfAged: h.SelfAged, Terms: h.Terms,
		Key: reputation.KeyNone, Covers: families[h.Covers],
		Capabilities: reputation.Capabilities{Country: h.Country != "", ASN: h.ASN != ""},
	}
	for word := range h.Categories {
		if c, err := reputation.ParseCategory(word); err == nil {
			p.Capabilities.Categories |= reputation.CategoriesOf(c)
		}
	}
	for word := range h.Natures {
		if k, err := reputation.ParseKind(word); err == nil {
			p.Capabilities.Natures |= reputation.KindsOf(k)
		}
	}
	if h.BasicAuth || h.sends(keyMark) {
		p.Key = reputation.KeyRequired
	}
	return p
}

// KeyIsNotSent is the error about a key for which no setting has a place.
func (*HTTPJSON) KeyIsNotSent() error {
	return errors.New("no setting sends the key: write {key} where the service expects it, or remove the key")
}

// families are the words of the covers option.
var families = map[string]reputation.Families{
	"": reputation.IPv4 | reputation.IPv6, "both": reputation.IPv4 | reputation.IPv6,
	"ipv4": reputation.IPv4, "ipv6": reputation.IPv6,
}

// Variants says that the module stands for no service in particular: tables of services leave it out.
func (*HTTPJSON) Variants() []json.RawMessage { return nil }

// Check implements reputation.Provider.
func (h *HTTPJSON) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	question := h.request.of(q)
	question.Failure = func(a *rest.Response, page []byte) error {
		var body any
		if rest.Decode(page, &body) != nil {
			body = map[string]any{} // a page of somebody between, or none
		}
		return h.mapping.failure(ctx, variables(body, a, q.Addr, h.now()), a)
	}
	return rest.Ask(ctx, &h.endpoint, q, question, func(body *any, a *rest.Response) (reputation.Report, error) {
		return h.mapping.report(ctx, variables(*body, a, q.Addr, h.now()), a, q.Addr)
	})
}

// sends reports whether a request has a placeholder.
func (h *HTTPJSON) sends(mark string) bool {
	for _, value := range h.Header {
		if strings.Contains(value, mark) {
			return true
		}
	}
	return strings.Contains(h.URL, mark) || bytes.Contains(h.Body, []byte(mark))
}

// Interface guards
var (
	_ caddy.Provisioner     = (*HTTPJSON)(nil)
	_ caddy.CleanerUpper    = (*HTTPJSON)(nil)
	_ caddyfile.Unmarshaler = (*HTTPJSON)(nil)
	_ reputation.Provider   = (*HTTPJSON)(nil)
)
