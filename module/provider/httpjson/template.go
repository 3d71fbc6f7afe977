package httpjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// The placeholders that each call fills in.
const (
	ipMark  = "{ip}"
	keyMark = "{key}"
)

// template is a text with placeholders.
type template []part

// part is a literal text, or a placeholder with its braces.
type part struct {
	text string
	mark bool
}

// parseTemplate reads a text such as "Bearer {key}". Errors do not repeat literal text, which may be secret.
func parseTemplate(source string) (template, error) {
	var t template
	for source != "" {
		before, rest, opens := strings.Cut(source, "{")
		if strings.Contains(before, "}") {
			return nil, errors.New("it has a } without a {")
		}
		if before != "" {
			t = append(t, part{text: before})
		}
		if !opens {
			break
		}
		name, after, closes := strings.Cut(rest, "}")
		mark := "{" + name + "}"
		switch {
		case !closes:
			return nil, errors.New("it has a { without a }")
		case mark != ipMark && mark != keyMark && !strings.HasPrefix(name, "env.") && !strings.HasPrefix(name, "file."):
			return nil, fmt.Errorf("unknown placeholder %s: use {ip}, {key}, {env.NAME} or {file./path}", mark)
		}
		t, source = append(t, part{mark, true}), after
	}
	return t, nil
}

// has reports whether the template has a placeholder.
func (t template) has(mark string) bool { return slices.Contains(t, part{mark, true}) }

// perCall reports whether the text differs from call to call.
func (t template) perCall() bool { return t.has(ipMark) || t.has(keyMark) }

// cut divides a template at the first separator in its literal text.
func (t template) cut(separator string) (before, after template, found bool) {
	for i, p := range t {
		if p.mark {
			continue
		}
		if left, right, ok := strings.Cut(p.text, separator); ok {
			before = append(slices.Clone(t[:i]), literal(left)...)
			return before, append(literal(right), t[i+1:]...), true
		}
	}
	return t, nil, false
}

func literal(text string) template {
	if text == "" {
		return nil
	}
	return template{{text: text}}
}

// split divides a template at all separators in its literal text.
func (t template) split(separator string) (list []template) {
	for {
		before, after, found := t.cut(separator)
		list = append(list, before)
		if !found {
			return list
		}
		t = after
	}
}

// decode replaces the literal text.
func (t template) decode(unescape func(string) (string, error)) (template, error) {
	decoded := slices.Clone(t)
	for i, p := range t {
		if p.mark {
			continue
		}
		text, err := unescape(p.text)
		if err != nil {
			return nil, errors.New("it has a '%' that begins no %XX: write it as %25")
		}
		decoded[i].text = text
	}
	return decoded, nil
}

// resolve returns the template with the global placeholders replaced. Values are not looked at again: braces in
// them are literal.
func (t template) resolve(repl *caddy.Replacer) (template, error) {
	r := slices.Clone(t)
	for i, p := range t {
		if !p.mark || p.text == ipMark || p.text == keyMark {
			continue
		}
		value, err := repl.ReplaceOrErr(p.text, true, true)
		value = strings.TrimSpace(value) // files end in a line break
		switch {
		case err != nil || value == "":
			return nil, fmt.Errorf("%s is empty: check that the variable is set, or that the file can be read, where Caddy runs",
				p.text)
		case strings.ContainsFunc(value, isControl):
			return nil, fmt.Errorf("the value of %s has a control character, such as a line break", p.text)
		}
		r[i] = part{text: value}
	}
	return r, nil
}

func isControl(c rune) bool { return c < ' ' || c == 0x7f }

// fill returns the text for one call of a template that is resolved.
func (t template) fill(q reputation.Query) string {
	if len(t) == 1 && !t[0].mark {
		return t[0].text
	}
	var b strings.Builder
	for _, p := range t {
		switch {
		case !p.mark:
			b.WriteString(p.text)
		case p.text == ipMark:
			b.WriteString(q.Addr.String())
		case p.text == keyMark:
			b.WriteString(q.Key)
		}
	}
	return b.String()
}

// document is the JSON of a request's body. Its strings are templates.
type document struct{ value any }

// parseDocument reads a body, with its strings parsed as templates.
func parseDocument(source []byte) (*document, error) {
	if len(source) == 0 {
		return nil, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(source))
	decoder.UseNumber() // as written
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, errors.New("it is not JSON: write an object such as `{\"ip\": \"{ip}\"}`, between backticks")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("it has more after its end: write one object or list")
	}
	switch value.(type) {
	case map[string]any, []any:
	default:
		return nil, errors.New("it is neither an object nor a list: " +
			"write one such as `{\"ip\": \"{ip}\"}`, between backticks")
	}
	value, err := walk(value, func(s any) (any, error) { return parseTemplate(s.(string)) })
	return &document{value}, err
}

// walk returns a copy of a JSON value with each string or template in it replaced.
func walk(value any, replace func(any) (any, error)) (any, error) {
	switch v := value.(type) {
	case map[string]any:
		object := make(map[string]any, len(v))
		for name, member := range v {
			if strings.Contains(name, "{") {
				return nil, errors.New("the name of a member has a {: write placeholders into values")
			}
			var err error
			if object[name], err = walk(member, replace); err != nil {
				return nil, err
			}
		}
		return object, nil
	case []any:
		list := make([]any, len(v))
		for i, element := range v {
			var err error
			if list[i], err = walk(element, replace); err != nil {
				return nil, err
			}
		}
		return list, nil
	case string, template:
		return replace(v)
	}
	return value, nil
}

func (d *document) resolve(repl *caddy.Replacer) (*document, error) {
	if d == nil {
		return nil, nil
	}
	value, err := walk(d.value, func(t any) (any, error) { return t.(template).resolve(repl) })
	return &document{value}, err
}

// fill returns the JSON for one call, or nil without a body.
func (d *document) fill(q reputation.Query) any {
	if d == nil {
		return nil
	}
	value, _ := walk(d.value, func(t any) (any, error) { return t.(template).fill(q), nil })
	return value
}
