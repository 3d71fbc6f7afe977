package command

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

const (
	plotHeight = 8 // lines of the scores
	plotMargin = 7 // columns in front of a line
	plotLabel  = 5 // of them, for a word
	minPlot    = 10
)

// glyphs are the characters of a plot.
type glyphs struct {
	levels                        []rune // how full a cell is, the lowest first
	side, corner, cross, line, up rune
}

var (
	blockGlyphs = glyphs{[]rune("▁▂▃▄▅▆▇█"), '│', '└', '├', '─', '┬'}
	asciiGlyphs = glyphs{[]rune("...:::##"), '|', '+', '+', '-', '+'}
)

// plotColumns returns how many columns of a plot fit in a width.
func plotColumns(width int) int { return max(width-plotMargin, minPlot) }

// plot draws a graph: the highest score of each part, below it the requests of each action, below that the time. A
// part without a score stays empty, which differs from a score of 0. No line is longer than width, unless width is
// too small for minPlot columns.
func plot(graph history.Graph, width int, with glyphs) []string {
	parts := widen(graph.Parts, plotColumns(width))
	actions := actionsOf(parts)
	if len(actions) == 0 && !slices.ContainsFunc(parts, func(p history.Part) bool { return p.Score != nil }) {
		return nil
	}
	lines := with.scores(parts)
	most := int64(0)
	for _, p := range parts {
		for _, n := range p.Actions {
			most = max(most, n)
		}
	}
	if len(actions) > 0 {
		lines = append(lines, with.margin("", with.cross)+strings.Repeat(string(with.line), len(parts)))
	}
	for _, action := range actions {
		line := with.margin(action, with.side)
		for _, p := range parts {
			line += with.cell(glyphLevel(p.Actions[action], most, len(with.levels)))
		}
		lines = append(lines, line)
	}
	lines = append(lines, with.axis(parts, graph.Period.To)...)
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return append(lines, plotLegend(parts, graph.Period, most, with)...)
}

// widen joins neighbours until there are no more parts than columns.
func widen(parts []history.Part, columns int) (wide []history.Part) {
	each := (len(parts) + columns - 1) / columns
	for i, p := range parts {
		if i%max(each, 1) == 0 {
			p.Actions = maps.Clone(p.Actions)
			wide = append(wide, p)
			continue
		}
		last := &wide[len(wide)-1]
		if p.Score != nil && (last.Score == nil || *p.Score > *last.Score) {
			last.Score = p.Score
		}
		for action, n := range p.Actions {
			if last.Actions == nil {
				last.Actions = map[string]int64{}
			}
			last.Actions[action] += n
		}
	}
	return wide
}

// scores draws the highest scores. A score of 0 has the lowest level.
func (g glyphs) scores(parts []history.Part) (lines []string) {
	top, full := int64(plotHeight*len(g.levels)), len(g.levels)
	for row := range plotHeight {
		label := map[int]string{0: "100", plotHeight / 2: "50", plotHeight - 1: "0"}[row]
		line := g.margin(label, g.side)
		for _, p := range parts {
			height := 0
			if p.Score != nil {
				height = glyphLevel(min(int64(*p.Score), 100)+1, 101, int(top))
			}
			line += g.cell(min(max(height-(plotHeight-1-row)*full, 0), full))
		}
		lines = append(lines, line)
	}
	return lines
}

// glyphLevel returns the level of n. Whatever is above 0 has level 1 at least, so that it is seen.
func glyphLevel(n, most int64, highest int) int {
	if n <= 0 {
		return 0
	}
	return min(max(int(float64(n)/float64(most)*float64(highest)+.5), 1), highest)
}

func (g glyphs) cell(level int) string {
	if level == 0 {
		return " "
	}
	return string(g.levels[level-1])
}

