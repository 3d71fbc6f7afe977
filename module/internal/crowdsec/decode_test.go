package crowdsec

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// seen is what a decoder finds in an answer.
type seen struct {
	Deleted bool
	decision
}

func decodeAll(text string) (all []seen, err error) {
	err = newDecoder(strings.NewReader(text)).decode(func(deleted bool, x *decision) error {
		all = append(all, seen{deleted, *x})
		return nil
	})
	return all, err
}

const answer = `{"deleted": [{"duration":"-1h2m3.5s","id":1,"origin":"crowdsec","scenario":"crowdsecurity/http-probing","scope":"Ip","type":"ban","value":"198.51.100.249"}],
 "new": [{"duration":"22h20m11.909761348s","id":2266,"origin":"CAPI","scenario":"http:scan","scope":"ip","type":"ban","value":"203.0.113.122/32","uuid":"x","simulated":false,"until":null},
 {"id":7,"more":{"a":[1,{"b":null}]},"origin":null,"simulated":true,"value":"AS64500"}], "other": [[]]}`

func TestDecode(t *testing.T) {
	got, err := decodeAll(answer)
	if err != nil {
		t.Fatal(err)
	}
	want := []seen{
		{true, decision{id: 1, origin: "crowdsec", scenario: "crowdsecurity/http-probing", scope: "Ip", kind: "ban", value: "198.51.100.249", duration: -(time.Hour + 2*time.Minute + 3500*time.Millisecond)}},
		{false, decision{id: 2266, origin: "CAPI", scenario: "http:scan", scope: "ip", kind: "ban", value: "203.0.113.122/32", duration: 22*time.Hour + 20*time.Minute + 11909761348*time.Nanosecond}},
		{false, decision{id: 7, simulated: true, value: "AS64500"}},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	for i := range answer { // wherever it is cut
		if _, err := decodeAll(answer[:i]); err == nil {
			t.Errorf("cut at %d: no error", i)
		}
	}
	for _, empty := range []string{`{"new":null,"deleted":null}`, ` {"deleted": [], "new": []} `} {
		if got, err := decodeAll(empty); err != nil || len(got) != 0 {
			t.Errorf("%s: %v, %v", empty, got, err)
		}
	}
}

func TestDecodeWrongAnswers(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "the answer breaks off",
		"<!doctype html><p>hello":          "the answer is HTML",
		"null":                             "no stream",
		"[]":                               "no stream",
		`"new"`:                            "no stream",
		`{}`:                               "no stream",
		`{"message":"access forbidden"}`:   "no stream",
		`{"new":[]}`:                       "no stream",
		`{"new":{},"deleted":[]}`:          "no stream",
		`{"new":[7],"deleted":[]}`:         "no stream",
		`{"new":[],"deleted":[]}x`:         "followed by something else",
		`{"new":[],"deleted":[],}`:         "wrong at byte",
		`{"new":[{"id":01}],"deleted":[]}`: "wrong at byte",
		`{"new":[],"deleted":[],"a":` + strings.Repeat("[", 1000):                 "nested deeper",
		`{"new":[{"value":"` + strings.Repeat("x", 100_000) + `"}],"deleted":[]}`: "64 KiB",
	} {
		if _, err := decodeAll(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want an error with %q", text, err, want)
		}
	}
	// one decision is wrong, and the others are not
	for _, text := range []string{
		`{"value":"203.0.113.1"}`, `{"id":"7"}`, `{"id":-7}`, `{"id":1.5}`, `{"id":1e3}`, `{"id":18446744073709551616}`, `{"id":true}`, `{"id":{}}`,
		`{"id":7,"duration":"4"}`, `{"id":7,"duration":"1d"}`, `{"id":7,"duration":14400}`, `{"id":7,"duration":["4h"]}`,
		`{"id":7,"type":1}`, `{"id":7,"value":null,"scope":[]}`, `{"id":7,"simulated":"true"}`, `{"id":null}`,
	} {
		got, err := decodeAll(`{"new":[` + text + `,{"id":8}],"deleted":[]}`)
		if err != nil || len(got) != 2 || got[0].wrong == nil || got[1].wrong != nil || got[1].id != 8 {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

// FuzzDecode compares the decoder with encoding/json. What the decoder takes, encoding/json takes, with the same
// decisions. It may refuse more: what is nested deeply, and long strings.
func FuzzDecode(f *testing.F) {
	f.Add(answer)
	f.Add(`{"new":null,"deleted":null}`)
	f.Add(`{"new":[{"id":1,"id":2,"value":"\u0041\ud83d\ude00","duration":"4h"}],"new":[],"deleted":[{"id":9}]}`)
	f.Add(`{"message":"access forbidden"}`)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := decodeAll(text)
		if err != nil {
			return
		}
		want, ok := twin(text)
		if !ok {
			t.Fatalf("encoding/json does not take %q", text)
		}
		if len(got) != len(want) {
			t.Fatalf("%d decisions in %q, want %d", len(got), text, len(want))
		}
		for i, w := range want {
			g := got[i]
			if w == nil || g.wrong != nil {
				if (w == nil) != (g.wrong != nil) {
					t.Fatalf("decision %d of %q is %+v, want %+v", i, text, g, w)
				}
				continue
			}
			g.wrong = nil
			if g != *w {
				t.Fatalf("decision %d of %q is %+v, want %+v", i, text, g, *w)
			}
		}
	})
}

// twin decodes an answer with encoding/json. A decision that is wrong is nil.
func twin(text string) (all []*seen, ok bool) {
	if !json.Valid([]byte(text)) {
		return nil, false
	}
	in := json.NewDecoder(strings.NewReader(text))
	_, _ = in.Token()
	for in.More() {
		name, err := in.Token()
		var value json.RawMessage
		if err != nil || in.Decode(&value) != nil {
			return nil, false
		}
		if name != "new" && name != "deleted" {
			continue
		}
		var list []json.RawMessage
		if json.Unmarshal(value, &list) != nil {
			return nil, false
		}
		for _, raw := range list {
			all = append(all, twinOf(raw, name == "deleted"))
		}
	}
	return all, true
}

func twinOf(raw json.RawMessage, deleted bool) *seen {
	s := &seen{Deleted: deleted}
	in := json.NewDecoder(strings.NewReader(string(raw)))
	in.UseNumber()
	_, _ = in.Token()
	hasID := false
	for in.More() {
		name, err := in.Token()
		var value any
		if err != nil || in.Decode(&value) != nil {
			return nil
		}
		texts := map[string]*string{"origin": &s.origin, "scenario": &s.scenario, "scope": &s.scope, "type": &s.kind, "value": &s.value}
		member := name.(string)
		switch to, isText := texts[member]; {
		case value == nil:
		case isText:
			if *to, isText = value.(string); !isText {
				return nil
			}
		case member == "id":
			n, _ := value.(json.Number)
			if s.id, err = strconv.ParseUint(string(n), 10, 64); err != nil {
				return nil
			}
			hasID = true
		case member == "duration":
			d, _ := value.(string)
			if s.duration, err = time.ParseDuration(d); err != nil {
				return nil
			}
		case member == "simulated":
			if s.simulated, isText = value.(bool); !isText {
				return nil
			}
		}
	}
	if !hasID {
		return nil
	}
	return s
}

// A million decisions are decoded in bounded memory: what repeats is held once.
func BenchmarkDecode(b *testing.B) {
	const n = 10_000
	var text strings.Builder
	text.WriteString(`{"new":[`)
	for i := range n {
		if i > 0 {
			text.WriteByte(',')
		}
		text.WriteString(`{"duration":"71h59m59s","id":` + strconv.Itoa(math.MaxInt32+i) + `,"origin":"CAPI","scenario":"http:scan","scope":"Ip","type":"ban","value":"203.0.113.` + strconv.Itoa(i%256) + `"}`)
	}
	text.WriteString(`],"deleted":[]}`)
	b.ReportAllocs()
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		found := 0
		err := newDecoder(strings.NewReader(text.String())).decode(func(bool, *decision) error { found++; return nil })
		if err != nil || found != n {
			b.Fatal(found, err)
		}
	}
}
