package module

import (
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
)

// Judging the wrong address is worse than judging none: it lets everybody in, or locks everybody out. Two mistakes in the
// server's settings lead to it, and both can be seen.

// suspects looks out for client addresses that are a proxy's. It takes a sample of the requests: if nearly all of them come
// from one address and carry a header that only proxies send, that address is a proxy which the server does not trust.
type suspects struct {
	mu      sync.Mutex
	sampled int
	clients map[netip.Addr]int
	warned  bool
}

const (
	sampleOneIn   = 32  // requests; a power of two
	sampleSize    = 128 // sampled requests until a conclusion, so about 4,000 requests
	sampleSameMin = 120 // of them from one address
)

// sample notes the client of one request in sampleOneIn.
func (s *suspects) sample(r *http.Request, vars vars, addr netip.Addr, logger *slog.Logger) {
	if rand.Uint32()%sampleOneIn != 0 {
		return
	}
	forwarded := r.Header["X-Forwarded-For"] != nil || r.Header["Forwarded"] != nil || r.Header["X-Real-Ip"] != nil ||
		r.Header["Cf-Connecting-Ip"] != nil
	before := s.found()
	if !s.add(addr, forwarded && !vars.fromTrustedProxy()) {
		return
	}
	metrics.CountSuspect(metrics.SuspectProxy)
	if !before {
		logger.Warn("nearly all requests come from one address that looks like a proxy, so that all visitors are judged as one",
			slog.String("address", addr.String()),
			slog.String("cure", "name the proxy in `trusted_proxies` of the `servers` options, and add `trusted_proxies_strict`"))
	}
}

// add reports whether the sample is complete and nearly all of it came through one proxy.
func (s *suspects) add(addr netip.Addr, forwarded bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients == nil {
		s.clients = make(map[netip.Addr]int)
	}
	s.sampled++
	if forwarded {
		s.clients[addr]++
	}
	if s.sampled < sampleSize {
		return false
	}
	most := 0
	for _, n := range s.clients {
		most = max(most, n)
	}
	s.sampled, s.clients = 0, nil
	s.warned = most >= sampleSameMin
	return s.warned
}

// found reports whether the last complete sample looked like a proxy.
func (s *suspects) found() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.warned
}

// unstrictServers returns the names of the HTTP servers that believe the left-most address of a forwarding header, which
// the visitor writes.
func (a *App) unstrictServers() []string {
	loaded, err := a.ctx.AppIfConfigured("http")
	if err != nil {
		return nil
	}
	app, ok := loaded.(*caddyhttp.App)
	if !ok {
		return nil
	}
	var names []string
	for name, server := range app.Servers {
		if (server.TrustedProxiesRaw != nil || server.TrustedProxiesUnix) && server.TrustedProxiesStrict == 0 {
			names = append(names, name)
		}
	}
	return names
}

// warnAboutProxies says so when visitors can choose their own address.
func (a *App) warnAboutProxies() {
	a.unstrict = a.unstrictServers()
	if len(a.unstrict) == 0 {
		return
	}
	metrics.CountSuspect(metrics.SuspectNotStrict)
	a.logger.Warn("visitors can choose the address they are judged by: trusted_proxies is set without trusted_proxies_strict",
		slog.Any("servers", a.unstrict),
		slog.String("cure", "add `trusted_proxies_strict` to the `servers` options"))
}
