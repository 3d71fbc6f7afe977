// Package docs_test holds that the pages of this folder say what is.
package docs_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

var update = flag.Bool("update", false, "write reference.md anew")

const page = "reference.md"

// TestReference makes docs/reference.md of the configuration's types, their comments and the examples, and holds that the
// page is that. It fails for a field without a comment, a default, or an example that sets it, and for a word of the syntax that no
// example uses: so nothing can be added to the configuration that is not on the page.
func TestReference(t *testing.T) {
	sections := readSections(t)
	known := map[string]bool{}
	for _, s := range sections {
		for _, f := range s.fields {
			known[s.name()+"."+f.name] = true
			if !hasDefault.MatchString(f.doc) {
				t.Errorf("%s.%s: its comment says neither `Default:` nor that it is required", s.typ, f.name)
			}
		}
		if len(s.fields) == 0 {
			known[s.name()] = true
		}
		if s.module != "" && s.syntax == "" {
			t.Errorf("%s: the function that reads it from a Caddyfile has no syntax in its comment", s.typ)
		}
	}
	for key := range examples {
		if !known[key] {
			t.Errorf("reference_examples_test.go has an example for %s, which there is not: remove it", key)
		}
	}
	for key := range frames {
		if !slices.ContainsFunc(sections, func(s *section) bool { return s.name() == key }) {
			t.Errorf("reference_examples_test.go has a frame for %s, which there is not: remove it", key)
		}
	}
	checkWords(t, sections)

	text := render(t, sections)
	if t.Failed() {
		t.Fatal("the page is not written: mend the above first")
	}
	if *update {
		if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != text {
		t.Errorf("docs/%s is not what the configuration is: run `go test ./docs -run TestReference -update`; it differs in\n%s",
			page, firstDifference(string(have), text))
	}
}

// hasDefault finds what a comment says of a field that is left out.
var hasDefault = regexp.MustCompile(`Default( port)?:|[Rr]equired`)

func firstDifference(have, want string) string {
	h, w := strings.Split(have, "\n"), strings.Split(want, "\n")
	for i := range min(len(h), len(w)) {
		if h[i] != w[i] {
			at := 0
			for at < min(len(h[i]), len(w[i])) && h[i][at] == w[i][at] {
				at++
			}
			at = max(at-40, 0)
			return fmt.Sprintf("line %d:\n- …%s\n+ …%s", i+1, h[i][at:], w[i][at:])
		}
	}
	return fmt.Sprintf("its length: %d lines, want %d", len(h), len(w))
}

// checkWords holds that each word that a syntax names is in an example.
func checkWords(t *testing.T, sections []*section) {
	t.Helper()
	used := map[string]bool{}
	for _, e := range examples {
		for word := range strings.FieldsSeq(e.line) {
			used[word] = true
		}
	}
	for _, s := range sections {
		for i, line := range strings.Split(s.syntax, "\n") {
			word := strings.Fields(line + " }")[0]
			if i == 0 && s.module != "" {
				continue // its own name
			}
			if !strings.ContainsAny(word, "<[}") && !used[word] {
				t.Errorf("%s: no example in reference_examples_test.go uses %q, which its syntax names", s.typ, word)
			}
		}
	}
}

const introduction = `# Configuration reference

<!-- Made by ` + "`go test ./docs -run TestReference -update`" + ` from the comments of the Go types and reference_examples_test.go: change those. -->

Every option, as JSON and in a Caddyfile. Each has an example, which the tests adapt. New here? Begin with
[getting started](getting-started.md). The same by subject, with more explanation: [sources](sources.md), [rules](rules.md),
[score](score.md), [keys](keys.md), [Redis](redis.md), [history](history.md), [errors](errors.md).

- All sites share the app ` + "`ip_reputation`" + `: a block of that name in the **global options** of a Caddyfile, ` +
	"`apps.ip_reputation`" + ` in JSON.
- Each site decides by the handler and the directive ` + "`ip_reputation`" + `. Its conditions are also a matcher.
- Durations are ` + "`250ms`, `30s`, `6h`, `1d`" + ` in a Caddyfile, and the same texts in JSON, or numbers of nanoseconds, which
  ` + "`caddy adapt`" + ` writes.
- ` + "`{env.NAME}` and `{file./path}`" + ` are resolved when the configuration is loaded, or later if the option says so. Their values never
  go back into the configuration. ` + "`{$NAME}`" + ` is Caddy's own: Caddy replaces it before it reads anything, so do not use it for secrets.

`

// render returns the page.
func render(t *testing.T, sections []*section) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(introduction)
	for _, s := range sections {
		indent := ""
		if s.module == "" {
			indent = "  "
		}
		fmt.Fprintf(&b, "%s- [%s](#%s)%s\n", indent, s.name(), anchor(s), suffixed(" · `", s.module, "`"))
	}
	for _, s := range sections {
		fmt.Fprintf(&b, "\n## %s\n\n", s.name())
		fmt.Fprintf(&b, "%s\n\n%s", whereabouts(s), doc(s.doc))
		if s.syntax != "" {
			fmt.Fprintf(&b, "\n```text\n%s\n```\n", s.syntax)
		}
		if s.notes != "" {
			fmt.Fprintf(&b, "\n%s\n", s.notes)
		}
		if e, ok := examples[s.name()]; ok && len(s.fields) == 0 {
			if _, err := adaptExample(s.name(), e); err != nil {
				t.Errorf("the example of %s: %v", s.name(), err)
			}
			fmt.Fprintf(&b, "\n```caddyfile\n%s\n```\n", e.line)
		}
		if len(s.fields) == 0 {
			continue
		}
		b.WriteString("\n| JSON | Caddyfile, and the JSON it becomes | |\n|---|---|---|\n")
		for _, f := range s.fields {
			row(t, &b, s, f, sections)
		}
	}
	return b.String()
}