func (g glyphs) margin(label string, side rune) string {
	label = clean(label)
	if utf8.RuneCountInString(label) > plotLabel {
		label = string([]rune(label)[:plotLabel])
	}
	return fmt.Sprintf("%*s %c", plotLabel, label, side)
}

// step is a distance between two marks of the time axis: a duration, or a number of calendar months.
type step struct {
	duration time.Duration // with months: the shortest
	months   int
}

const aDay = 24 * time.Hour

// steps are the possible distances, the shortest first.
var steps = []step{
	{duration: time.Minute}, {duration: 2 * time.Minute}, {duration: 5 * time.Minute},
	{duration: 10 * time.Minute}, {duration: 15 * time.Minute}, {duration: 30 * time.Minute},
	{duration: time.Hour}, {duration: 2 * time.Hour}, {duration: 3 * time.Hour}, {duration: 6 * time.Hour},
	{duration: 12 * time.Hour}, {duration: aDay}, {duration: 2 * aDay}, {duration: 7 * aDay}, {duration: 14 * aDay},
	{28 * aDay, 1}, {90 * aDay, 3}, {365 * aDay, 12},
}

// next returns the first mark at t or later.
func (s step) next(t time.Time) time.Time {
	t = t.UTC()
	if s.months == 0 {
		if mark := t.Truncate(s.duration); !mark.Before(t) {
			return mark
		}
		return t.Truncate(s.duration).Add(s.duration)
	}
	month := (int(t.Month()) - 1) / s.months * s.months // of the year, from 0
	mark := time.Date(t.Year(), time.Month(month+1), 1, 0, 0, 0, 0, time.UTC)
	if mark.Before(t) {
		mark = mark.AddDate(0, s.months, 0)
	}
	return mark
}

// label writes the time of a mark, such that it is the exact time of the mark.
func (s step) label(mark time.Time) string {
	switch {
	case s.months > 0:
		return mark.Format("2006-01")
	case mark.Equal(mark.Truncate(aDay)):
		return mark.Format("01-02")
	}
	return mark.Format("15:04")
}

// axis draws the marks of the time axis, and their labels below.
func (g glyphs) axis(parts []history.Part, end time.Time) []string {
	const apart = 9 // columns, so that a label and a space fit
	line, labels := []rune(strings.Repeat(string(g.line), len(parts))), []rune(strings.Repeat(" ", len(parts)))
	step, free := stepFor(parts, end, apart), 0
	for i, p := range parts {
		until := end
		if i+1 < len(parts) {
			until = parts[i+1].From
		}
		mark := step.next(p.From)
		if !mark.Before(until) {
			continue
		}
		line[i] = g.up
		label := []rune(step.label(mark))
		if i >= free && i+len(label) <= len(parts) {
			copy(labels[i:], label)
			free = i + len(label) + 1
		}
	}
	lines := []string{g.margin("", g.corner) + string(line)}
	if free > 0 {
		lines = append(lines, strings.Repeat(" ", plotMargin)+string(labels))
	}
	return lines
}

// stepFor returns the smallest step of at least so many columns.
func stepFor(parts []history.Part, end time.Time, columns int) step {
	each := eachPart(parts, end)
	for _, s := range steps {
		if s.duration/time.Duration(columns) >= each {
			return s
		}
	}
	return steps[len(steps)-1]
}

// eachPart returns the duration of a part. Only the last one may be shorter.
func eachPart(parts []history.Part, end time.Time) time.Duration {
	if len(parts) > 1 {
		end = parts[1].From
	}
	return max(end.Sub(parts[0].From), 0)
}

// plotLegend says how long a column is, and how many requests a full cell stands for.
func plotLegend(parts []history.Part, period history.Period, most int64, with glyphs) []string {
	text := "a column is " + span(eachPart(parts, period.To))
	if most > 0 {
		text += fmt.Sprintf("; %s is %s", with.cell(len(with.levels)), plural(most, "request"))
	}
	return []string{strings.Repeat(" ", plotMargin) + text}
}
