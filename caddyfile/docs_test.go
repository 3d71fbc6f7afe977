package caddyfile_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	_ "github.com/caddy-ip-reputation/caddy-ip-reputation"
)

// wrapper is where a fragment may belong.
type wrapper struct{ name, text string }

// wrappers are tried in this order; %s is the fragment.
var wrappers = []wrapper{
	{"a whole file", "%s"},
	{"the block of a site", "app.example.com {\n%s\n}\n"},
	{"the global options", "{\n%s\n}\n"},
	{"`ip_reputation` in a site", "app.example.com {\n\tip_reputation {\n%s\n\t}\n}\n"},
	{"`ip_reputation` in the global options", "{\n\tip_reputation {\n%s\n\t}\n}\n"},
	{"a provider", "{\n\tip_reputation {\n\t\tprovider abuseipdb {\n%s\n\t\t}\n\t}\n}\n"},
	{"a log", "{\n\tlog {\n%s\n\t}\n}\n"},
}

// TestDocs holds that every Caddyfile that the documentation shows can be adapted: by itself, or, where it is a fragment, in
// the block that it belongs to. Nothing is provisioned: the files and variables that it names are somebody else's.
func TestDocs(t *testing.T) {
	found := 0
	for _, path := range documents(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range caddyfiles(t, path, string(text)) {
			found++
			t.Run(fmt.Sprintf("%s:%d", strings.TrimPrefix(path, "../"), block.line), func(t *testing.T) {
				var refused []string
				for _, w := range wrappers {
					if w.name == wrappers[0].name && !isWhole(block.text) {
						continue
					}
					_, err := adapt(fmt.Appendf(nil, w.text, block.text))
					if err == nil {
						return
					}
					refused = append(refused, fmt.Sprintf("as %s: %v", w.name, err))
				}
				t.Errorf("no Caddyfile, and no part of one that the test knows of (see `wrappers`):\n%s\n%s", block.text, strings.Join(refused, "\n"))
			})
		}
	}
	if found < 30 {
		t.Errorf("found %d Caddyfiles only", found)
	}
}

// documents are the pages, and the Caddyfiles among the files that operators are given.
func documents(t *testing.T) []string {
	t.Helper()
	paths := []string{"../README.md", "../CONTRIBUTING.md", "../SECURITY.md", "../Caddyfile.example"}
	if _, err := os.Stat("../SECURITY.md"); err != nil {
		paths = append(paths[:2], paths[3:]...)
	}
	for _, dir := range []string{"../docs", "../deploy"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			name := filepath.Base(path)
			if err == nil && !d.IsDir() && (strings.HasSuffix(name, ".md") || strings.HasSuffix(strings.ToLower(name), "caddyfile")) {
				paths = append(paths, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return paths
}

// document is a Caddyfile, or a part of one, and the line on which it begins.
type document struct {
	line int
	text string
}

var (
	fence = regexp.MustCompile("^( *)(```+)(\\w*)$")

	// what only Caddyfiles have: such a block must say what it is, or it would not be looked at
	looksLikeCaddyfile = regexp.MustCompile(`(?m)^\s*(ip_reputation\w*( [^|]*)?\{|reverse_proxy )`)

	// a here-document that a shell writes into a Caddyfile
	heredoc = regexp.MustCompile(`(?s)Caddyfile[^\n]*<<'?(\w+)'?\n(.*?)\n(\w+)(?:\n|$)`)
)

// caddyfiles returns the blocks of a page that are called `caddyfile`, and those that shells write; other files are whole.
func caddyfiles(t *testing.T, path, text string) (found []document) {
	t.Helper()
	if !strings.HasSuffix(path, ".md") {
		return []document{{1, text}}
	}
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		opening := fence.FindStringSubmatch(lines[i])
		if opening == nil {
			continue
		}
		begin := i + 1
		for i++; i < len(lines) && lines[i] != opening[1]+opening[2]; i++ {
			lines[i] = strings.TrimPrefix(lines[i], opening[1])
		}
		if i == len(lines) {
			t.Fatalf("%s:%d: the block has no end", path, begin)
		}
		block := strings.Join(lines[begin:i], "\n")
		switch language := opening[3]; {
		case language == "caddyfile":
			found = append(found, document{begin + 1, block + "\n"})
		case language == "sh":
			for _, m := range heredoc.FindAllStringSubmatch(block, -1) {
				if m[1] != m[3] {
					t.Errorf("%s:%d: a here-document that does not end with its word", path, begin)
				}
				found = append(found, document{begin + 1, m[2] + "\n"})
			}
		case language != "text" && looksLikeCaddyfile.MatchString(block):
			t.Errorf("%s:%d: this looks like a Caddyfile: write ```caddyfile above it, or ```text if it is none", path, begin)
		}
	}
	return found
}

var (
	comments = regexp.MustCompile(`(?m)^\s*#.*\n`)
	opening  = regexp.MustCompile(`^([^\n{]*(?:\{\$[^}]*\}[^\n{]*)*)\{[ \t]*(#[^\n]*)?\n`)
	address  = regexp.MustCompile(`^(\(\w+\)|.*[.:$].*|localhost),?$`)
)

// isWhole reports whether a text begins as a file does: with the global options, a snippet or a site. Options with blocks of
// their own would be taken for sites otherwise.
func isWhole(text string) bool {
	first := opening.FindStringSubmatch(strings.TrimLeft(comments.ReplaceAllString(text, ""), "\n"))
	if first == nil {
		return false
	}
	for word := range strings.FieldsSeq(first[1]) {
		if !address.MatchString(word) {
			return false
		}
	}
	return true
}
