package handler

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/pagetest"
)

// TestPageOfDefaultViolations holds that docs/violations.md has what `violations default` recognizes.
func TestPageOfDefaultViolations(t *testing.T) {
	code := func(words []string) string { return "`" + strings.Join(words, "` `") + "`" }
	table := "| violation | recognized by |\n|---|---|\n"
	for _, rule := range defaultViolations() {
		var by []string
		if len(rule.Path) > 0 {
			by = append(by, "path "+code(rule.Path))
		}
		if len(rule.Status) > 0 {
			by = append(by, "status "+code(rule.Status))
		}
		if len(rule.NotPath) > 0 {
			by = append(by, "but not path "+code(rule.NotPath))
		}
		table += fmt.Sprintf("| `%s` | %s |\n", rule.Name, strings.Join(by, ", "))
	}
	pagetest.Check(t, "../../docs/violations.md", "<!-- made by TestPageOfDefaultViolations -->\n", table)
}
