// Package adminapi holds the requests and answers of our routes in Caddy's admin API, which the routes write and
// `caddy ip-reputation` reads.
package adminapi

import (
	"strconv"
	"time"
)

// Path is the path of all routes.
const Path = "/ip_reputation/"

// FormatTime writes a time in UTC for operators.
func FormatTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// FormatPoints writes points in full: they are whole thousandths, so that there are three decimals at most.
func FormatPoints(points float64) string { return strconv.FormatFloat(points, 'f', -1, 64) }
