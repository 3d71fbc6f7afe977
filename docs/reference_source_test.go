package docs_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	_ "github.com/caddy-ip-reputation/caddy-ip-reputation"
)

const (
	modulePath = "github.com/caddy-ip-reputation/caddy-ip-reputation"
	root       = ".."
)

// section is one type of the configuration: what the registered modules are made of.
type section struct {
	typ    reflect.Type
	module string   // the ID, where the type is a module
	places []place  // where it stands in the JSON, the first one first
	inline []string // the types among whose fields its own stand

	doc    string
	syntax string // of the Caddyfile
	notes  string // what follows the syntax
	fields []field
}

// place is a path of the JSON inside of a module: "" is the module itself.
type place struct{ module, path string }

// field is an option in the JSON.
type field struct {
	name      string
	typ       reflect.Type
	namespace string // of the guest modules that it holds
	doc       string
}

func (s *section) name() string { return s.typ.Name() }

// ranks is the order of the page: what sites share, what sites say, what else Caddy is given, guest modules.
var ranks = []string{"ip_reputation", "http.handlers.", "http.matchers.", "events.", "caddy.", "ip_reputation.providers.", "ip_reputation.secrets."}

func rank(id string) int {
	best := len(ranks)
	for i, r := range ranks {
		if id == r || strings.HasSuffix(r, ".") && strings.HasPrefix(id, r) {
			best = i
		}
	}
	return best
}

// readSections returns every type that holds configuration, in the order of the page: that of the registered modules, and
// behind each the types of its fields, as deep as they go. A type that is added appears by itself.
func readSections(t *testing.T) []*section {
	t.Helper()
	var infos []caddy.ModuleInfo
	for _, name := range caddy.Modules() {
		if info, err := caddy.GetModule(name); err == nil && isOurs(typeOf(info)) {
			infos = append(infos, info)
		}
	}
	slices.SortStableFunc(infos, func(a, b caddy.ModuleInfo) int {
		if d := rank(string(a.ID)) - rank(string(b.ID)); d != 0 {
			return d
		}
		return strings.Compare(string(a.ID), string(b.ID))
	})
	w := walk{t: t, source: readSource(t), known: map[reflect.Type]*section{}}
	for _, info := range infos {
		w.visit(typeOf(info), place{module: string(info.ID)}, "").module = string(info.ID)
	}
	names := map[string]bool{}
	for _, s := range w.sections {
		if names[s.name()] {
			t.Fatalf("two types of the configuration are called %s: the reference cannot tell them apart, rename one", s.name())
		}
		names[s.name()] = true
	}
	// what has nothing to set, such as the admin API, has no place here
	return slices.DeleteFunc(w.sections, func(s *section) bool { return len(s.fields) == 0 && s.typ.NumField() == 0 })
}

func typeOf(info caddy.ModuleInfo) reflect.Type {
	typ := reflect.TypeOf(info.New())
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	return typ
}

// walk collects the types of the configuration.
type walk struct {
	t        *testing.T
	source   *source
	known    map[reflect.Type]*section
	sections []*section
}

// visit notes that a type stands at a place; inline is the type that embeds it.
func (w *walk) visit(typ reflect.Type, at place, inline string) *section {
	s := w.known[typ]
	if s == nil {
		s = w.source.section(w.t, typ)
		w.known[typ] = s
		w.sections = append(w.sections, s)
	}
	if inline != "" && !slices.Contains(s.inline, inline) {
		s.inline = append(s.inline, inline)
	}
	if !slices.Contains(s.places, at) {
		s.places = append(s.places, at)
	}
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct && isOurs(f.Type):
			w.visit(f.Type, at, typ.Name())
		case name == "" || name == "-":
		default:
			if elem, suffix := element(f.Type); isOurs(elem) && elem.Kind() == reflect.Struct {
				w.visit(elem, place{at.module, strings.TrimPrefix(at.path+"."+name+suffix, ".")}, "")
			}
		}
	}
	return s
}

