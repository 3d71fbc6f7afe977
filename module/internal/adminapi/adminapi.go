// Package adminapi holds the answers of the routes that this plugin adds to Caddy's admin API: the routes write them, and the
// commands of `caddy ip-reputation` read them.
package adminapi

import (
	"strconv"
	"time"
)

// Path is where all routes are.
const Path = "/ip_reputation/"

// FormatTime writes a time as it stands in sentences for operators.
func FormatTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// FormatPoints writes points without rounding them: they are whole thousandths.
func FormatPoints(points float64) string { return strconv.FormatFloat(points, 'f', -1, 64) }
