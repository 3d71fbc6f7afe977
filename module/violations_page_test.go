package module

import (
	"fmt"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/pagetest"
)

// TestPageOfViolations holds that docs/violations.md has the violations that are built in, and their terms.
func TestPageOfViolations(t *testing.T) {
	table := "| violation | points | half-life | free | most | category | ban |\n|---|---|---|---|---|---|---|\n"
	for _, v := range builtIn() {
		ban := "–"
		if v.Ban > 0 {
			ban = days(v.Ban)
		}
		table += fmt.Sprintf("| `%s` | %v | %s | %d | %v | `%s` | %s |\n",
			v.Name, v.Points, days(v.HalfLife), v.Free, v.Most, v.Category, ban)
	}
	pagetest.Check(t, "../docs/violations.md", "<!-- made by TestPageOfViolations -->\n", table)
}

// days writes a duration of whole minutes as a Caddyfile has it.
func days(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d%day == 0:
		return fmt.Sprintf("%dd", d/day)
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dm", d/time.Minute)
}
