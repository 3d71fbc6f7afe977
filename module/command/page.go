package command

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// page is what a person reads: rows of cells, aligned.
type page struct {
	out *tabwriter.Writer
	now time.Time
}

func newPage(w io.Writer) *page {
	return &page{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0), time.Now()}
}

// row writes one line. Cells hold text from outside, which must not move the cursor of a terminal or forge a line.
func (p *page) row(cells ...string) {
	for i := range cells {
		cells[i] = clean(cells[i])
	}
	fmt.Fprintln(p.out, strings.Join(cells, "\t"))
}

// gap writes an empty line, which ends the alignment of the columns above.
func (p *page) gap() { fmt.Fprintln(p.out) }

func (p *page) flush() error { return p.out.Flush() }

// label names a group of rows in the first of them.
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
