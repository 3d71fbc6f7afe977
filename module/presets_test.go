package module

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/pagetest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/preset"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/secret"
)

// TestPresetsPage holds that docs/sources.md has every preset with what its row says, and no other.
func TestPresetsPage(t *testing.T) {
	pagetest.Check(t, "../docs/sources.md",
		"<!-- Made by `go test ./module -run TestPresetsPage -update`. -->\n", presetTables())
}

// presetTables returns a table for each kind of preset.
func presetTables() string {
	var out strings.Builder
	for _, table := range []struct {
		intro   string
		belongs func(preset.Preset) bool
	}{
		{"**Attackers.** `feed` gives their addresses points, `deny` refuses them.", preset.Preset.Accuses},
		{
			"**What an address is.** That is no abuse, and gives few points. Rules ask for it: `nature`, or `source` for one " +
				"list.",
			func(p preset.Preset) bool { return p.Weight > 0 && !p.Accuses() },
		},
		{
			"**Labels.** They give no points. `exempt` takes them, and rules ask for them: `source`, or `nature relay`.",
			func(p preset.Preset) bool { return p.Weight == 0 },
		},
	} {
		fmt.Fprintf(&out, "\n%s\n\n| preset | category | an entry means | points | refresh | old after | IPv6 | "+
			"terms, as far as we know them | form |\n"+
			"|---|---|---|---|---|---|---|---|---|\n", table.intro)
		for _, name := range preset.Names() {
			if p, _ := preset.Find(name); table.belongs(p) {
				fmt.Fprintln(&out, presetRow(p))
			}
		}
	}
	return out.String()
}

func presetRow(p preset.Preset) string {
	var category []string
	if p.Categories != 0 {
		category = append(category, "`"+p.Categories.String()+"`")
	}
	if p.Nature.Some() {
		category = append(category, "nature `"+p.Nature.String()+"`")
	}
	if len(category) == 0 {
		category = []string{"none"}
	}
	points := "0"
	if p.Weight > 0 {
		points = fmt.Sprintf("%.1f, group `%s`", p.Weight*p.Confidence, p.Group)
	}
	refresh := shortDuration(p.Refresh)
	switch {
	case len(p.URLs) == 0:
		refresh = "your file's"
	case p.MinRefresh < p.Refresh:
		refresh += fmt.Sprintf(" (not below %s)", shortDuration(p.MinRefresh))
	}
	old := fmt.Sprintf("%dd", p.MaxAge/(24*time.Hour))
	if p.MaxAge == preset.Steady {
		old = "never"
	}
	terms := p.Terms
	if p.NeedsKey() {
		terms = "**needs your `key`**; " + terms
	}
	ipv6 := "no"
	if p.IPv6 {
		ipv6 = "yes"
	}
	cells := []string{
		"`" + p.Name + "`", strings.Join(category, "; "), p.Says, points, refresh, old, ipv6, terms, string(p.Sure),
	}
	return "| " + strings.Join(cells, " | ") + " |"
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

// TestEachPresetIsAFeed: a preset needs nothing but its name, and its key or its file if the row says so.
func TestEachPresetIsAFeed(t *testing.T) {
	for _, name := range preset.Names() {
		p, _ := preset.Find(name)
		f := Feed{Sources: []string{name}}
		if len(p.URLs) == 0 {
			f.Sources = append(f.Sources, "/var/lib/lists/"+name)
		}
		if p.NeedsKey() {
			f.Key = &secret.Secret{Value: "{env.KEY}"}
		}
		if err := f.Check(); err != nil {
			t.Errorf("feed %s: %v", name, err)
		}
		l, err := f.list()
		if err != nil || l.spec.Name != name || l.meaning.Source.Name != name || l.meaning.Categories != p.Categories ||
			l.meaning.Nature != p.Nature || l.meaning.Source.Weight != p.Weight {
			t.Errorf("feed %s is %+v, %v", name, l.meaning, err)
		}
	}
}
