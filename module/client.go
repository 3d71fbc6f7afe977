package module

import (
	"net/http"
	"net/netip"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// clientAddr returns the address that Caddy found the request to come from, unmapped and without zone. It is the zero
// address when there is none, as for a client on a unix socket.
//
// No header is read here: which of them may be believed is for the server's `trusted_proxies` to say.
func clientAddr(r *http.Request) netip.Addr {
	text, ok := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	if !ok {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap().WithZone("")
}

// fromTrustedProxy reports whether the request was handed on by a proxy that the server trusts.
func fromTrustedProxy(r *http.Request) bool {
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	return trusted
}
