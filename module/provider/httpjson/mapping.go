package httpjson

import (
	"context"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// mapping is what becomes of an answer. A missing expression is nil, and says nothing.
type mapping struct {
	refused, throttled, notFound, failed *expression

	address, severity, confidence, country, asn, lastSeen, validFor *expression

	categories []condition[reputation.Category]
	natures    []condition[reputation.Kind]
}

type condition[T any] struct {
	about T
	holds *expression
}

// setting is an option with an expression: where its text stands, what it must return, and where the compiled one goes.
type setting struct {
	option string
	source *string
	want   result
	to     **expression
}

func (h *HTTPJSON) settings(m *mapping) []setting {
	return []setting{
		{"refused", &h.Refused, truth, &m.refused},
		{"throttled", &h.Throttled, truth, &m.throttled},
		{"not_found", &h.NotFound, truth, &m.notFound},
		{"error", &h.Error, truth, &m.failed},
		{"address", &h.Address, text, &m.address},
		{"severity", &h.Severity, rating, &m.severity},
		{"confidence", &h.Confidence, share, &m.confidence},
		{"country", &h.Country, text, &m.country},
		{"asn", &h.ASN, network, &m.asn},
		{"last_seen", &h.LastSeen, moment, &m.lastSeen},
		{"valid_for", &h.ValidFor, length, &m.validFor},
	}
}

// compile compiles all expressions.
func (h *HTTPJSON) compile() (*mapping, error) {
	m := new(mapping)
	for _, s := range h.settings(m) {
		var err error
		if *s.to, err = compile(s.option, *s.source, s.want); err != nil {
			return nil, err
		}
	}
	var err error
	if m.categories, err = conditions("category", h.Categories, reputation.ParseCategory); err != nil {
		return nil, err
	}
	m.natures, err = conditions("nature", h.Natures, reputation.ParseKind)
	return m, err
}

// conditions compiles the conditions of the words of one option.
func conditions[T any](
	option string, sources map[string]string, parse func(string) (T, error),
) ([]condition[T], error) {
	var list []condition[T]
	for _, word := range slices.Sorted(maps.Keys(sources)) {
		about, err := parse(word)
		if err != nil {
			return nil, err
		}
		holds, err := compile(option+" "+word, sources[word], truth)
		if err != nil {
			return nil, err
		}
		if holds == nil {
			return nil, fmt.Errorf("%s %s has no expression: write when it holds, such as `%[1]s %[2]s body.is_%[2]s`",
				option, word)
		}
		list = append(list, condition[T]{about, holds})
	}
	return list, nil
}

// variables are what expressions see of an answer.
func variables(body any, a *rest.Response, addr netip.Addr, now time.Time) cel.Activation {
	header := func() any { // few expressions look at it
		fields := make(map[string]string, len(a.Header))
		for name, values := range a.Header {
			fields[strings.ToLower(name)] = strings.Join(values, ", ")
		}
		return fields
	}
	vars, _ := cel.NewActivation(map[string]any{ // it fails for other types than this map only
		"body": body, "status": a.Status, "header": header, "ip": addr.String(), "now": now,
	})
	return vars
}

// report returns the report of an answer with status 200.
func (m *mapping) report(
	ctx context.Context, vars cel.Activation, a *rest.Response, addr netip.Addr,
) (reputation.Report, error) {
	if err := m.failure(ctx, vars, a); err != nil {
		return reputation.Report{}, err
	}
	if m.address != nil {
		about, err := m.address.text(ctx, vars)
		if err != nil {
			return reputation.Report{}, err
		}
		if !rest.SameAddr(about, addr) {
			return reputation.Report{}, m.address.bad("it is not the address that was asked about")
		}
	}
	r := reputation.Report{Confidence: defaultConfidence}
	var err error
	if r.Severity, err = m.severity.number(ctx, vars, rating); err != nil {
		return reputation.Report{}, err
	}
	if m.confidence != nil {
		if r.Confidence, err = m.confidence.number(ctx, vars, share); err != nil {
			return reputation.Report{}, err
		}
	}
	if r.Categories, err = m.categoriesOf(ctx, vars); err != nil {
		return reputation.Report{}, err
	}
	if r.Facts, err = m.facts(ctx, vars); err != nil {
		return reputation.Report{}, err
	}
	if r.LastSeen, err = m.lastSeen.moment(ctx, vars); err != nil {
		return reputation.Report{}, err
	}
	r.TTL, err = m.validFor.length(ctx, vars)
	if err != nil {
		return reputation.Report{}, err
	}
	return r, nil
}

func (m *mapping) categoriesOf(ctx context.Context, vars cel.Activation) (set reputation.Categories, err error) {
	for _, c := range m.categories {
		is, _, err := c.holds.truth(ctx, vars)
		if err != nil {
			return 0, err
		}
		if is {
			set |= reputation.CategoriesOf(c.about)
		}
	}
	return set, nil
}

func (m *mapping) facts(ctx context.Context, vars cel.Activation) (f reputation.Facts, err error) {
	for _, c := range m.natures {
		is, known, err := c.holds.truth(ctx, vars)
		if err != nil {
			return reputation.Facts{}, err
		}
		if known {
			f.Nature = f.Nature.With(c.about, is)
		}
	}
	country, err := m.country.text(ctx, vars)
	if err != nil {
		return reputation.Facts{}, err
	}
	country = strings.ToUpper(country)
	f.Country = rest.Country(country)
	unknown := country == "" || country == "XX" || country == "ZZ"
	if f.Country == "" && !unknown {
		return reputation.Facts{}, m.country.wrong("a code of two letters")
	}
	f.ASN, err = m.asn.network(ctx, vars)
	return f, err
}

// failure returns what an answer means that holds no report.
func (m *mapping) failure(ctx context.Context, vars cel.Activation, a *rest.Response) error {
	ok := a.Status == http.StatusOK
	for _, e := range [...]*expression{m.refused, m.throttled, m.notFound, m.failed} {
		if e == nil || e == m.failed && !ok { // another status says itself what kind of error it is
			continue
		}
		is, err := e.holds(ctx, vars)
		switch {
		case err != nil && (ok || ctx.Err() != nil):
			return err
		case is:
			return fmt.Errorf("%w: the expression of %s holds, status %d", m.meaning(e, a), e.option, a.Status)
		}
		// an expression that fails says nothing of another status: the status is sufficient
	}
	return nil
}

// meaning returns the error that an expression stands for.
func (m *mapping) meaning(e *expression, a *rest.Response) error {
	switch e {
	case m.refused:
		return reputation.ErrRefused
	case m.throttled:
		return a.Throttled()
	case m.notFound:
		return reputation.ErrUnknown
	}
	return reputation.ErrBadAnswer
}

// moment returns a time, the zero time if it is missing.
func (e *expression) moment(ctx context.Context, vars cel.Activation) (time.Time, error) {
	value, err := e.eval(ctx, vars)
	if value == nil || err != nil {
		return time.Time{}, err
	}
	var at time.Time
	switch v := value.(type) {
	case types.Timestamp:
		at = v.Time
	case types.String:
		if v == "" {
			return time.Time{}, nil
		}
		at = rest.Time(string(v))
	default:
		seconds, ok := toNumber(value)
		if ok && seconds == 0 {
			return time.Time{}, nil
		}
		if ok && seconds > 0 && seconds < 1e11 { // more are milliseconds
			at = rest.Unix(int64(seconds))
		}
	}
	if at.Year() < 1970 || at.Year() > 9999 {
		return time.Time{}, e.wrong("a time since 1970: as 2027-03-31, 2027-03-31 12:00:00 (UTC), RFC 3339 or in seconds")
	}
	return at.UTC(), nil
}

// length returns a duration, 0 if it is missing.
func (e *expression) length(ctx context.Context, vars cel.Activation) (time.Duration, error) {
	const most = 365 * 24 * time.Hour
	value, err := e.eval(ctx, vars)
	if value == nil || err != nil {
		return 0, err
	}
	seconds, ok := toNumber(value)
	if d, isDuration := value.(types.Duration); isDuration {
		seconds, ok = d.Seconds(), true
	}
	if !ok || !(seconds >= 1 && seconds <= most.Seconds()) { // written so that NaN is refused
		return 0, e.wrong("a duration from 1s to a year")
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

// network returns the number of an autonomous system, 0 if it is missing.
func (e *expression) network(ctx context.Context, vars cel.Activation) (uint32, error) {
	value, err := e.eval(ctx, vars)
	if value == nil || err != nil {
		return 0, err
	}
	if s, ok := value.(types.String); ok {
		asn := rest.ASN(string(s))
		if asn == 0 && s != "" {
			return 0, e.wrong("the number of a network")
		}
		return asn, nil
	}
	n, ok := toNumber(value)
	if !ok || n != math.Trunc(n) || !(n >= 0 && n <= math.MaxUint32) {
		return 0, e.wrong("the number of a network")
	}
	return uint32(n), nil
}
