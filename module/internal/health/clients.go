package health

import (
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/clients"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// ReasonOf returns the reason why somebody should look at the addresses of clients, or the empty string. Of several, it
// is the one whose cure helps most.
func ReasonOf(f clients.Finding) Reason {
	switch {
	case f.Proxy:
		return ClientsOneProxy
	case f.Missing:
		return ClientsMissing
	case f.Exempt:
		return ClientsExempt
	case f.OneAddress:
		return ClientsOneAddress
	}
	return ""
}

// CurePseudo says what to do about addresses that a proxy has made up for those of IPv6.
const CurePseudo = "set Pseudo IPv4 to Off or Add Header in the network settings of Cloudflare"

// CureOf says what to do about the addresses of clients. It names no address.
func CureOf(f clients.Finding) string {
	switch ReasonOf(f) {
	case ClientsOneProxy:
		return "name the proxy in `trusted_proxies` of the `servers` options, and add `trusted_proxies_strict`"
	case ClientsMissing:
		return "add `trusted_proxies_unix` to the `servers` options"
	case ClientsExempt:
		if reputation.IsReserved(f.Client.Addr()) {
			// the address of a gateway, a node or a load balancer, in place of the visitor's
			return "private addresses are never judged: if a proxy is in front, name it in `trusted_proxies`; " +
				"with Docker, set `userland-proxy` to false or use the network of the host; " +
				"with Kubernetes, set `externalTrafficPolicy: Local`; " +
				"if you try it out, or all your visitors are inside, there is nothing to do"
		}
		return "take the addresses out of `exempt`; `caddy ip-reputation bans` shows the exemptions that were made at run time"
	case ClientsOneAddress:
		return "if it is a proxy or a load balancer, let it hand on the address of the client, by X-Forwarded-For with " +
			"`trusted_proxies` or by the PROXY protocol; if it is one busy client, there is nothing to do"
	}
	return ""
}

// ofClients are the observed value and the text of the warning about the addresses of clients.
var ofClients = map[Reason]struct{ value, text string }{
	ClientsOneProxy: {"proxy", "nearly all requests come from one address that looks like a proxy, " +
		"so that all visitors are judged as one, or none is"},
	ClientsMissing: {"missing", "nearly all requests come without the address of a client, " +
		"as on a Unix socket, so that nothing is known of their visitors"},
	ClientsExempt:     {"exempt", "nearly all requests are exempt, so that hardly any visitor is judged"},
	ClientsOneAddress: {"one_address", "nearly all requests come from one address, so that all visitors are judged as one"},
}

func (r *Report) clients(c Clients) {
	const name = "clients:address"
	check := func(value string, w *Warning) { r.check(name, Check{Type: "component", Value: value}, w) }
	if reason := ReasonOf(c.Finding); reason != "" {
		of, cure := ofClients[reason], CureOf(c.Finding)
		w := warning(reason, "", "%s: %s", of.text, cure)
		switch {
		case reason == ClientsExempt && 2*c.Count < clients.Size: // of many addresses, this one is an example
			w.detail("%s, such as those from %s: %s", of.text, c.Name(), cure)
		case c.Client.IsValid():
			w.detail("%s: %d of %d sampled requests come from %s: %s", of.text, c.Count, clients.Size, c.Name(), cure)
		}
		check(of.value, w)
	}
	for _, server := range c.Chosen {
		check("not_strict", warning(ClientsChosen, server,
			"visitors of server %s can choose the address they are judged by: "+
				"add trusted_proxies_strict beside trusted_proxies", server))
	}
	if c.Pseudo {
		check("pseudo_ipv4", warning(ClientsPseudo, "", "a trusted proxy hands on pseudo IPv4 addresses (240.0.0.0/4), "+
			"of which no list and no service knows anything: "+CurePseudo))
	}
	if len(r.Checks[name]) == 0 {
		check("ok", nil)
	}
}
