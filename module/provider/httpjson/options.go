package httpjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// UnmarshalCaddyfile reads the options that only this provider has. The caller has removed those
// that all providers have, such as key and quota.
//
//	http_json <name> {
//	    url          <address>
//	    clear_text
//	    header       <name> <value>
//	    basic_auth
//	    body         <json>
//	    content_type <type>...
//	    max_size     <size>
//	    reset_header <name>
//	    covers       ipv4|ipv6|both
//	    refused      <expression>
//	    throttled    <expression>
//	    not_found    <expression>
//	    error        <expression>
//	    address      <expression>
//	    severity     <expression>
//	    confidence   <expression>
//	    country      <expression>
//	    asn          <expression>
//	    last_seen    <expression>
//	    valid_for    <expression>
//	    category     <category> <expression>
//	    nature       <nature> <expression>
//	    weight       <points>
//	    good_weight  <points>
//	    group        <name>
//	    self_aged
//	    terms        <text>
//	}
//
// An expression is one text between backticks or quotes, or the rest of the line as it stands. header, category and
// nature may be repeated.
func (h *HTTPJSON) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the provider's name
	if !d.NextArg() {
		return d.Errf("http_json needs a name for the source: write one such as `provider http_json acme { … }`")
	}
	line := *d
	h.Name = d.Val()
	if err := h.checkName(); err != nil {
		return d.WrapErr(err)
	}
	options := append(h.requestOptions(), h.expressionOptions()...)
	err := option.Block{Name: "http_json", Options: append(options,
		option.Once("weight", option.Value(&h.Weight, pointsWanted, parsePoints)),
		option.Once("good_weight", option.Value(&h.GoodWeight, pointsWanted, parsePoints)),
		option.Once("group", option.Text(&h.Group, "the name of a group"), h.checkGroup),
		option.Once("self_aged", option.Flag(&h.SelfAged)),
		option.Once("terms", option.Text(&h.Terms, "one line about the terms"), h.checkTerms),
	)}.Read(d)
	if err != nil {
		return err
	}
	if err := h.check(); err != nil {
		return line.WrapErr(err)
	}
	return nil
}

func (h *HTTPJSON) requestOptions() []option.Option {
	return []option.Option{
		option.Once("url", option.Text(&h.URL, "an address such as https://api.example.com/v1/ip/{ip}"),
			func() error { _, err := parseTarget(h.URL); return err }),
		option.Once("clear_text", option.Flag(&h.ClearText)),
		option.Repeated("header", option.Header(&h.Header),
			func() error { _, err := parseHeader(h.Header); return err }),
		option.Once("basic_auth", option.Flag(&h.BasicAuth)),
		option.Once("body", h.readBody),
		option.Repeated("content_type", option.List(&h.ContentTypes, "content types such as text/plain"),
			h.checkContentTypes),
		option.Once("max_size", option.Size(&h.MaxSize), h.checkMaxSize),
		option.Once("reset_header", option.Text(&h.ResetHeader, "a header field such as X-RateLimit-Reset"),
			h.checkResetHeader),
		option.Once("covers", option.OneOf(&h.Covers, "ipv4", "ipv6", "both")),
	}
}

func (h *HTTPJSON) expressionOptions() []option.Option {
	var list []option.Option
	for _, s := range h.settings(new(mapping)) {
		list = append(list, option.Once(s.option, expressionOption(s.source), func() error {
			_, err := compile(s.option, *s.source, s.want)
			return err
		}))
	}
	return append(list,
		option.Repeated("category", conditionOption(&h.Categories, "abuse body.is_abuser",
			func(word string) error { _, err := reputation.ParseCategory(word); return err })),
		option.Repeated("nature", conditionOption(&h.Natures, "tor body.is_tor",
			func(word string) error { _, err := reputation.ParseKind(word); return err })),
	)
}

// expressionOption reads an expression. As for Caddy's own, several words are taken as they are written.
func expressionOption(to *string) option.Setter {
	return func(d *caddyfile.Dispenser) error {
		word := d.Val()
		if d.CountRemainingArgs() > 1 {
			*to = strings.Join(d.RemainingArgsRaw(), " ")
			return nil
		}
		if !d.NextArg() || d.Val() == "" {
			return d.Errf("%s takes an expression between backticks, such as `body.%s`: it has none", word, word)
		}
		*to = d.Val()
		return nil
	}
}

