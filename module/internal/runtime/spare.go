package runtime

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// The reasons why a client is spared. A ban of a proxy would shut out everybody behind it, and one of a forged address
// somebody else.
const (
	SpareReserved   = "reserved"    // a private or otherwise reserved address
	SpareExempt     = "exempt"      // the operator exempts it
	SpareBot        = "bot"         // a verified bot, or an address that one publishes
	SpareProxy      = "proxy"       // a trusted proxy's own address
	SpareForgeable  = "forgeable"   // the visitor chooses the address, see CheckStrict
	SpareEarly      = "early_data"  // the handshake has not verified the address yet
	SpareOneAddress = "one_address" // nearly everybody seems to have it
	spareNetwork    = "network"     // too many of its network are banned
	spareFull       = "full"        // too many are banned
	spareQueue      = "queue"       // too many are to be banned at this moment
	spareBurst      = "burst"       // see ban.Burst
)

// spared are what the log says about each reason. Of most, somebody should know.
var spared = map[string]struct{ text, cure string }{
	SpareReserved:  {"the address is private or reserved", ""},
	SpareExempt:    {"the address is exempt", ""},
	SpareBot:       {"the address is that of a verified bot", ""},
	SpareProxy:     {"the address is that of a trusted proxy", "let the proxy hand on the address of the client, by X-Forwarded-For"},
	SpareForgeable: {"visitors can choose their address", "add `trusted_proxies_strict` to the `servers` options"},
	SpareEarly:     {"the address is not verified before the TLS handshake is complete", ""},
	SpareOneAddress: {
		"nearly all requests come from the address",
		"if it is a proxy, name it in `trusted_proxies`; if it is one client, `caddy ip-reputation ban` bans it",
	},
	spareNetwork: {"64 clients of its network are banned already", "ban the network: `caddy ip-reputation ban <range> --ttl <time>`"},
	spareFull:    {"20000 clients are banned already", "name the conditions of the rule more closely, or ban for a shorter time"},
	spareQueue:   {"too many are to be banned at once", ""},
	spareBurst:   {"there is a burst of bans", ""},
}

// Spare returns why the client of a request must not be punished, whatever it did; "" if it may be. Nothing here is true
// of early data, which the handler knows.
func (rt *Runtime) Spare(r *http.Request, client netip.Addr, v *reputation.Verdict) string {
	vars := VarsOf(r)
	if vars.FromTrustedProxy() {
		if server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok && server.TrustedProxiesStrict == 0 {
			return SpareForgeable
		}
		if rt.peer(r) == client {
			return SpareProxy
		}
	}
	switch {
	case v.Status == reputation.Exempt:
		return SpareExempt
	case v.Facts.Bot != "":
		return SpareBot
	}
	return rt.SpareAddr(client)
}

// peer returns the address that the connection of a request comes from.
func (rt *Runtime) peer(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return rt.NAT64.Unmap(addr.WithZone(""))
}

// SpareAddr returns the same as far as the address alone shows it.
func (rt *Runtime) SpareAddr(client netip.Addr) string {
	subject := reputation.Subject(client)
	if reputation.IsReserved(client) || reputation.IsClassE(client) {
		return SpareReserved
	}
	if slices.ContainsFunc(rt.proxies, subject.Overlaps) {
		return SpareProxy
	}
	if rt.Overrides != nil {
		if _, exempt := rt.Overrides.Lookup(client); exempt {
			return SpareExempt
		}
	}
	if f := rt.Suspects.Finding(time.Now()); (f.Proxy || f.OneAddress) && f.Client == subject {
		return SpareOneAddress
	}
	if rt.Engine == nil {
		return ""
	}
	x := rt.Engine.Explain(client)
	for _, list := range slices.Concat(x.Lists, x.ByASN, x.ByCountry) {
		switch rt.ListMeanings[list].Kind {
		case lookup.Exempt:
			return SpareExempt
		case lookup.Bots:
			return SpareBot
		}
	}
	return ""
}
