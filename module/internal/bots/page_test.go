package bots

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/pagetest"
)

// TestPage holds that docs/bots.md has every bot with what its row says, and no other.
func TestPage(t *testing.T) {
	pagetest.Check(t, "../../../docs/bots.md",
		"<!-- Made by `go test ./module/internal/bots -run TestPage -update`. -->\n", pageTable())
}

// pageTable is the table as Markdown.
func pageTable() string {
	var out strings.Builder
	out.WriteString("\n| operator | bot | tokens | published ranges | host names | a miss proves | sure | to know |\n" +
		"|---|---|---|---|---|---|---|---|\n")
	for i := range table {
		b := &table[i]
		ranges, names, miss, note := "–", "–", "nothing", b.Note
		if b.Ranges != nil {
			ranges = strings.Join(b.Ranges.URLs, " ")
		}
		if len(b.Names) > 0 {
			names = code(b.Names)
		}
		if b.NamesIPv4 {
			names += " (IPv4)"
		}
		if b.MissProves {
			miss = "a fake"
		}
		if b.Driven {
			note = strings.TrimSpace("Anybody can make it send requests. " + note)
		}
		fmt.Fprintf(&out, "| `%s` | `%s` | %s | %s | %s | %s | %s | %s |\n",
			b.Operator, b.Name, code(b.Tokens), ranges, names, miss, b.Sure, note)
	}
	out.WriteString("\n")
	return out.String()
}

func code(words []string) string { return "`" + strings.Join(words, "` `") + "`" }
