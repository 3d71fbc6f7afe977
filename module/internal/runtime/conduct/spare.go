package conduct

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/request"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Why a client is not banned although its violations count. For what spares it from both, see Spare.
const (
	spareNetwork violation.Ignored = "network" // too many of its network are banned
	spareFull    violation.Ignored = "full"    // too many are banned
	spareQueue   violation.Ignored = "queue"   // too many are to be banned at this moment
	spareBurst   violation.Ignored = "burst"   // see ban.Burst

	SpareClaim violation.Ignored = "claimed_bot" // see MayBeBot
)

// spared says why nothing is held against a client, and what to do about it, if somebody should do something.
var spared = map[violation.Ignored]struct{ text, cure string }{
	violation.IgnoredNoAddress: {"the client has no address", ""},
	violation.IgnoredReserved:  {"the address is private or reserved", ""},
	violation.IgnoredExempt:    {"the address is exempt", ""},
	violation.IgnoredBot:       {"the address is that of a verified bot", ""},
	violation.IgnoredProxy: {"the address is that of a trusted proxy",
		"let the proxy hand on the address of the client, by X-Forwarded-For"},
	violation.IgnoredForwarded: {"visitors can choose their address", "add `trusted_proxies_strict` to the `servers` options"},
	violation.IgnoredEarly:     {"the address is not verified before the TLS handshake is complete", ""},
	violation.IgnoredForeign:   {"the page of another site has caused the request", ""},
	violation.IgnoredEverybody: {"nearly all requests come from the address",
		"if it is a proxy, name it in `trusted_proxies`; if it is one client, `caddy ip-reputation ban` bans it"},
	SpareClaim: {"it is not known yet whether the client is the bot that it claims to be", ""},
	spareNetwork: {fmt.Sprintf("%d clients of its network are banned already", ban.MaxOfNetwork),
		"ban the network: `caddy ip-reputation ban <range> --ttl <time>`"},
	spareFull: {fmt.Sprintf("%d clients are banned already", ban.MaxPunished),
		"name the conditions of the rule more closely, or ban for a shorter time"},
	spareQueue: {"too many are to be banned at once", ""},
	spareBurst: {"there is a burst of bans", ""},
}

// Spare returns why nothing may be held against the client of a request, or the empty string: it is not judged, or it may
// be somebody else than the one who sent the request. v is what was found out about the client. Early data are the
// handler's to know.
func (c *Conduct) Spare(r *http.Request, client netip.Addr, v *reputation.Verdict) violation.Ignored {
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
	if request.VarsOf(r).FromTrustedProxy() {
		remote, err := netip.ParseAddrPort(r.RemoteAddr)
		switch {
		case err == nil && c.NAT64.Unmap(remote.Addr().WithZone("")) == client:
			return violation.IgnoredProxy // it has named nobody
		case forgeable(r):
			return violation.IgnoredForwarded
		}
	}
	return c.SpareAddr(client)
}

// SpareAddr returns why nothing may be held against an address whose request is not at hand, or the empty string.
func (c *Conduct) SpareAddr(client netip.Addr) violation.Ignored {
	if !client.IsValid() {
		return violation.IgnoredNoAddress
	}
	if reputation.IsReserved(client) || reputation.IsClassE(client) {
		return violation.IgnoredReserved
	}
	subject := reputation.Subject(client)
	if proxies := c.Proxies.Load(); proxies != nil && slices.ContainsFunc(*proxies, subject.Overlaps) {
		return violation.IgnoredProxy
	}
	if c.Overrides != nil {
		if _, exempt := c.Overrides.Lookup(client); exempt {
			return violation.IgnoredExempt
		}
	}
	if f := c.Suspects.Finding(time.Now()); f.Proxy && f.Client.Contains(client) {
		return violation.IgnoredEverybody
	}
	if c.Engine == nil {
		return ""
	}
	switch exempt, bot := c.Engine.Spared(client); {
	case exempt:
		return violation.IgnoredExempt
	case bot:
		return violation.IgnoredBot
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
