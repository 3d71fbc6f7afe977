package dnsbl

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/pagetest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
)

// TestPage holds that docs/sources.md has every preset with what its row says, and no other.
func TestPage(t *testing.T) {
	var table strings.Builder
	for _, word := range words() {
		l := presets[word]
		zone := strings.NewReplacer("{address}.", "", "{key}.", "").Replace(l.question)
		fmt.Fprintf(&table, "| `%s` | %s | %g | `%s` |\n", word, zone, l.weight*l.trust, l.group)
	}
	pagetest.Check(t, "../../../docs/sources.md", "| word | zone | points | group |\n|---|---|---|---|\n", table.String())
}

// What the lists say gives the scores that it should: enough to be asked for in a rule, never enough for a verdict.
func TestScores(t *testing.T) {
	for _, tc := range []struct {
		list     string
		codes    []code
		min, max float64
	}{
		{"zen", []code{std(2)}, 30, 60},
		{"zen", []code{std(2), std(9)}, 40, 60},
		{"zen", []code{std(10)}, 0, 1},
		{"zen", nil, 0, .99},
		{"dronebl", []code{std(13)}, 1, 5},
		{"httpbl", []code{{127, 0, 100, 4}}, 20, 40},
		{"httpbl", []code{{127, 0, 5, 0}}, 0, 1},
		{"spamcop", []code{std(2)}, 1, 3},
		{"torexit", []code{std(100)}, 3, 9.9},
		{"bl.example.org", []code{std(2)}, 2, 5},
	} {
		d := DNSBL{List: tc.list}
		l, err := d.chosen()
		if err != nil {
			t.Fatal(err)
		}
		report, err := l.report(answer{codes: tc.codes}, visitor, now)
		if err != nil {
			t.Fatal(err)
		}
		source := score.OfProfile(l.name, d.Profile())
		evidence := score.Evidence{Source: &source, Severity: report.Severity, Confidence: report.Confidence, Categories: report.Categories}
		if got, _ := score.Judge([]score.Evidence{evidence}, nil); got < tc.min || got > tc.max {
			t.Errorf("%s %v: %.2f %%, want %v to %v", tc.list, tc.codes, got, tc.min, tc.max)
		}
	}
	sure := score.OfProfile("own", (&DNSBL{List: "bl.example.org", Weight: maxWeight}).Profile())
	sure.Trust = 1
	if got, _ := score.Judge([]score.Evidence{{Source: &sure, Severity: 1, Confidence: 1}}, nil); got > 80 {
		t.Errorf("a list of the most weight and trust gives %.1f %%", got)
	}
}
