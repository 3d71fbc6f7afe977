package bots

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the table of bots in docs/bots.md anew")

// TestPage holds that docs/bots.md has every bot with what its row says, and no other.
func TestPage(t *testing.T) {
	const (
		path  = "../../../docs/bots.md"
		begin = "<!-- Made by `go test ./module/internal/bots -run TestPage -update`. -->\n"
		end   = "<!-- end -->\n"
	)
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(page), begin)
	have, after, ends := strings.Cut(rest, end)
	want := pageTable()
	switch {
	case !begins || !ends:
		t.Fatalf("%s has no place for the table of bots", path)
	case *update:
		if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	case have != want:
		t.Errorf("the bots in %s are not those of the code: run `go test ./module/internal/bots -run TestPage -update`\n%s",
			path, cmp.Diff(have, want))
	}
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
