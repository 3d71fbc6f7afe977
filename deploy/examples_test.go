package deploy_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// says returns the categories that a service uses, by its settings.
func says(t *testing.T, settings json.RawMessage) (words []string) {
	t.Helper()
	var inline struct {
		Service string `json:"service"`
	}
	if err := json.Unmarshal(settings, &inline); err != nil {
		t.Fatal(err)
	}
	info, err := caddy.GetModule("ip_reputation.providers." + inline.Service)
	if err != nil {
		t.Fatal(err)
	}
	service, _ := info.New().(reputation.Provider)
	if err := json.Unmarshal(settings, service); err != nil {
		t.Fatal(err)
	}
	for category := range service.Profile().Capabilities.Categories.All() {
		words = append(words, category.String())
	}
	return words
}

// ruleWithCategory is a rule of a Caddyfile, up to its categories.
var ruleWithCategory = regexp.MustCompile(`(?m)^(\t+(?:pass|limit|block|drop|ban)\b[^#\n]* category )`)

// TestRulesOfExamplesCanHold holds that no rule of a Caddyfile that people copy asks for a category which none of its lists and services
// ever uses: such a rule protects nobody, and nothing would show it.
func TestRulesOfExamplesCanHold(t *testing.T) {
	presets := presetCategories(t)
	rules := 0
	for name, text := range copied(t) {
		asked, unmet := unmetCategories(t, text, presets)
		rules += asked
		for _, category := range unmet {
			t.Errorf("%s has a rule with `category %s`, which none of its sources ever uses", name, category)
		}
		// That it would be seen.
		broken := ruleWithCategory.ReplaceAllString(text, "${1}ddos,")
		if broken == text {
			continue
		}
		if _, unmet := unmetCategories(t, broken, presets); !slices.Contains(unmet, "ddos") {
			t.Errorf("%s: a rule with `category ddos` is not seen: %q", name, unmet)
		}
	}
	if rules < 6 {
		t.Errorf("found %d rules with a category only", rules)
	}
}

// copied returns the whole Caddyfiles that people copy: files, and blocks of pages that begin with the global options.
func copied(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, name := range []string{
		"Caddyfile.example", "deploy/compose/caddy/Caddyfile",
		"deploy/kubernetes/overlays/gateway/Caddyfile", "deploy/kubernetes/overlays/sidecar/Caddyfile",
	} {
		found[name] = deployed(t, name)
	}
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, "README.md", "deploy/README.md") {
		text := deployed(t, page)
		for _, m := range regexp.MustCompile("(?ms)^```caddyfile\n(\\{\n.*?)^```$").FindAllStringSubmatchIndex(text, -1) {
			found[fmt.Sprintf("%s:%d", page, strings.Count(text[:m[0]], "\n")+1)] = text[m[2]:m[3]]
		}
	}
	return found
}

// unmetCategories returns how many rules of a Caddyfile ask for categories, and those that no source of it uses.
func unmetCategories(t *testing.T, text string, presets map[string]string) (asked int, unmet []string) {
	t.Helper()
	var config struct {
		Apps struct {
			Reputation struct {
				Feeds []struct {
					Sources    []string `json:"sources"`
					Categories []string `json:"category"`
				} `json:"feeds"`
				Providers []struct {
					Service json.RawMessage `json:"service"`
				} `json:"providers"`
			} `json:"ip_reputation"`
		} `json:"apps"`
	}
	adaptedText := adapted(t, text)
	if err := json.Unmarshal(adaptedText, &config); err != nil {
		t.Fatal(err)
	}
	var used []string
	for _, feed := range config.Apps.Reputation.Feeds {
		used = append(used, feed.Categories...)
		for _, source := range feed.Sources {
			used = append(used, presets[source])
		}
	}
	for _, provider := range config.Apps.Reputation.Providers {
		used = append(used, says(t, provider.Service)...)
	}
	for _, rule := range rulesOf(t, adaptedText) {
		if len(rule.Category) > 0 {
			asked++
		}
		for _, category := range rule.Category {
			if !slices.Contains(used, category) {
				unmet = append(unmet, category)
			}
		}
	}
	return asked, unmet
}

type categoryRule struct {
	Category []string `json:"category"`
}

// rulesOf returns the rules of every handler in a configuration.
func rulesOf(t *testing.T, config []byte) (rules []categoryRule) {
	t.Helper()
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, item := range v {
				walk(item)
			}
		case map[string]any:
			if v["handler"] == "ip_reputation" {
				text, err := json.Marshal(v["rules"])
				if err != nil {
					t.Fatal(err)
				}
				var found []categoryRule
				if err := json.Unmarshal(text, &found); err != nil {
					t.Fatal(err)
				}
				rules = append(rules, found...)
			}
			for _, item := range v {
				walk(item)
			}
		}
	}
	var whole any
	if err := json.Unmarshal(config, &whole); err != nil {
		t.Fatal(err)
	}
	walk(whole)
	return rules
}

// presetCategories reads the table of presets in docs/sources.md.
func presetCategories(t *testing.T) map[string]string {
	t.Helper()
	_, table, ok := strings.Cut(deployed(t, "docs/sources.md"), "\n### Presets\n")
	table, _, ends := strings.Cut(table, "\n### ")
	if !ok || !ends {
		t.Fatal("docs/sources.md has no table of presets")
	}
	found := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| `(\\w+)`").FindAllStringSubmatch(table, -1) {
		found[row[1]] = row[2]
	}
	return found
}
