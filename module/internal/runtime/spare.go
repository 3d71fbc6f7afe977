package runtime

import (
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Spare returns why nothing may be held against the client of a request, or the empty string: it is not judged, or it may
// be somebody else than the one who sent the request. v is what was found out about the client.
func (rt *Runtime) Spare(r *http.Request, client netip.Addr, v *reputation.Verdict) violation.Ignored {
	switch {
	case !client.IsValid():
		return violation.IgnoredNoAddress
	case v.Facts.Bot != "":
		// Those that anybody can make send requests, too: what they ask for is not their fault, and their addresses are
		// shared by all who use them.
		return violation.IgnoredBot
	case v.Status == reputation.Exempt && !reputation.IsReserved(client): // that of the site included
		return violation.IgnoredExempt
	}
	if VarsOf(r).FromTrustedProxy() {
		remote, err := netip.ParseAddrPort(r.RemoteAddr)
		switch {
		case err == nil && remote.Addr().Unmap().WithZone("") == client:
			return violation.IgnoredProxy // it has named nobody
		case forgeable(r):
			return violation.IgnoredForwarded
		}
	}
	return rt.SpareAddr(client)
}

// SpareAddr returns why nothing may be held against an address whose request is not at hand, or the empty string.
func (rt *Runtime) SpareAddr(client netip.Addr) violation.Ignored {
	switch {
	case !client.IsValid():
		return violation.IgnoredNoAddress
	case reputation.IsReserved(client):
		return violation.IgnoredReserved
	case rt.Known(client).Status == reputation.Exempt:
		return violation.IgnoredExempt
	}
	if f := rt.Suspects.Finding(time.Now()); f.Proxy && f.Client.Contains(client) {
		return violation.IgnoredEverybody
	}
	return ""
}

// forgeable reports whether the client of a request from a trusted proxy may have chosen its address: the server takes
// the left-most of several, and all but the last may be what the client has sent.
func forgeable(r *http.Request) bool {
	server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || server.TrustedProxiesStrict != 0 {
		return false
	}
	named := 0
	for _, field := range server.ClientIPHeaders {
		for _, value := range r.Header.Values(field) {
			named += 1 + strings.Count(value, ",")
		}
	}
	return named > 1
}
