// Command spend replays a day of requests, and shows how much abuse was known by the time it came, against the quota of
// a service: if it is asked about whoever comes first, and where it matters. See docs/performance.md.
package main

import (
	"fmt"
	"os"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/spend"
)

func main() {
	if err := spend.Main(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "spend:", err)
		os.Exit(1)
	}
}
