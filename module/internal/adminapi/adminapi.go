// Package adminapi holds the requests and answers of our routes in Caddy's admin API, which the routes write and
// `caddy ip-reputation` reads.
package adminapi

import (
	"strconv"
)

// Path is the path of all routes.
const Path = "/ip_reputation/"

// FormatPoints writes points in full: they are whole thousandths, so that there are three decimals at most.
func FormatPoints(points float64) string { return strconv.FormatFloat(points, 'f', -1, 64) }