// whereabouts says where a type stands.
func whereabouts(s *section) string {
	if len(s.inline) > 0 {
		return "Among the options of " + list(s.inline, func(name string) string { return fmt.Sprintf("[%s](#%s)", name, strings.ToLower(name)) }) + "."
	}
	if s.module != "" {
		return fmt.Sprintf("Module `%s`.", s.module)
	}
	return "In JSON: " + list(s.places, func(p place) string { return fmt.Sprintf("`%s` of `%s`", p.path, p.module) }) + "."
}

func list[T any](all []T, text func(T) string) string {
	var texts []string
	for _, one := range all {
		texts = append(texts, text(one))
	}
	return strings.Join(texts, ", ")
}

func suffixed(before, text, after string) string {
	if text == "" {
		return ""
	}
	return before + text + after
}

// doc returns a comment as Markdown: “ `code` “ is the same in both, and so are paragraphs.
func doc(comment string) string { return strings.TrimSpace(escape(comment)) + "\n" }

// escape keeps what looks like a tag of HTML, outside of code.
func escape(text string) string {
	parts := strings.Split(text, "`")
	for i := 0; i < len(parts); i += 2 {
		parts[i] = strings.ReplaceAll(parts[i], "<", `\<`)
	}
	return strings.Join(parts, "`")
}

