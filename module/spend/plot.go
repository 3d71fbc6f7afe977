package spend

import (
	"fmt"
	"math"
	"strings"
)

// The plot: the coverage by the quota, whose scale is logarithmic.
const (
	width, height            = 760, 400
	marginLeft, marginBottom = 70, 60
	marginTop, marginRight   = 40, 30
	plotWidth                = width - marginLeft - marginRight
	plotHeight               = height - marginTop - marginBottom
)

var colors = map[way]string{unpaced: "#bbb", firstCome: "#888", matters: "#06c"}

// plot returns the results as SVG.
func plot(t *trace, results []result) string {
	least, most := math.Inf(1), 0.
	for i := range results {
		least, most = min(least, results[i].percent), max(most, results[i].percent)
	}
	x := func(percent float64) float64 {
		if least == most {
			return marginLeft + plotWidth/2
		}
		return marginLeft + plotWidth*math.Log(percent/least)/math.Log(most/least)
	}
	y := func(coverage float64) float64 { return marginTop + plotHeight*(1-coverage) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">`+
		"\n"+`<rect width="%[1]d" height="%[2]d" fill="#fff"/>`+"\n", width, height)
	text := func(x, y float64, anchor, words string) {
		fmt.Fprintf(&b, `<text x="%.0f" y="%.0f" text-anchor="%s">%s</text>`+"\n", x, y, anchor, words)
	}
	for part := 0.; part <= 1; part += .25 {
		fmt.Fprintf(&b, `<path d="M%d %.0f H%d" stroke="#ddd"/>`+"\n", marginLeft, y(part), marginLeft+plotWidth)
		text(marginLeft-6, y(part)+4, "end", fmt.Sprintf("%.0f %%", 100*part))
	}
	drawn := map[float64]bool{}
	for i := range results {
		if p := results[i].percent; !drawn[p] {
			drawn[p] = true
			fmt.Fprintf(&b, `<path d="M%.0f %d V%d" stroke="#ddd"/>`+"\n", x(p), marginTop, marginTop+plotHeight)
			text(x(p), marginTop+plotHeight+18, "middle", fmt.Sprintf("%g %%", p))
		}
	}
	text(marginLeft+plotWidth/2, height-14, "middle",
		"abusive requests whose client was known, by the calls a day in % of the clients: "+escape(t.name))
	for i, w := range []way{matters, firstCome, unpaced} {
		fmt.Fprintf(&b, `<path d="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", line(results, w, x, y), colors[w])
		fmt.Fprintf(&b, `<rect x="%d" y="14" width="14" height="14" fill="%s"/>`+"\n", marginLeft+170*i, colors[w])
		text(float64(marginLeft+170*i+20), 26, "start", w.name)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// line is the path through the results of a way.
func line(results []result, w way, x, y func(float64) float64) string {
	var b strings.Builder
	for i := range results {
		if r := &results[i]; r.way == w {
			command := "L"
			if b.Len() == 0 {
				command = "M"
			}
			fmt.Fprintf(&b, "%s%.1f %.1f ", command, x(r.percent), y(r.coverage()))
		}
	}
	return strings.TrimSpace(b.String())
}

func escape(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text)
}
