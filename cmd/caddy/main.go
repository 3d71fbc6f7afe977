// Caddy with IP reputation plugged in. It is what `xcaddy build --with` this module makes, for those who build from a
// checkout:
//
//	go build ./cmd/caddy
//
// To add other plugins, import them below, or use xcaddy (https://github.com/caddyserver/xcaddy).
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	// plug in Caddy modules here
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-ip-reputation/caddy-ip-reputation"
)

func main() {
	caddycmd.Main()
}
