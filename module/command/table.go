package command

import (
	"strings"
	"unicode/utf8"
)

const (
	columnGap = 2  // spaces between two columns
	maxIndent = 24 // of the lines on which a row goes on
)

// table aligns the cells of rows. The last cell of a row may be long: no column is as wide as it.
type table struct {
	width   int   // of a line; 0: unlimited
	columns []int // the width of each column
	breaks  []bool
	indent  int
}

// newTable measures rows. A column that does not fit in the line begins a new one, in all rows.
func newTable(rows [][]string, width int) *table {
	t := &table{width: width}
	full := 0 // cells of the longest row
	for _, row := range rows {
		full = max(full, len(row))
	}
	t.columns, t.breaks = make([]int, full), make([]bool, full)
	needs := make([]int, full)
	for _, row := range rows {
		for i, cell := range row {
			n := utf8.RuneCountInString(cell)
			if i < len(row)-1 {
				t.columns[i] = max(t.columns[i], n)
			}
			if i < len(row)-1 || len(row) == full {
				needs[i] = max(needs[i], n)
			}
		}
	}
	if full > 1 {
		t.indent = min(t.columns[0]+columnGap, maxIndent)
	}
	at := 0
	for i, n := range needs {
		if width > 0 && at > t.indent && at+n > width {
			t.breaks[i], at = true, t.indent
		}
		at += t.columns[i] + columnGap
	}
	return t
}

// layOut returns the lines of a row.
func (t *table) layOut(row []string) (lines []string) {
	line, at := "", 0
	newLine := func() {
		lines = append(lines, strings.TrimRight(line, " "))
		line, at = strings.Repeat(" ", t.indent), t.indent
	}
	for i, cell := range row {
		if t.breaks[i] {
			newLine()
		}
		if i < len(row)-1 {
			line += cell + strings.Repeat(" ", t.columns[i]-utf8.RuneCountInString(cell)+columnGap)
			at += t.columns[i] + columnGap
			continue
		}
		for t.width > 0 && at+utf8.RuneCountInString(cell) > t.width {
			head, tail, ok := cutWords(cell, t.width-at)
			if at > t.indent && at+utf8.RuneCountInString(head) > t.width {
				newLine()
				continue
			}
			if !ok {
				break
			}
			line += head
			newLine()
			cell = tail
		}
		line += cell
	}
	return append(lines, strings.TrimRight(line, " "))
}

// cutWords cuts text at the last space within width characters, or else at the first one. It reports false if
// there is none.
func cutWords(text string, width int) (head, tail string, ok bool) {
	cut, n := -1, 0
	for i, r := range text {
		if r == ' ' && (n <= width || cut < 0) {
			cut = i
		}
		n++
	}
	if cut < 0 {
		return text, "", false
	}
	return text[:cut], text[cut+1:], true
}
