package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading  = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)
	noAnchor = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
	fenced   = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
)

// TestLinks holds that every link from one of our pages to another leads to a file, and to a heading of it.
func TestLinks(t *testing.T) {
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	deploy, err := filepath.Glob("../deploy/*.md")
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Glob("../*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range slices.Concat(pages, deploy, root) {
		for _, m := range link.FindAllStringSubmatch(fenced.ReplaceAllString(read(t, page), ""), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			found++
			path, anchor, _ := strings.Cut(m[1], "#")
			target := page
			if path != "" {
				target = filepath.Join(filepath.Dir(page), path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", page, m[1])
				continue
			}
			if anchor != "" && !slices.Contains(anchors(read(t, target)), anchor) {
				t.Errorf("%s: %s has no heading #%s", page, target, anchor)
			}
		}
	}
	if found < 50 {
		t.Errorf("found %d links only", found)
	}
}

// codePath is a folder or file of ours in a text, such as `module/handler/handler.go`.
var codePath = regexp.MustCompile("`((?:module|internal|caddyfile|bench|cmd|deploy|docs)/[\\w./]+)`")

// TestPaths holds that what our pages name of the code is there.
func TestPaths(t *testing.T) {
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range append(pages, "../CONTRIBUTING.md") {
		for _, m := range codePath.FindAllStringSubmatch(read(t, page), -1) {
			found++
			name := m[1]
			if strings.HasPrefix(name, "internal/") {
				name = "module/" + name
			}
			if _, err := os.Stat(filepath.Join("..", name)); err != nil {
				t.Errorf("%s: there is no %s", page, m[1])
			}
		}
	}
	if found < 30 {
		t.Errorf("found %d paths only", found)
	}
}

// anchors returns what GitHub calls the headings of a page.
func anchors(text string) (names []string) {
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		names = append(names, strings.ReplaceAll(noAnchor.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return names
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