func isOurs(typ reflect.Type) bool { return strings.HasPrefix(typ.PkgPath(), modulePath) }

// element returns what a type holds, and how its place is written behind the name of the field.
func element(typ reflect.Type) (elem reflect.Type, suffix string) {
	for {
		switch typ.Kind() {
		case reflect.Pointer:
			typ = typ.Elem()
		case reflect.Slice, reflect.Array:
			typ, suffix = typ.Elem(), suffix+"[]"
		case reflect.Map:
			typ, suffix = typ.Elem(), suffix+".<name>"
		default:
			return typ, suffix
		}
	}
}

// source is what the Go files say: comments of types and fields, and the syntax that stands above the functions that read it.
type source struct {
	fset  *token.FileSet
	types map[string]*ast.GenDecl // by folder and name
	specs map[string]*ast.TypeSpec
	read  map[string]string // the comments of functions that read a Caddyfile, by folder and name of what they fill in

	readers map[string]string // what these functions fill in, by their names, which a syntax says `see` of
	dirs    map[string]bool
}

func readSource(t *testing.T) *source {
	t.Helper()
	s := &source{
		fset: token.NewFileSet(), types: map[string]*ast.GenDecl{}, specs: map[string]*ast.TypeSpec{},
		read: map[string]string{}, readers: map[string]string{}, dirs: map[string]bool{},
	}
	s.folder(t, "caddyfile")
	return s
}

// folder reads a folder once.
func (s *source) folder(t *testing.T, dir string) {
	t.Helper()
	if s.dirs[dir] {
		return
	}
	s.dirs[dir] = true
	paths, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no Go files in %s: %v", dir, err)
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(s.fset, path, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			switch decl := decl.(type) {
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					if spec, ok := spec.(*ast.TypeSpec); ok {
						s.types[dir+" "+spec.Name.Name], s.specs[dir+" "+spec.Name.Name] = decl, spec
					}
				}
			case *ast.FuncDecl:
				s.reader(dir, decl)
			}
		}
	}
}

// reader stores the comment of a function that reads a Caddyfile, for the type that it fills in: its receiver, or the first
// type of our modules that its parameters, or else its body, name.
func (s *source) reader(dir string, f *ast.FuncDecl) {
	doc := f.Doc.Text()
	if f.Recv != nil {
		if f.Name.Name == "UnmarshalCaddyfile" {
			receiver := f.Recv.List[0].Type
			if star, ok := receiver.(*ast.StarExpr); ok {
				receiver = star.X
			}
			s.read[dir+" "+receiver.(*ast.Ident).Name] = doc
		}
		return
	}
	if !strings.Contains(doc, "Syntax:") {
		return
	}
	for _, part := range []ast.Node{f.Type, f.Body} {
		found, from := "", ""
		ast.Inspect(part, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr: // module.CheckWait(…) names no type
				fun, ok := n.Fun.(*ast.SelectorExpr)
				return !ok || folderOf(fun) == ""
			case *ast.SelectorExpr:
				if dir := folderOf(n); found == "" && dir != "" && ast.IsExported(n.Sel.Name) {
					found, from = n.Sel.Name, dir
				}
			}
			return found == ""
		})
		if found != "" {
			s.read[from+" "+found] = doc
			s.readers[f.Name.Name] = found
			return
		}
	}
}

// folderOf returns the folder of the modules that a name of another package is from, or the empty string.
func folderOf(n *ast.SelectorExpr) string {
	x, ok := n.X.(*ast.Ident)
	if !ok {
		return ""
	}
	switch x.Name {
	case "module":
		return x.Name
	case "api", "handler", "health", "provider", "secret":
		return "module/" + x.Name
	}
	return ""
}

