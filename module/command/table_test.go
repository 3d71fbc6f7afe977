package command

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// TestTableFits proves that any table fits in any width, that no word is lost, and that a word is whole.
func TestTableFits(t *testing.T) {
	word := rapid.StringMatching(`[a-zé]{1,20}`)
	rapid.Check(t, func(t *rapid.T) {
		width := rapid.IntRange(48, 120).Draw(t, "width") // an indent and the longest word fit
		rows := rapid.SliceOfN(rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string {
			return strings.Join(rapid.SliceOfN(word, 0, 6).Draw(t, "words"), " ")
		}), 1, 6), 1, 5).Draw(t, "rows")
		for i := range rows {
			for j := range rows[i][:len(rows[i])-1] { // columns of one word
				rows[i][j], _, _ = strings.Cut(rows[i][j], " ")
			}
		}
		table := newTable(rows, width)
		for _, row := range rows {
			lines := table.layOut(row)
			for _, line := range lines {
				if n := utf8.RuneCountInString(line); n > width {
					t.Fatalf("%d characters in %d columns: %q", n, width, line)
				}
			}
			got, want := strings.Fields(strings.Join(lines, " ")), strings.Fields(strings.Join(row, " "))
			if !slices.Equal(got, want) {
				t.Fatalf("the words are %q, want %q", got, want)
			}
			if one := newTable(rows, 0).layOut(row); len(one) != 1 {
				t.Fatalf("without a width there are %d lines", len(one))
			}
		}
	})
}

// TestPagesFit proves that the widest pages fit in a terminal of 80 columns.
func TestPagesFit(t *testing.T) {
	at := func(text string) time.Time {
		when, err := time.Parse(time.DateTime, "2026-11-"+text)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	score := uint8(92)
	view := historyView{width: 80}
	view.more = func(string, history.Period) string { return "caddy ip-reputation history --after x" }
	for name, tc := range map[string]struct {
		show func(*page)
		want string
	}{
		"rules": {func(p *page) {
			view.rules(p, history.Rules{Period: history.Period{From: at("25 12:00:00")}, Rules: []history.RuleStats{
				{
					Rule: "block score 85", Action: "block", Mode: "enforce", Host: "app.example.com",
					Requests: 34, Addresses: 2, First: at("26 11:00:00"), Last: at("26 11:59:59"),
				},
				{Action: "pass", Mode: "observe", Requests: 1234567, Addresses: 4321, First: at("26 11:00:00"), Last: at("26 11:59:59")},
			}})
		}, `
what was decided from 2026-11-25 12:00:00 UTC

REQUESTS  ADDRESSES  ACTION           RULE            HOST
          FIRST (UTC)          LAST (UTC)
34        2          block (enforce)  block score 85  app.example.com
          2026-11-26 11:00:00  2026-11-26 11:59:59
1234567   4321       pass (observe)   -               -
          2026-11-26 11:00:00  2026-11-26 11:59:59
`},
		"timeline of one of many": {func(p *page) {
			view.timeline(p, adminapi.Timeline{Timeline: history.Timeline{Prefix: netip.MustParsePrefix("203.0.113.7/32"), Together: []history.Together{
				{Prefix: netip.MustParsePrefix("203.0.113.0/24"), Requests: 4200}, {Prefix: netip.MustParsePrefix("0.0.0.0/0"), Requests: 7},
			}}})
		}, `
203.0.113.7 is not in the history
more of its requests may be among those of many clients that were counted
together: 4200 of 203.0.113.0/24, 7 of 0.0.0.0/0
`},
		"timeline": {func(p *page) {
			d := history.Decision{
				Host: "app.example.com", Rule: "limit 10/1m score 50", Action: "limit", Mode: "enforce", Count: 34,
				RequestID: "0af7651916cd43dd8448eb211c80319c", Score: &score,
			}
			c := history.Change{Score: score, Status: "fresh", Evidence: []history.Evidence{
				{Source: "abuseipdb", Points: 28.8}, {Source: "firehol_level1", Points: 24}, {Source: "tor_exits", Points: 8},
			}}
			view.timeline(p, adminapi.Timeline{Timeline: history.Timeline{Prefix: netip.MustParsePrefix("203.0.113.7/32"), Entries: []history.Entry{
				{At: at("26 11:59:59"), Decision: &d}, {At: at("26 11:58:03"), Verdict: &c},
			}}})
		}, `
203.0.113.7

TIME (UTC)           SCORE  ACTION           REQUESTS  RULE
                     HOST             REQUEST ID
2026-11-26 11:59:59  92     limit (enforce)  34        limit 10/1m score 50
                     app.example.com  0af7651916cd43dd8448eb211c80319c
2026-11-26 11:58:03  92       verdict, fresh: +28.8 abuseipdb, +24
                     firehol_level1, +8 tor_exits
`},
	} {
		out := new(strings.Builder)
		p := newPage(out, 80)
		tc.show(p)
		if err := p.flush(); err != nil {
			t.Fatal(err)
		}
		if want := strings.TrimPrefix(tc.want, "\n"); want != "" && out.String() != want {
			t.Errorf("%s:\n%s\nwant\n%s", name, out, want)
		}
		for line := range strings.Lines(out.String()) {
			if n := utf8.RuneCountInString(line) - 1; n > 80 {
				t.Errorf("%s: %d columns: %s", name, n, line)
			}
		}
	}
}
