package docs_test

import (
	"os"
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
