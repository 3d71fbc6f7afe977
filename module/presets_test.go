package module

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
)

var update = flag.Bool("update", false, "write the table of presets in docs/sources.md anew")

const (
	sourcesPage  = "../docs/sources.md"
	presetsBegin = "| preset | category | refresh | terms, as far as we know them |\n|---|---|---|---|\n"
	presetsEnd   = "<!-- end -->\n"
)

// TestPresetsPage holds that docs/sources.md has every preset with what the code says of it, and no other.
func TestPresetsPage(t *testing.T) {
	var table strings.Builder
	for _, name := range feed.PresetNames() {
		p, _ := feed.Preset(name)
		category := fmt.Sprintf("`%s`", p.Category)
		if p.Nature != nil {
			category += fmt.Sprintf("; nature `%s`", *p.Nature)
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", name, category, shortDuration(p.Spec.Refresh), p.Spec.Terms)
	}
	page, err := os.ReadFile(sourcesPage)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(page), presetsBegin)
	have, after, ends := strings.Cut(rest, presetsEnd)
	switch {
	case !begins || !ends:
		t.Fatalf("%s has no place for the table of presets", sourcesPage)
	case *update:
		text := before + presetsBegin + table.String() + presetsEnd + after
		if err := os.WriteFile(sourcesPage, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	case have != table.String():
		t.Errorf("the presets in %s are not those of the code: run `go test ./module -run TestPresetsPage -update`; the page has\n%swant\n%s",
			sourcesPage, have, table.String())
	}
}

// shortDuration writes a duration without the units that are zero: 12h, 30m.
func shortDuration(d time.Duration) string {
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if short, ok := strings.CutSuffix(text, zero); ok {
			text = short + zero[:1]
		}
	}
	return text
}

// TestEachPresetIsAFeed: a preset needs nothing but its name.
func TestEachPresetIsAFeed(t *testing.T) {
	for _, name := range feed.PresetNames() {
		f := Feed{Sources: []string{name}}
		if err := f.Check(); err != nil {
			t.Errorf("feed %s: %v", name, err)
		}
		l, err := f.list()
		if err != nil || l.spec.Name != name || l.meaning.Source.Name != name || l.meaning.Source.Weight <= 0 || l.meaning.Categories == 0 {
			t.Errorf("feed %s is %+v, %v", name, l.meaning, err)
		}
	}
}
