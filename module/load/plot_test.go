package load_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The drawing: requests by latency, both scales logarithmic, so that the one request in ten thousand is seen, too.
const (
	drawingWidth, drawingHeight = 760, 400
	marginLeft, marginBottom    = 70, 60
	marginTop, marginRight      = 40, 20
	plotWidth                   = drawingWidth - marginLeft - marginRight
	plotHeight                  = drawingHeight - marginTop - marginBottom
	binsPerDecade               = 10
	decades                     = 6 // from 10 µs to 10 s, and from 100 % to 0.0001 %
	bins                        = decades * binsPerDecade
)

const shortest = 10 * time.Microsecond

// drawing returns the histogram of a stage as SVG: the share of the requests that took as long as each bin, of all runs.
func drawing(s *stage) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">`+"\n", drawingWidth, drawingHeight)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", drawingWidth, drawingHeight)
	text := func(x, y float64, anchor, words string) {
		fmt.Fprintf(&b, `<text x="%.0f" y="%.0f" text-anchor="%s">%s</text>`+"\n", x, y, anchor, words)
	}
	for decade := range decades + 1 {
		x := marginLeft + float64(plotWidth)*float64(decade)/decades
		y := marginTop + float64(plotHeight)*float64(decade)/decades
		fmt.Fprintf(&b, `<path d="M%.0f %d V%d M%d %.0f H%d" stroke="#ddd"/>`+"\n", x, marginTop, marginTop+plotHeight, marginLeft, y, marginLeft+plotWidth)
		text(x, marginTop+plotHeight+18, "middle", (shortest * time.Duration(math.Pow10(decade))).String())
		text(marginLeft-6, y+4, "end", strconv.FormatFloat(100/math.Pow10(decade), 'f', -1, 64)+" %")
	}
	text(marginLeft+plotWidth/2, drawingHeight-14, "middle", s.name+": how long requests took, and what share of them")
	for side, color := range []string{"#888", "#06c"} {
		fmt.Fprintf(&b, `<path d="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", outline(shareOfBins(s, side == 0)), color)
		fmt.Fprintf(&b, `<rect x="%d" y="14" width="14" height="14" fill="%s"/>`+"\n", marginLeft+110*side, color)
		text(marginLeft+110*float64(side)+20, 26, "start", name(side == 0))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// shareOfBins counts the requests of all runs with us, or of all plain ones.
func shareOfBins(s *stage, plain bool) []float64 {
	shares, sum := make([]float64, bins), 0
	for _, r := range s.runs {
		if r.plain != plain {
			continue
		}
		for i := range r.results {
			bin := int(math.Floor(math.Log10(float64(max(r.results[i].took, shortest))/float64(shortest)) * binsPerDecade))
			shares[min(bin, bins-1)]++
			sum++
		}
	}
	for i := range shares {
		shares[i] /= float64(max(sum, 1))
	}
	return shares
}

// outline is the path around the columns of a histogram. What is empty, or less than the axis has, lies on the ground.
func outline(shares []float64) string {
	var b strings.Builder
	ground := float64(marginTop + plotHeight)
	fmt.Fprintf(&b, "M%d %.0f", marginLeft, ground)
	for i, share := range shares {
		y := ground
		if share > 0 {
			y = min(ground, marginTop-math.Log10(share)*plotHeight/decades)
		}
		fmt.Fprintf(&b, " V%.1f H%.1f", y, marginLeft+float64(plotWidth)*float64(i+1)/bins)
	}
	fmt.Fprintf(&b, " V%.0f", ground)
	return b.String()
}

// draw writes the histogram of a stage to the folder.
func (b *bench) draw(t *testing.T, s *stage, file string) string {
	t.Helper()
	path := filepath.Join(b.folder, file+".svg")
	if err := os.WriteFile(path, []byte(drawing(s)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
