package conduct

import (
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/clients"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/request"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/throttle"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Judging the wrong address is worse than judging none: it lets everybody in, or locks everybody out. The mistakes in
// the server's settings that lead to it can be seen.

// Suspects looks out for client addresses that are not the visitor's. It takes a sample of the requests. It also knows
// the servers that trust a proxy, but not strictly, so that visitors can choose their own address.
type Suspects struct {
	watch    clients.Watch
	logged   throttle.Causes[health.Reason]
	mu       sync.Mutex
	unstrict atomic.Pointer[[]string] // the names of servers
	pseudo   atomic.Bool              // a pseudo IPv4 address was seen
}

// Sample counts the client of one request in clients.OneIn. Bots that are verified are no visitors, and on small sites
// many: that they are exempt, or come from few addresses, is as it should be.
func (s *Suspects) Sample(r *http.Request, vars request.Vars, addr netip.Addr, v *reputation.Verdict, logger *slog.Logger) {
	if !addr.IsValid() {
		metrics.CountSuspects(metrics.SuspectMissing, 1)
	}
	if v.Facts.Bot != "" || !clients.Chosen() {
		return
	}
	trusted := vars.FromTrustedProxy()
	if trusted && addr.IsValid() {
		s.CheckStrict(r, logger)
	}
	now := time.Now()
	before, after, complete := s.watch.Add(clients.Request{
		Addr: addr, Exempt: v.Status == reputation.Exempt, Forwarded: !trusted && forwarded(r.Header), Agent: r.UserAgent(),
	}, now)
	if !complete {
		return
	}
	if after.Proxy {
		metrics.CountSuspects(metrics.SuspectProxy, clients.OneIn*clients.Size)
	}
	s.logFinding(before, after, logger, now)
}

// forwarded reports whether a request has a header that only proxies send.
func forwarded(h http.Header) bool {
	return h["X-Forwarded-For"] != nil || h["Forwarded"] != nil || h["X-Real-Ip"] != nil || h["Cf-Connecting-Ip"] != nil
}

// logFinding logs what is new about the clients, and that it is over.
func (s *Suspects) logFinding(before, after clients.Finding, logger *slog.Logger, now time.Time) {
	reason := health.ReasonOf(after)
	if reason == health.ReasonOf(before) || !s.logged.Allow(reason, now) {
		return
	}
	about := []any{slog.String("cure", health.CureOf(after))}
	if after.Client.IsValid() {
		about = append(about, slog.String("address", after.Name()), slog.Int("count", after.Count), slog.Int("of", clients.Size))
	}
	switch reason {
	case health.ClientsOneProxy:
		logger.Warn("nearly all requests come from one address that looks like a proxy, so that all visitors are judged as one, or none is", about...)
	case health.ClientsMissing:
		logger.Warn("nearly all requests come without the address of a client, so that nothing is known of their visitors", about...)
	case health.ClientsExempt:
		logger.Warn("nearly all requests are exempt, so that hardly any visitor is judged", about...)
	case health.ClientsOneAddress:
		logger.Warn("nearly all requests come from one address, so that all visitors are judged as one", about...)
	default:
		logger.Info("the addresses of clients are those of many visitors again")
	}
}

// Finding returns what nearly all requests have in common.
func (s *Suspects) Finding(now time.Time) clients.Finding { return s.watch.Finding(now) }

// CheckStrict looks whether the server that a proxy handed the request to believes the left-most address of a
// forwarding header, which the visitor writes. Only a request can show it: Caddy drops that setting once it
// is read.
func (s *Suspects) CheckStrict(r *http.Request, logger *slog.Logger) {
	server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if ok && server.TrustedProxiesStrict == 0 {
		metrics.CountSuspects(metrics.SuspectNotStrict, clients.OneIn)
		if !slices.Contains(s.UnstrictServers(), server.Name()) {
			s.warnUnstrict(server.Name(), logger)
		}
	}
}

// warnUnstrict warns once for each server.
func (s *Suspects) warnUnstrict(server string, logger *slog.Logger) {
	s.mu.Lock()
	servers := s.UnstrictServers()
	known := slices.Contains(servers, server)
	if !known {
		s.unstrict.Store(new(append(slices.Clone(servers), server)))
	}
	s.mu.Unlock()
	if known {
		return
	}
	logger.Warn("visitors can choose the address they are judged by: trusted_proxies is set without trusted_proxies_strict",
		slog.String("server", server),
		slog.String("cure", "add `trusted_proxies_strict` to the `servers` options"))
}

// CountPseudo counts a request for which a proxy has made up an address of 240.0.0.0/4, and warns of the first.
func (s *Suspects) CountPseudo(logger *slog.Logger) {
	metrics.CountSuspects(metrics.SuspectPseudo, 1)
	if s.pseudo.Load() || s.pseudo.Swap(true) {
		return
	}
	logger.Warn("a trusted proxy hands on pseudo IPv4 addresses (240.0.0.0/4), of which no list and no service knows anything",
		slog.String("cure", health.CurePseudo))
}

// Pseudo reports whether a proxy has handed on pseudo IPv4 addresses.
func (s *Suspects) Pseudo() bool { return s.pseudo.Load() }

// UnstrictServers returns the names of the servers whose visitors can choose their address, as far as
// requests have shown. They must not be changed.
func (s *Suspects) UnstrictServers() []string {
	if servers := s.unstrict.Load(); servers != nil {
		return *servers
	}
	return nil
}