// section reads what the source says of a type.
func (s *source) section(t *testing.T, typ reflect.Type) *section {
	t.Helper()
	dir := strings.TrimPrefix(strings.TrimPrefix(typ.PkgPath(), modulePath), "/")
	s.folder(t, dir)
	decl, spec := s.types[dir+" "+typ.Name()], s.specs[dir+" "+typ.Name()]
	if decl == nil {
		t.Fatalf("type %s is not in %s", typ, dir)
	}
	sec := &section{typ: typ, doc: decl.Doc.Text()}
	if spec.Doc != nil {
		sec.doc = spec.Doc.Text()
	}
	if sec.doc == "" {
		t.Errorf("%s: %s has no comment", s.fset.Position(spec.Pos()), typ.Name())
	}
	sec.syntax, sec.notes = cutSyntax(s.read[dir+" "+typ.Name()])
	for function, name := range s.readers {
		sec.syntax = strings.ReplaceAll(sec.syntax, "<see "+function+">", "<see "+name+">")
	}
	comments := map[string]string{}
	for _, f := range spec.Type.(*ast.StructType).Fields.List {
		for _, name := range f.Names {
			comments[name.Name] = f.Doc.Text()
			if comments[name.Name] == "" && f.Tag != nil && strings.Contains(f.Tag.Value, "json:") {
				t.Errorf("%s: %s.%s has no comment: say what it does, when it matters and its `Default:`",
					s.fset.Position(f.Pos()), typ.Name(), name)
			}
		}
	}
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" || !f.IsExported() {
			continue
		}
		sec.fields = append(sec.fields, field{name: name, typ: f.Type, namespace: namespace(f.Tag.Get("caddy")), doc: comments[f.Name]})
	}
	return sec
}

func namespace(tag string) string {
	for part := range strings.FieldsSeq(tag) {
		if n, ok := strings.CutPrefix(part, "namespace="); ok {
			return n
		}
	}
	return ""
}

// cutSyntax returns the indented lines of a comment, and what follows them.
func cutSyntax(doc string) (syntax, notes string) {
	var block, rest []string
	for line := range strings.Lines(doc) {
		line = strings.TrimRight(line, "\n")
		inner, ok := strings.CutPrefix(line, "\t")
		switch {
		case ok:
			words := strings.TrimLeft(inner, " ")
			block = append(block, strings.Repeat("\t", (len(inner)-len(words))/4)+words)
		case len(block) > 0:
			rest = append(rest, line)
		}
	}
	return strings.Join(block, "\n"), strings.TrimSpace(strings.Join(rest, "\n"))
}

// kind says in words what a field holds, with links to the sections of types and modules.
func kind(f field, sections []*section) string {
	if f.namespace != "" {
		var guests []string
		for _, s := range sections {
			if strings.HasPrefix(s.module, f.namespace+".") {
				guests = append(guests, fmt.Sprintf("[`%s`](#%s)", strings.TrimPrefix(s.module, f.namespace+"."), anchor(s)))
			}
		}
		return "one of " + strings.Join(guests, ", ")
	}
	elem, suffix := element(f.typ)
	what := map[reflect.Kind]string{
		reflect.String: "text", reflect.Bool: "true or false", reflect.Float64: "number",
		reflect.Int: "whole number", reflect.Int64: "whole number", reflect.Uint32: "whole number",
	}[elem.Kind()]
	switch {
	case f.typ == reflect.TypeFor[json.RawMessage]():
		return "JSON"
	case elem == reflect.TypeFor[caddy.Duration]():
		what = "duration"
	case isOurs(elem) && elem.Kind() == reflect.Struct:
		what = fmt.Sprintf("[%s](#%s)", elem.Name(), strings.ToLower(elem.Name()))
	}
	switch {
	case strings.HasPrefix(suffix, "."):
		return "object, " + what + " by name"
	case suffix != "":
		return "list of " + what
	}
	return what
}

func anchor(s *section) string { return strings.ToLower(s.name()) }
