package docs_test

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// TestProviderPageShowsTheExample holds that the provider on the page, and its test, are those that run.
func TestProviderPageShowsTheExample(t *testing.T) {
	rest := read(t, "providers.md")
	for _, file := range []string{"example_test.go", "example_batch_test.go", "example_contract_test.go"} {
		_, shown, begins := strings.Cut(rest, "```go\n")
		shown, after, ends := strings.Cut(shown, "```")
		if !begins || !ends {
			t.Fatalf("providers.md does not show what is in module/provider/rest/%s", file)
		}
		if !strings.Contains(read(t, "../module/provider/rest/"+file), shown) {
			t.Errorf("the code in providers.md is not that of module/provider/rest/%s: copy it", file)
		}
		rest = after
	}
}

// TestProviderPageHasTheProfile holds that every field of a profile is on the page, and no other.
func TestProviderPageHasTheProfile(t *testing.T) {
	_, table, _ := strings.Cut(read(t, "providers.md"), "## The profile")
	table, _, _ = strings.Cut(table, "## ")
	listed := map[string]bool{}
	for _, row := range strings.Split(table, "\n") {
		cell, _, _ := strings.Cut(strings.TrimPrefix(row, "| "), " |")
		if !strings.HasPrefix(row, "| `") {
			continue
		}
		for _, m := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(cell, -1) {
			listed[m[1]] = true
		}
	}
	profile := reflect.TypeFor[reputation.Profile]()
	for i := range profile.NumField() {
		if name := profile.Field(i).Name; !listed[name] {
			t.Errorf("providers.md does not say what Profile.%s is", name)
		}
	}
	for name := range listed {
		if _, known := profile.FieldByName(name); !known {
			t.Errorf("providers.md has %s, which a profile has not", name)
		}
	}
}
