package e2e_test

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What docs/logs.md promises is held here: each name that an entry of ours can have is in it, each entry that somebody may
// have to act on, and nothing else.

const docs = "../../docs/"

// logCall is a place in the source that logs.
type logCall struct {
	level, message string
	at             string
	names          []string
}

// levels are the levels by the methods that log.
var levels = map[string]string{
	"Debug": "debug", "Info": "info", "Warn": "warn", "Error": "error",
	"DebugContext": "debug", "InfoContext": "info", "WarnContext": "warn", "ErrorContext": "error",
	"Infow": "info", "Warnw": "warn",
}

// slogAttrs are the functions that make an attribute of a name and a value.
var slogAttrs = []string{"String", "Any", "Int", "Int64", "Uint64", "Float64", "Bool", "Duration", "Time", "Group"}

// readEntries returns all places that log, and all names that they use.
func readEntries(tb testing.TB) (entries []logCall, names map[string]string) {
	tb.Helper()
	names = map[string]string{}
	fset := token.NewFileSet()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == "testenv" || d.Name() == "testdata" || d.Name() == "providertest" || d.Name() == "recordtest") {
			return cmp.Or(err, fs.SkipDir)
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if e, ok := entryOf(call); ok {
				e.at = fset.Position(call.Pos()).String()
				entries = append(entries, e)
				for _, name := range e.names {
					names[name] = e.at
				}
			}
			if name, ok := attrOf(call); ok {
				names[name] = fset.Position(call.Pos()).String()
			}
			return true
		})
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return entries, names
}

// entryOf reads a call that logs: method(message, names and values), with a context before the message or without.
func entryOf(call *ast.CallExpr) (e logCall, ok bool) {
	args, name := call.Args, ""
	switch f := call.Fun.(type) {
	case *ast.SelectorExpr:
		name = f.Sel.Name
	case *ast.Ident: // log := logger.Warn
		if f.Name == "log" {
			name = "Warn"
		}
	}
	e.level = levels[name]
	switch {
	case name == "LogAttrs" && len(args) > 2:
		level, _ := args[1].(*ast.SelectorExpr)
		e.level = strings.ToLower(strings.TrimPrefix(level.Sel.Name, "Level"))
		args = args[2:]
	case strings.HasSuffix(name, "Context") && len(args) > 1:
		args = args[1:]
	}
	if e.level == "" || len(args) == 0 {
		return e, false
	}
	e.message, ok = constant(args[0])
	if !ok || !strings.Contains(e.message, " ") && e.message != "decision" && e.message != "violation" {
		return e, false
	}
	for i, rest := 0, args[1:]; i < len(rest); i++ {
		if name, ok := constant(rest[i]); ok {
			e.names = append(e.names, name)
			i++ // its value
		}
	}
	return e, true
}

// attrOf reads a call that makes an attribute.
func attrOf(call *ast.CallExpr) (name string, ok bool) {
	if f, ok := call.Fun.(*ast.Ident); ok && f.Name == "fingerprintAttr" {
		return constant(call.Args[0])
	}
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) < 2 {
		return "", false
	}
	if f.Sel.Name == "With" {
		return constant(call.Args[0])
	}
	from, ok := f.X.(*ast.Ident)
	switch {
	case !ok:
		return "", false
	case from.Name == "slog" && slices.Contains(slogAttrs, f.Sel.Name), from.Name == "zap" && f.Sel.Name != "Error",
		from.Name == "enc" && strings.HasPrefix(f.Sel.Name, "Add"):
		return constant(call.Args[0])
	}
	return "", false
}

// constant is a text in the source, which may be put together from several.
func constant(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil && e.Kind == token.STRING
	case *ast.BinaryExpr:
		a, aOK := constant(e.X)
		b, bOK := constant(e.Y)
		return a + b, aOK && bOK
	}
	return "", false
}

// TestEveryEntryIsDocumented holds that docs/logs.md has each warning and each error with what to do, in its level.
func TestEveryEntryIsDocumented(t *testing.T) {
	text := readDocs(t)
	entries, _ := readEntries(t)
	if len(entries) < 50 {
		t.Fatalf("found %d entries only", len(entries))
	}
	rows := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\| (warn|error|info) \| (.+?) \| (.+) \|$`).FindAllStringSubmatch(text, -1) {
		rows[strings.ReplaceAll(m[2], "`", "")] = m[1]
	}
	said := map[string]bool{}
	for _, e := range entries {
		message := strings.ReplaceAll(e.message, "`", "")
		said[message] = true
		switch level, ok := rows[message]; {
		case e.level == "debug" || e.level == "info" && !ok:
		case !ok:
			t.Errorf("%s: docs/logs.md does not say what to do about the %s %q", e.at, e.level, e.message)
		case level != e.level:
			t.Errorf("%s: docs/logs.md calls %q a %s, it is a %s", e.at, e.message, level, e.level)
		}
	}
	for message := range rows {
		if !said[message] {
			t.Errorf("docs/logs.md has %q, which nobody says", message)
		}
	}
}

// TestEveryNameIsDocumented holds that docs/logs.md has each name that our entries use, and no other.
func TestEveryNameIsDocumented(t *testing.T) {
	text := readDocs(t)
	_, names := readEntries(t)
	for _, m := range regexp.MustCompile(`"(\w+)", e\.|named\("(\w+)"`).FindAllStringSubmatch(sources(t), -1) {
		names[m[1]+m[2]] = "a list of attributes"
	}
	rows := map[string]bool{}
	_, table, _ := strings.Cut(text, "<!-- names -->")
	for _, m := range regexp.MustCompile("(?m)^\\| (`[^|]+`) \\| ").FindAllStringSubmatch(table, -1) {
		for _, path := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(m[1], -1) {
			parts := strings.Split(path[1], ".")
			for _, part := range parts {
				rows[strings.TrimSuffix(part, "[]")] = true
			}
		}
	}
	for name, at := range names {
		if !rows[name] {
			t.Errorf("%s: docs/logs.md does not explain %q", at, name)
		}
	}
	for name := range rows {
		if names[name] == "" {
			t.Errorf("docs/logs.md explains %q, which nobody writes", name)
		}
	}
}

func readDocs(tb testing.TB) string {
	tb.Helper()
	text, err := os.ReadFile(docs + "logs.md")
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// sources are the texts in which attributes are collected before they are logged.
func sources(tb testing.TB) (all string) {
	tb.Helper()
	for _, path := range []string{"../internal/ban/merge.go", "../internal/secret/log.go"} {
		text, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		all += string(text)
	}
	return all
}