// conditionOption reads a word, and the expression that says when it holds.
func conditionOption(to *map[string]string, example string, check func(string) error) option.Setter {
	return func(d *caddyfile.Dispenser) error {
		kind := d.Val()
		if d.CountRemainingArgs() < 2 {
			return d.Errf("%s takes a word and an expression, such as `%s %s`", kind, kind, example)
		}
		d.NextArg()
		word, at := d.Val(), *d
		if err := check(word); err != nil {
			return d.WrapErr(err)
		}
		if _, twice := (*to)[word]; twice {
			return d.Errf("%s %s is given twice: join the expressions by ||", kind, word)
		}
		var source string
		if err := expressionOption(&source)(d); err != nil {
			return err
		}
		if _, err := compile(kind+" "+word, source, truth); err != nil {
			return at.WrapErr(err)
		}
		if *to == nil {
			*to = make(map[string]string)
		}
		(*to)[word] = source
		return nil
	}
}

// readBody reads the JSON of a request.
func (h *HTTPJSON) readBody(d *caddyfile.Dispenser) error {
	var body string
	if err := option.Text(&body, "JSON between backticks, such as `{\"ip\": \"{ip}\"}`")(d); err != nil {
		return err
	}
	if _, err := parseDocument([]byte(body)); err != nil {
		return d.Errf("the body: %w", err)
	}
	h.Body = json.RawMessage(body)
	return nil
}

const pointsWanted = "a number of points above 0 to 40"

func parsePoints(text string) (float64, bool) {
	points, err := strconv.ParseFloat(text, 64)
	return points, err == nil && points > 0 && points <= maxWeight
}

// check returns what is wrong with the settings. Placeholders are resolved, and expressions compiled, by others.
func (h *HTTPJSON) check() error {
	if err := h.checkName(); err != nil {
		return err
	}
	for option, points := range map[string]float64{"weight": h.Weight, "good_weight": h.GoodWeight} {
		if !(points >= 0 && points <= maxWeight) { // written so that NaN is refused
			return fmt.Errorf("%s %v is out of range: use %s", option, points, pointsWanted)
		}
	}
	if _, known := families[h.Covers]; !known {
		return fmt.Errorf("unknown covers %q: use ipv4, ipv6 or both", h.Covers)
	}
	for _, check := range []func() error{
		h.checkGroup, h.checkTerms, h.checkContentTypes, h.checkMaxSize, h.checkResetHeader, h.checkRequest,
	} {
		if err := check(); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	return nil
}

func (h *HTTPJSON) checkName() error {
	if h.Name == "" {
		return errors.New("http_json has no name: name the source that it stands for, such as acme")
	}
	return reputation.CheckName(h.Name)
}

func (h *HTTPJSON) checkGroup() error {
	if h.Group != "" && !reputation.ValidName(h.Group) {
		return fmt.Errorf("group %q: use at most 64 lower-case letters, digits, _ and -, the first a letter", h.Group)
	}
	return nil
}

func (h *HTTPJSON) checkTerms() error {
	err := reputation.Profile{Name: h.Name, Terms: h.Terms}.Validate()
	if err != nil {
		return errors.New("terms is too long, or has characters that do not print: " +
			"use one line of at most 200 printable ASCII characters")
	}
	return nil
}

func (h *HTTPJSON) checkContentTypes() error {
	for _, t := range h.ContentTypes {
		if media, params, err := mime.ParseMediaType(t); err != nil || media != t || len(params) > 0 {
			return fmt.Errorf("content_type %q is none: write it in lower case without parameters, such as text/plain", t)
		}
	}
	return nil
}

func (h *HTTPJSON) checkMaxSize() error {
	if h.MaxSize < 0 || h.MaxSize > maxBody {
		return fmt.Errorf("max_size %d is out of range: use up to 1MiB", h.MaxSize)
	}
	return nil
}

func (h *HTTPJSON) checkResetHeader() error {
	if strings.ContainsFunc(h.ResetHeader, notInName) {
		return fmt.Errorf("reset_header %q is no name of a header field", h.ResetHeader)
	}
	return nil
}

// checkRequest checks what the request is made of.
func (h *HTTPJSON) checkRequest() error {
	parts, err := h.parse()
	if err != nil {
		return err
	}
	if err := parts.target.checkOrigin(h.ClearText); err != nil {
		return err
	}
	if !h.sends(ipMark) {
		return errors.New("{ip} is missing: without it the service does not learn which address is meant; " +
			"write it in the url, or in the body")
	}
	if h.BasicAuth && parts.header["Authorization"] != nil {
		return errors.New("basic_auth and a header Authorization contradict each other: remove one")
	}
	if h.Severity == "" {
		return errNoSeverity
	}
	return nil
}
