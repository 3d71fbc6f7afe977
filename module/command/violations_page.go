package command

import (
	"fmt"
	"math"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// seen shows what clients of the address, and others of its network, did on the sites.
func (p *page) seen(c adminapi.Check) {
	for i, v := range c.Violations {
		text := fmt.Sprintf("%s: %s, %s, last %s ago",
			v.Name, plural(int64(v.Count), "time"), pointsText(v.Points), span(p.now.Sub(v.Last)))
		p.row(label("violations", i), text)
	}
	if c.Neighbours == nil {
		return
	}
	n := c.Neighbours
	text := fmt.Sprintf("%s of %s within a day", plural(int64(n.Offenders), "other offender"), n.Network)
	if !n.Last.IsZero() {
		text += ", last " + span(p.now.Sub(n.Last)) + " ago"
	}
	if n.Networks > 0 {
		text += fmt.Sprintf("; %s of its autonomous system with offenders", plural(int64(n.Networks), "other network"))
	}
	p.row("neighbours", text)
}

// agedBy returns the word for what the age of a reason is counted from: the newest violation, or when the source was asked.
func agedBy(source string) string {
	if source == reputation.SourceNeighbourhood || strings.HasPrefix(source, reputation.SourceOwn+".") {
		return "last"
	}
	return "asked"
}

func pointsText(points float64) string {
	points = math.Round(points*10) / 10 // the sum above has them exactly
	if points == 0 {
		return "no points"
	}
	return adminapi.FormatPoints(points) + " points"
}
