package runtime

import (
	"net/http"
	"net/netip"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Vars are the variables of a request. They are looked up once: each search walks the whole chain of contexts.
type Vars map[string]any

// VarsOf returns the variables of a request.
func VarsOf(r *http.Request) Vars {
	v, _ := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	return v
}

// Client returns the address that Caddy found the request to come from, unmapped and without zone. It is the zero address
// when there is none, as for a client on a unix socket.
//
// No header is read here: which of them may be believed is for the server's `trusted_proxies` to say.
func (v Vars) Client() netip.Addr {
	text, ok := v[caddyhttp.ClientIPVarKey].(string)
	if !ok {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap().WithZone("")
}

// FromTrustedProxy reports whether the request was handed on by a proxy that the server trusts.
func (v Vars) FromTrustedProxy() bool {
	trusted, _ := v[caddyhttp.TrustedProxyVarKey].(bool)
	return trusted
}
