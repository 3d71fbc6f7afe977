package command

import (
	"math"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// graphOf is a graph of the time before 2026-11-26 12:00. A score of -1 stands for none.
func graphOf(each time.Duration, scores []int, actions map[string][]int64) history.Graph {
	to := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	g := history.Graph{Period: history.Period{From: to.Add(-each * time.Duration(len(scores))), To: to}}
	for i, score := range scores {
		p := history.Part{From: g.Period.From.Add(each * time.Duration(i))}
		if score >= 0 {
			p.Score = new(uint8(score))
		}
		for action, counts := range actions {
			if counts[i] > 0 {
				if p.Actions == nil {
					p.Actions = map[string]int64{}
				}
				p.Actions[action] = counts[i]
			}
		}
		g.Parts = append(g.Parts, p)
	}
	return g
}

// scan is an address that is unknown at first, then rises, is blocked, and goes away.
func scan() history.Graph {
	scores, actions := make([]int, 72), map[string][]int64{"pass": make([]int64, 72), "limit": make([]int64, 72), "block": make([]int64, 72)}
	for i := range scores {
		switch {
		case i < 12 || i >= 60:
			scores[i] = -1
			continue
		case i < 36:
			scores[i] = (i - 12) * 3
			actions["pass"][i] = int64(i)
		default:
			scores[i] = min(100, 70+(i-36)*3)
		}
		switch {
		case scores[i] >= 85:
			actions["block"][i] = int64(4 * (60 - i))
		case scores[i] >= 50:
			actions["limit"][i] = 8
		}
	}
	return graphOf(time.Hour, scores, actions)
}

func TestPlot(t *testing.T) {
	full := make([]int, 40)
	for i := range full {
		full[i] = 100
	}
	for _, tc := range []struct {
		name  string
		graph history.Graph
		width int
		with  glyphs
		want  string
	}{
		{"three days", scan(), 80, blockGlyphs, `
  100 │                                           ▂▄▆██████████████
      │                                      ▁▃▅▆██████████████████
      │                                 ▁▂▄▅▇██████████████████████
      │                             ▁▃▅▇███████████████████████████
   50 │                         ▁▃▅▇███████████████████████████████
      │                     ▂▄▆▇███████████████████████████████████
      │                 ▂▄▆████████████████████████████████████████
    0 │            ▁▃▄▆████████████████████████████████████████████
      ├────────────────────────────────────────────────────────────────────────
 pass │            ▁▁▁▂▂▂▂▂▂▂▂▂▃▃▃▃▃▃▃▃▃▃▄▄
limit │                             ▁▁▁▁▁▁▁▁▁▁▁▁
block │                                         ██▇▇▆▆▅▅▅▄▄▃▃▃▂▂▁▁▁
      └┬───────────┬───────────┬───────────┬───────────┬───────────┬───────────
       12:00       11-24       12:00       11-25       12:00       11-26
       a column is 1h0m; █ is 76 requests`},
		{"three days, ASCII", scan(), 80, asciiGlyphs, `
  100 |                                           .::##############
      |                                      ..::##################
      |                                 ..::#######################
      |                             ..:############################
   50 |                         ..:################################
      |                     .::####################################
      |                 .::########################################
    0 |            ..::############################################
      +------------------------------------------------------------------------
 pass |            ......................::
limit |                             ............
block |                                         ####:::::::........
      ++-----------+-----------+-----------+-----------+-----------+-----------
       12:00       11-24       12:00       11-25       12:00       11-26
       a column is 1h0m; # is 76 requests`},
		{"narrow: neighbours are joined", scan(), 40, blockGlyphs, `
  100 │              ▄█████
      │            ▁▆██████
      │           ▄████████
      │         ▁▇█████████
   50 │        ▃███████████
      │       ▆████████████
      │     ▂██████████████
    0 │    ▄███████████████
      ├────────────────────────
 pass │    ▂▂▂▃▃▃▄▄
limit │         ▁▁▁▁▁
block │             ▃█▇▅▄▂▁
      └────────────┬───────────
                   11-25
       a column is 3h0m; █ is 204 requests`},
		{"all 100, no requests", graphOf(24*time.Hour, full, nil), 80, blockGlyphs, `
  100 │████████████████████████████████████████
      │████████████████████████████████████████
      │████████████████████████████████████████
      │████████████████████████████████████████
   50 │████████████████████████████████████████
      │████████████████████████████████████████
      │████████████████████████████████████████
    0 │████████████████████████████████████████
      └────────┬─────────────┬─────────────┬───
               10-26         11-09
       a column is 1d0h`},
		{"one point", graphOf(time.Hour, []int{50}, map[string][]int64{"pass": {1}}), 80, blockGlyphs, `
  100 │
      │
      │
      │
   50 │█
      │█
      │█
    0 │█
      ├─
 pass │█
      └─
       a column is 1h0m; █ is 1 request`},
		{"0 is not unknown", graphOf(time.Minute, []int{0, -1, 0, 1, -1, 2, 49, 50, 51, -1, -1, 0}, nil), 80, blockGlyphs, `
  100 │
      │
      │
      │        ▁
   50 │      ███
      │      ███
      │      ███
    0 │▁ ▁▁ ▂███  ▁
      └──┬─────────
         11:50
       a column is 1m0s`},
		{"requests of which nothing was known", graphOf(time.Hour, []int{-1, -1}, map[string][]int64{"pass": {0, 3}}), 80, blockGlyphs, `
  100 │
      │
      │
      │
   50 │
      │
      │
    0 │
      ├──
 pass │ █
      └──
       a column is 1h0m; █ is 3 requests`},
		{"unknown actions", graphOf(time.Hour, []int{-1}, map[string][]int64{"\x1b[2Jtarpit": {3}}), 80, blockGlyphs, `
  100 │
      │
      │
      │
   50 │
      │
      │
    0 │
      ├─
�[2Jt │█
      └─
       a column is 1h0m; █ is 3 requests`},
		{"nothing", graphOf(time.Hour, []int{-1, -1}, nil), 80, blockGlyphs, ``},
		{"no parts", history.Graph{}, 80, blockGlyphs, ``},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := strings.Join(plot(tc.graph, tc.width, tc.with), "\n")
			if diff := cmp.Diff(strings.TrimPrefix(tc.want, "\n"), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestPlotFits proves that no graph makes a line that is too long, that is no text, or that is more than a plot has.
func TestPlotFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.OneOf(rapid.Int64Range(-1, 100), rapid.SampledFrom([]int64{math.MinInt64, math.MaxInt64}))
		part := rapid.Custom(func(t *rapid.T) history.Part {
			p := history.Part{
				From:    time.Unix(rapid.Int64Range(-1<<40, 1<<40).Draw(t, "from"), 0),
				Actions: rapid.MapOfN(rapid.SampledFrom([]string{"pass", "block", "\x1b[2J", "möglicherweise"}), count, 0, 3).Draw(t, "actions"),
			}
			if rapid.Bool().Draw(t, "known") {
				p.Score = new(rapid.Uint8().Draw(t, "score"))
			}
			return p
		})
		graph := history.Graph{Parts: rapid.SliceOfN(part, 0, 300).Draw(t, "parts")}
		graph.Period.To = time.Unix(rapid.Int64Range(-1<<40, 1<<40).Draw(t, "to"), 0)
		width := rapid.IntRange(-5, 300).Draw(t, "width")
		with := rapid.SampledFrom([]glyphs{blockGlyphs, asciiGlyphs}).Draw(t, "with")
		lines := plot(graph, width, with)
		if len(lines) > plotHeight+8 {
			t.Fatalf("%d lines", len(lines))
		}
		for i, line := range lines {
			longest := max(width, plotMargin+minPlot)
			if i == len(lines)-1 { // the legend is a sentence
				longest = max(longest, 80)
			}
			if n := utf8.RuneCountInString(line); n > longest {
				t.Fatalf("%d characters in %d columns: %q", n, width, line)
			}
			if j := strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }); j >= 0 {
				t.Fatalf("%q does not print", line)
			}
		}
	})
}

