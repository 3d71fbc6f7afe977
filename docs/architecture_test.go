package docs_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestEngineIsLaidOut holds that CONTRIBUTING.md has each part of the engine with what it is for, and no other.
func TestEngineIsLaidOut(t *testing.T) {
	_, text, begins := strings.Cut(read(t, "../CONTRIBUTING.md"), "\n  internal/ ")
	text, _, ends := strings.Cut(text, "\n```")
	if !begins || !ends {
		t.Fatal("CONTRIBUTING.md does not say what is in module/internal")
	}
	var listed []string
	for _, m := range regexp.MustCompile(`(?m)^ {4}((?:\w+/ )+) *(\S.*)$`).FindAllStringSubmatch(text, -1) {
		for part := range strings.FieldsSeq(m[1]) {
			listed = append(listed, strings.TrimSuffix(part, "/"))
		}
	}
	entries, err := os.ReadDir("../module/internal")
	if err != nil {
		t.Fatal(err)
	}
	var parts []string
	for _, entry := range entries {
		if entry.IsDir() {
			parts = append(parts, entry.Name())
		}
	}
	for _, part := range parts {
		if !slices.Contains(listed, part) {
			t.Errorf("CONTRIBUTING.md does not say what module/internal/%s is for", part)
		}
	}
	for _, name := range listed {
		if !slices.Contains(parts, name) {
			t.Errorf("CONTRIBUTING.md has %s, which is no part of the engine", name)
		}
	}
}

const (
	graphBegins = "| package | imports |\n|---|---|\n"
	graphEnds   = "<!-- end -->\n"
)

// TestImportGraph holds that architecture.md shows which package imports which.
func TestImportGraph(t *testing.T) {
	var graph strings.Builder
	imports := importsOf(t)
	for _, pkg := range slices.Sorted(maps.Keys(imports)) {
		if len(imports[pkg]) > 0 {
			fmt.Fprintf(&graph, "| `%s` | %s |\n", pkg, strings.Join(imports[pkg], ", "))
		}
	}
	text := read(t, "architecture.md")
	before, rest, begins := strings.Cut(text, graphBegins)
	_, after, ends := strings.Cut(rest, graphEnds)
	if !begins || !ends {
		t.Fatal("architecture.md has no place for the graph")
	}
	want := before + graphBegins + graph.String() + graphEnds + after
	switch {
	case *update:
		if err := os.WriteFile("architecture.md", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	case text != want:
		t.Errorf("the graph in architecture.md is not that of the code: run `go test ./docs -run TestImportGraph -update`; it differs in\n%s",
			firstDifference(text, want))
	}
}

// importsOf returns, for each package of ours, which others it imports, tests left out.
func importsOf(t *testing.T) map[string][]string {
	t.Helper()
	short := func(pkg string) string { return strings.Replace(pkg, "module/internal/", "internal/", 1) }
	all := map[string]map[string]bool{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() && (name == "testdata" || path != root && strings.HasPrefix(name, ".")) {
			return filepath.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		pkg := short(filepath.ToSlash(dir))
		if all[pkg] == nil {
			all[pkg] = map[string]bool{}
		}
		for _, i := range file.Imports {
			if imported, ok := strings.CutPrefix(strings.Trim(i.Path.Value, `"`), modulePath+"/"); ok {
				all[pkg][short(imported)] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sorted := map[string][]string{}
	for pkg, imports := range all {
		sorted[pkg] = slices.Sorted(maps.Keys(imports))
	}
	return sorted
}
