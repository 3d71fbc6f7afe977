package command

import (
	"fmt"
	"io"
	"time"
)

// page writes an answer for people: rows of aligned cells. Rows that are too long for the terminal go
// on in the next line.
type page struct {
	out   io.Writer
	width int // of a line; 0: unlimited
	now   time.Time

	rows [][]string // since the last gap
	err  error
}

func newPage(w io.Writer, width int) *page {
	return &page{out: w, width: width, now: time.Now()}
}

// row writes one row. Cells can hold foreign text, which must not move the cursor of a terminal or forge a line.
func (p *page) row(cells ...string) {
	for i := range cells {
		cells[i] = clean(cells[i])
	}
	p.rows = append(p.rows, cells)
}

// line writes one line as it is, however long: a command to copy, or a line of a plot.
func (p *page) line(text string) {
	p.writeRows()
	p.write(clean(text))
}

// gap writes an empty line. Columns above and below it are aligned separately.
func (p *page) gap() { p.line("") }

// flush writes what is left, and returns the first error.
func (p *page) flush() error {
	p.writeRows()
	return p.err
}

func (p *page) write(line string) {
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.out, line)
	}
}

// writeRows writes the rows since the last gap.
func (p *page) writeRows() {
	t := newTable(p.rows, p.width)
	for _, row := range p.rows {
		for _, line := range t.layOut(row) {
			p.write(line)
		}
	}
	p.rows = nil
}

// label returns the name of a group for its first row, and nothing for the others.
func label(name string, i int) string {
	if i > 0 {
		return ""
	}
	return name
}

func (p *page) warning(text string) {
	if text != "" {
		p.row("warning: " + text)
	}
}