// TestMarksAreWhatTheySay proves that the label of a mark is its exact time, and that no mark is left out.
func TestMarksAreWhatTheySay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.SampledFrom(steps).Draw(t, "step")
		from := time.Unix(rapid.Int64Range(0, 1<<32).Draw(t, "from"), 0)
		mark := s.next(from)
		if mark.Before(from) || s.next(mark) != mark {
			t.Fatalf("the mark after %s is %s, and after that %s", from, mark, s.next(mark))
		}
		if again := s.next(mark.Add(1)); again.Sub(mark) < s.duration || again.Sub(mark) > s.duration+4*aDay {
			t.Fatalf("%s and %s are marks of %v", mark, again, s)
		}
		form := "15:04"
		switch label := s.label(mark); {
		case len(label) == len("2006-01"):
			form = "2006-01"
		case strings.Contains(label, "-"):
			form = "01-02"
		}
		said, err := time.Parse(form, s.label(mark))
		if err != nil {
			t.Fatal(err)
		}
		exact := mark
		switch form {
		case "15:04":
			exact = time.Date(0, 1, 1, mark.Hour(), mark.Minute(), mark.Second(), mark.Nanosecond(), time.UTC)
		case "01-02":
			exact = time.Date(0, mark.Month(), mark.Day(), mark.Hour(), mark.Minute(), mark.Second(), 0, time.UTC)
		}
		if !said.Equal(exact) {
			t.Fatalf("the mark %s is labelled %s", mark, s.label(mark))
		}
	})
}

// TestAxisOfYears proves that the marks of a long plot are the beginnings of months.
func TestAxisOfYears(t *testing.T) {
	g := graphOf(5*aDay, make([]int, 73), nil)
	axis := strings.Join(asciiGlyphs.axis(g.Parts, g.Period.To), "\n")
	if want := strings.TrimPrefix(`
      +-------+-----------------+-----------------+-----------------+-----------
              2026-01           2026-04           2026-07           2026-10`, "\n"); strings.TrimRight(axis, " ") != want {
		t.Errorf("\n%s\nwant\n%s", axis, want)
	}
}
