package lists

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/crowdsec"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// streams fill the pushed lists. They live as long as the lists.
type streams struct {
	all     []*crowdsec.Client
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex // guards started
	started bool
}

// open makes the clients. Nobody is called before start.
func (s *streams) open(set *feed.Set, configs []crowdsec.Config, logger *slog.Logger) error {
	for _, c := range configs {
		c.Version, c.Logger = metrics.Version(), logger
		client, err := crowdsec.New(c, set)
		if err != nil {
			return err
		}
		s.all = append(s.all, client)
	}
	return nil
}

// start begins to follow the streams, unless it has begun.
func (s *streams) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started {
		return
	}
	s.started = true
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	for _, client := range s.all {
		s.running.Go(func() { process.Supervise(ctx, client.Logger, "following the decisions of "+client.Name, client.Run) })
		s.running.Go(func() { process.Supervise(ctx, client.Logger, "sending metrics to "+client.Name, client.Report) })
	}
}

// close ends what start began, and waits for it: requests end with their context.
func (s *streams) close() {
	s.mu.Lock()
	s.started = true // not from now on
	s.mu.Unlock()
	if s.cancel != nil {
		s.cancel()
	}
	s.running.Wait()
}

// of returns the stream that fills a list, nil if there is none.
func (s *streams) of(list string) *crowdsec.Client {
	for _, client := range s.all {
		if client.Name == list {
			return client
		}
	}
	return nil
}

// CountRequest counts a request for the sources that want to know what was done about it.
func (s *Set) CountRequest(addr netip.Addr, v *reputation.Verdict, action reputation.Action, enforced bool) {
	if s == nil {
		return
	}
	for _, client := range s.streams.all {
		client.CountRequest(addr)
		if enforced && action != reputation.Pass && speaks(v, client.Name) {
			s.countRefused(client, addr, &v.Facts, action)
		}
	}
}

// speaks reports whether a source is among the reasons for a verdict.
func speaks(v *reputation.Verdict, source string) bool {
	for i := range v.Reasons {
		if v.Reasons[i].Source == source {
			return true
		}
	}
	return false
}

func (s *Set) countRefused(
	client *crowdsec.Client, addr netip.Addr, facts *reputation.Facts, action reputation.Action,
) {
	set := s.set.Load()
	if set == nil {
		return
	}
	done := crowdsec.Ban
	if action == reputation.Limit {
		done = crowdsec.Throttle
	}
	now := set.Current()
	for _, members := range [][]uint16{now.Index.Members(now.Index.Lookup(addr)), now.Named(facts.ASN, facts.Country)} {
		for _, member := range members {
			if list, part := now.ListOf(int(member)); now.Lists[list].Name == client.Name {
				client.CountRefused(addr, part, done)
				return
			}
		}
	}
}
