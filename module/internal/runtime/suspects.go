package runtime

import (
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
)

// Judging the wrong address is worse than judging none: it lets everybody in, or locks everybody out. Two
// mistakes in the server's settings lead to it, and both can be seen.

// Suspects looks out for client addresses that are not the visitor's. It takes a sample of the requests: if
// nearly all of them come from one address and carry a header that only proxies send, that address is a proxy
// which the server does not trust; if one comes through a proxy that the server trusts, but not strictly,
// visitors can choose their own address.
type Suspects struct {
	mu       sync.Mutex
	sampled  int
	clients  map[netip.Addr]int
	proxied  bool
	unstrict []string // the names of servers

	// Of requests with and without an address alike, in a sample of their own.
	counted, without int
	missing          bool
}

const (
	sampleOneIn   = 8  // requests; a power of two
	sampleSize    = 64 // sampled requests until a conclusion, so about 500 requests
	sampleSameMin = 60 // of them from one address
)

// Sample counts the client of one request in sampleOneIn.
func (s *Suspects) Sample(r *http.Request, vars Vars, addr netip.Addr, logger *slog.Logger) {
	if rand.Uint32()%sampleOneIn != 0 {
		return
	}
	if vars.FromTrustedProxy() {
		s.CheckStrict(r, logger)
	}
	forwarded := r.Header["X-Forwarded-For"] != nil || r.Header["Forwarded"] != nil || r.Header["X-Real-Ip"] != nil ||
		r.Header["Cf-Connecting-Ip"] != nil
	before := s.LooksLikeProxy()
	if !s.add(addr, forwarded && !vars.FromTrustedProxy()) {
		return
	}
	metrics.CountSuspects(metrics.SuspectProxy, sampleOneIn*sampleSize)
	if !before {
		logger.Warn("nearly all requests come from one address that looks like a proxy, so that all visitors are judged as one, or none is",
			slog.String("address", addr.String()),
			slog.String("cure", "name the proxy in `trusted_proxies` of the `servers` options, and add `trusted_proxies_strict`"))
	}
}

// add reports whether the sample is complete and nearly all of it came through one proxy.
func (s *Suspects) add(addr netip.Addr, forwarded bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients == nil {
		s.clients = make(map[netip.Addr]int)
	}
	s.count(0)
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
	s.proxied = most >= sampleSameMin
	return s.proxied
}

// LooksLikeProxy reports whether the last complete sample looked like a proxy.
func (s *Suspects) LooksLikeProxy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proxied
}

// SampleMissing counts a request that came without an address, of which it takes as large a sample.
func (s *Suspects) SampleMissing() {
	metrics.CountSuspects(metrics.SuspectMissing, 1)
	if rand.Uint32()%sampleOneIn != 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count(1)
}

// count counts a sampled request, and whether it came without an address. It is called with the lock held.
func (s *Suspects) count(without int) {
	s.counted++
	s.without += without
	if s.counted >= sampleSize {
		s.missing = s.without >= sampleSameMin
		s.counted, s.without = 0, 0
	}
}

// WithoutAddress reports whether nearly all requests of the last complete sample came without an address. A
// few do no harm: the probes of a proxy on a Unix socket come for nobody.
func (s *Suspects) WithoutAddress() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.missing
}

// CheckStrict looks whether the server that a proxy handed the request to believes the left-most address of a
// forwarding header, which the visitor writes. Only a request can show it: Caddy drops that setting once it
// is read.
func (s *Suspects) CheckStrict(r *http.Request, logger *slog.Logger) {
	server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if ok && server.TrustedProxiesStrict == 0 {
		metrics.CountSuspects(metrics.SuspectNotStrict, sampleOneIn)
		s.warnUnstrict(server.Name(), logger)
	}
}

// warnUnstrict warns once for each server.
func (s *Suspects) warnUnstrict(server string, logger *slog.Logger) {
	s.mu.Lock()
	known := slices.Contains(s.unstrict, server)
	if !known {
		s.unstrict = append(s.unstrict, server)
	}
	s.mu.Unlock()
	if known {
		return
	}
	logger.Warn("visitors can choose the address they are judged by: trusted_proxies is set without trusted_proxies_strict",
		slog.String("server", server),
		slog.String("cure", "add `trusted_proxies_strict` to the `servers` options"))
}

// UnstrictServers returns the names of the servers whose visitors can choose their address, as far as
// requests have shown.
func (s *Suspects) UnstrictServers() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.unstrict)
}
