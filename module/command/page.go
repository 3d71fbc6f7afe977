package command

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// page writes an answer for people: rows of aligned cells.
type page struct {
	out *tabwriter.Writer
	now time.Time
}

func newPage(w io.Writer) *page {
	return &page{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0), time.Now()}
}

// row writes one line. Cells can hold foreign text, which must not move the cursor of a terminal or forge a line.
func (p *page) row(cells ...string) {
	for i := range cells {
		cells[i] = clean(cells[i])
	}
	fmt.Fprintln(p.out, strings.Join(cells, "\t"))
}

// gap writes an empty line. Columns above and below it are aligned separately.
func (p *page) gap() { fmt.Fprintln(p.out) }

func (p *page) flush() error { return p.out.Flush() }

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