// row writes what the page says of one field.
func row(t *testing.T, b *strings.Builder, s *section, f field, sections []*section) {
	t.Helper()
	key := s.name() + "." + f.name
	e, ok := examples[key]
	if !ok {
		t.Errorf("%s: no example: add %q to `examples` in docs/reference_examples_test.go", s.typ, key)
		return
	}
	config, err := adaptExample(s.name(), e)
	if err != nil {
		t.Errorf("the example of %s, %q: %v", key, e.line, err)
		return
	}
	value, err := find(config, frames[s.name()].path, f.name)
	if err != nil {
		t.Errorf("the example of %s, %q, does not set it: %v\n%s", key, e.line, err, compact(config))
		return
	}
	if elem, _ := element(f.typ); elem == reflect.TypeFor[caddy.Duration]() {
		value = shortDuration(value)
	}
	path := f.name
	if s.module == "" && len(s.inline) == 0 {
		path = "…." + path
		if len(s.places) == 1 {
			path = s.places[0].path + "." + f.name
		}
	}
	cell := func(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
	fmt.Fprintf(b, "| `%s`<br>%s | `%s`<br>`%s` | %s |\n", path, kind(f, sections),
		cell(e.line), cell(fmt.Sprintf("%q: %s", f.name, compact(value))), cell(strings.Join(strings.Fields(escape(f.doc)), " ")))
}

// adaptExample returns the JSON that the example of a type becomes, in its frame. The example must contain its word.
func adaptExample(typ string, e example) (any, error) {
	c, ok := frames[typ]
	if !ok {
		return nil, fmt.Errorf("no frame: say in `frames` of docs/reference_examples_test.go where options of %s stand", typ)
	}
	first := strings.Fields(e.line)[0]
	word := e.word
	if word == "" {
		word = first
	}
	if !slices.Contains(strings.Fields(e.line), word) {
		return nil, fmt.Errorf("it does not contain the word %q", word)
	}
	lines := e.line
	if e.with != "" {
		lines += "\n" + e.with
	}
	whole := c.caddyfile
	if e.in != "" {
		whole = e.in
	} else if c.usual != "" && !slices.ContainsFunc(strings.Split(lines, "\n"), func(l string) bool { return slices.Contains(c.unless, strings.Fields(l)[0]) }) {
		lines += "\n" + c.usual
	}
	input := fmt.Sprintf(whole, lines)
	text, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(input), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return nil, fmt.Errorf("%w in\n%s", err, input)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var config any
	return config, d.Decode(&config)
}

// find returns the member of the object at a path: members, positions, and `name=value` for the first object that has it.
func find(config any, path, member string) (any, error) {
	at := config
	for step := range strings.SplitSeq(path, "/") {
		name, value, search := strings.Cut(step, "=")
		var ok bool
		switch {
		case search:
			at, ok = firstWith(at, name, value)
		default:
			at, ok = child(at, step)
		}
		if !ok {
			return nil, fmt.Errorf("there is no %s of %s", step, path)
		}
	}
	value, ok := child(at, member)
	if !ok {
		return nil, fmt.Errorf("%s has no %s", path, member)
	}
	return value, nil
}

func child(at any, step string) (any, bool) {
	switch at := at.(type) {
	case map[string]any:
		v, ok := at[step]
		return v, ok
	case []any:
		i, err := strconv.Atoi(step)
		if err != nil || i >= len(at) {
			return nil, false
		}
		return at[i], true
	}
	return nil, false
}

// firstWith returns the first object, from the top, one of whose members has a value.
func firstWith(at any, name, value string) (any, bool) {
	switch at := at.(type) {
	case map[string]any:
		if at[name] == value {
			return at, true
		}
		for _, key := range slices.Sorted(maps.Keys(at)) {
			if found, ok := firstWith(at[key], name, value); ok {
				return found, true
			}
		}
	case []any:
		for _, item := range at {
			if found, ok := firstWith(item, name, value); ok {
				return found, true
			}
		}
	}
	return nil, false
}

// shortDuration writes nanoseconds as people do.
func shortDuration(value any) string {
	n, err := value.(json.Number).Int64()
	if err != nil || n == 0 {
		return "0"
	}
	text := time.Duration(n).String()
	if cut, ok := strings.CutSuffix(text, "m0s"); ok {
		text = strings.TrimSuffix(cut+"m", "h0m")
		if !strings.HasSuffix(text, "m") {
			text += "h"
		}
	}
	return text
}

func compact(value any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return err.Error()
	}
	return strings.TrimSpace(b.String())
}
