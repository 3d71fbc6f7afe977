package providertest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// strangerChecks are about answers in JSON that are somebody else's: a gateway's, or about another address.
func (s *suite) strangerChecks() []check {
	const jsonType = "application/json"
	bad := reputation.ResultBadAnswer
	notFound := []reputation.Result{bad, reputation.ResultError}
	if s.NotFound {
		notFound = []reputation.Result{reputation.ResultNotFound}
	}
	list := []check{{"answer/about another address", s.anotherAddress}}
	for name, body := range map[string]string{
		"an object": `{}`, "null": `null`, "a list": `[]`, "a list of nothing": `[null]`, "a text": `"ok"`, "a number": `0`,
		"true": `true`, "a gateway": `{"message":"no Route matched with those values"}`,
		"an error": `{"error":{"code":500,"message":"internal error"},"status":"error"}`,
	} {
		list = append(list, s.once("answer/"+name, reply(200, jsonType, body), bad))
	}
	for name, body := range map[string]string{
		"gateway": `{"message":"no Route matched with those values"}`, "framework": `{"detail":"Not Found"}`,
		"server": `{"error":"not found"}`, "object": `{}`, "null": `null`,
	} {
		list = append(list, s.once("answer/404 of a "+name, reply(404, jsonType, body), notFound...))
	}
	slices.SortFunc(list, func(a, b check) int { return strings.Compare(a.name, b.name) })
	return list
}

// anotherAddress sends each report about another address than the one in question.
func (s *suite) anotherAddress(tb testing.TB) error {
	for i := range s.Cases {
		c := &s.Cases[i]
		if c.Result != reputation.ResultOK || c.NoAddress || s.NoAddress {
			continue
		}
		t := s.fixture(tb, c.ServeHTTP)
		// of another network, which the answer may be about too
		other := c.Addr.AsSlice()
		other[1] ^= 0x55
		addr, _ := netip.AddrFromSlice(other)
		o, err := t.ask(tb.Context(), addr)
		if err := errors.Join(err, o.want(reputation.ResultBadAnswer)); err != nil {
			return fmt.Errorf("%q: %w", c.Name, err)
		}
	}
	return nil
}

// memberChecks are about answers of which a part is missing, null or of another type. What an answer does not say is
// not known: it is no "no", no good word, and no accusation that was not there.
func (s *suite) memberChecks() []check {
	without := func(any) any { return removed }
	null := func(any) any { return nil }
	other := func(value any) any {
		switch value.(type) {
		case string:
			return json.Number("7")
		case nil:
			return "none"
		}
		return "Premium required."
	}
	list := func(any) any { return []any{nil} }
	text := func(value any) any {
		if _, ok := value.(string); !ok {
			return kept
		}
		return "AS64500 \r\n\x1b[31m\u202e" + strings.Repeat("\u00e9", 4000)
	}
	date := func(to string) func(value any) any {
		return func(value any) any {
			if text, ok := value.(string); !ok || len(text) < len(time.DateOnly) || text[4] != '-' || text[7] != '-' {
				return kept
			}
			return to
		}
	}
	number := func(n json.Number) func(value any) any {
		return func(value any) any {
			if _, ok := value.(json.Number); !ok {
				return kept
			}
			return n
		}
	}
	unchecked := func(_, _ reputation.Report) error { return nil } // the suite checks the ranges
	return []check{
		{"answer/without a member", s.mutated(without, worse)}, {"answer/with a null", s.mutated(null, worse)},
		{"answer/with another type", s.mutated(other, worse)}, {"answer/with a list", s.mutated(list, worse)},
		{"answer/with a long text", s.mutated(text, unchecked)},
		{"answer/with a time before the year 0", s.mutated(date("0000-01-01T00:00:00+23:59"), unchecked)},
		{"answer/with a time after the year 9999", s.mutated(date("9999-12-31T23:59:59-23:59"), unchecked)},
		{"answer/with an endless number", s.mutated(number("1e999"), unchecked)},
		{"answer/with a huge number", s.mutated(number("1e300"), unchecked)},
		{"answer/with a long number", s.mutated(number("253402300800"), unchecked)},
		{"answer/with a negative number", s.mutated(number("-7"), unchecked)},
		{"answer/with a fraction", s.mutated(number("0.5"), unchecked)},
	}
}

// removed stands for a member that is left out, kept for one that stays.
var removed, kept = new(struct{ _ byte }), new(struct{ _ byte })

// maxMutations bounds how many variants of one answer are tried.
const maxMutations = 200

// mutated sends each answer with one of its members replaced, and compares the report with that of the whole answer.
func (s *suite) mutated(
	replace func(any) any, compare func(whole, part reputation.Report) error,
) func(tb testing.TB) error {
	return func(tb testing.TB) error {
		var faults []error
		for i := range s.Cases {
			c := &s.Cases[i]
			if c.Result != reputation.ResultOK {
				continue
			}
			d := json.NewDecoder(strings.NewReader(c.Body))
			d.UseNumber()
			var whole any
			if d.Decode(&whole) != nil {
				continue // not JSON
			}
			var body atomic.Pointer[string]
			t := s.fixture(tb, func(w http.ResponseWriter, r *http.Request) {
				one := *c
				one.Body = *body.Load()
				one.ServeHTTP(w, r)
			})
			n := 0
			variants(whole, "", replace, func(path string) {
				if n++; n > maxMutations {
					return
				}
				var text bytes.Buffer
				_ = json.NewEncoder(&text).Encode(without(whole))
				sent := text.String()
				body.Store(&sent)
				o, err := t.ask(tb.Context(), c.Addr)
				if err == nil && o.err == nil {
					err = compare(c.Report, o.report)
				}
				if err != nil {
					faults = append(faults, fmt.Errorf("%q, %s: %w", c.Name, path, err))
				}
			})
		}
		return errors.Join(faults...)
	}
}

// worse returns an error if a report knows what it can only know from a member that it did not have.
func worse(whole, part reputation.Report) error {
	if part.Severity < 0 && whole.Severity >= 0 {
		return fmt.Errorf("without it the address is good, with a severity of %g instead of %g", part.Severity, whole.Severity)
	}
	for _, kind := range reputation.AllKinds() {
		was, wasKnown := whole.Facts.Nature.Is(kind)
		if is, known := part.Facts.Nature.Is(kind); known && !is && (!wasKnown || was) {
			return fmt.Errorf("without it the nature %s is no", kind)
		}
	}
	return nil
}

// variants calls visit for each member and element in a JSON value, while that one is replaced.
func variants(value any, path string, replace func(any) any, visit func(path string)) {
	switch v := value.(type) {
	case map[string]any:
		for name, member := range v {
			if v[name] = replace(member); v[name] != any(kept) {
				visit(path + "." + name)
			}
			v[name] = member
			variants(member, path+"."+name, replace, visit)
		}
	case []any:
		for i, element := range v[:min(len(v), 1)] { // the others are like the first
			if v[i] = replace(element); v[i] != any(kept) {
				visit(path + "[0]")
			}
			v[i] = element
			variants(element, path+"[0]", replace, visit)
		}
	}
}

// without returns a copy of a JSON value that lacks what is removed.
func without(value any) any {
	switch v := value.(type) {
	case map[string]any:
		object := make(map[string]any, len(v))
		for name, member := range v {
			if member != any(removed) {
				object[name] = without(member)
			}
		}
		return object
	case []any:
		list := make([]any, 0, len(v))
		for _, element := range v {
			if element != any(removed) {
				list = append(list, without(element))
			}
		}
		return list
	}
	return value
}
