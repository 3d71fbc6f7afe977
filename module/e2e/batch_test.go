package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func init() { caddy.RegisterModule(bulk{}) }

// bulk is a provider that is asked about up to a hundred addresses in one request. The service says of each address in
// which autonomous system it is.
type bulk struct{ rest.Endpoint }

type bulkAnswer struct {
	IP  string `json:"ip"`
	ASN uint32 `json:"asn"`
}

func (a *bulkAnswer) report() (reputation.Report, error) {
	return reputation.Report{Facts: reputation.Facts{ASN: a.ASN}}, nil
}

func (bulk) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ip_reputation.providers.bulk", New: func() caddy.Module { return new(bulk) }}
}

func (b *bulk) Provision(ctx caddy.Context) error {
	return b.Open(ctx, rest.API{Profile: b.Profile(), URL: "https://bulk.example"})
}

func (*bulk) Profile() reputation.Profile {
	return reputation.Profile{Name: "bulk", Batch: 100, Key: reputation.KeyNone}
}

func (b *bulk) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	answers, err := b.CheckAll(ctx, q.Key, []netip.Addr{q.Addr})
	if err != nil {
		return reputation.Report{}, err
	}
	return answers[0].Report, answers[0].Err
}

func (b *bulk) CheckAll(ctx context.Context, key string, addrs []netip.Addr) ([]reputation.Answer, error) {
	return rest.AskAll(ctx, &b.Endpoint, key, addrs, rest.Request{JSON: addrs},
		func(entries *rest.Entries[bulkAnswer], _ *rest.Answer, answers *rest.Answers) error {
			for _, e := range *entries {
				report, err := e.Report((*bulkAnswer).report)
				answers.Set(e.Value.IP, report, err)
			}
			return nil
		})
}

// bulkService answers slowly, and in another order than it is asked.
type bulkService struct {
	*httptest.Server
	mu       sync.Mutex
	requests int
	asked    map[string]int
}

func startBulk(t *testing.T) *bulkService {
	t.Helper()
	s := &bulkService{asked: map[string]int{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var addrs []string
		if err := json.NewDecoder(r.Body).Decode(&addrs); err != nil {
			t.Error(err)
		}
		s.mu.Lock()
		s.requests++
		for _, addr := range addrs {
			s.asked[addr]++
		}
		s.mu.Unlock()
		time.Sleep(200 * time.Millisecond)
		answers := make([]bulkAnswer, len(addrs))
		for i, addr := range addrs {
			answers[len(addrs)-1-i] = bulkAnswer{addr, systemOf(addr)}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answers)
	}))
	t.Cleanup(s.Close)
	return s
}

// systemOf is the system in which the service says that an address is: each in its own.
func systemOf(addr string) uint32 {
	b := netip.MustParseAddr(addr).As4()
	return 64512 + uint32(b[2])<<8 + uint32(b[3])
}

// counts returns how many requests there were, about how many addresses, and how often it was asked about one.
func (s *bulkService) counts() (requests, addresses, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.asked {
		most = max(most, n)
	}
	return s.requests, len(s.asked), most
}

// askBulk lets the configuration ask the service, one request at a time.
func (c *config) askBulk(s *bulkService) {
	c.app["providers"] = []any{object{
		"service": object{"service": "bulk", "url": s.URL}, "concurrency": 1, "timeout": "10s",
		"quota": []any{"1000/month"}, "burst": 1, "network_share": .02,
	}}
	c.next = []any{object{"handler": "static_response", "body": "{http.ip_reputation.asn}"}}
}

// ofNetworks returns clients of so many networks.
func ofNetworks(n int) (clients []string) {
	for i := range n {
		clients = append(clients, fmt.Sprintf("198.51.%d.7", i))
	}
	return clients
}

// visitAtOnce lets all clients come at the same time.
func visitAtOnce(t *testing.T, r *running, clients []string) {
	t.Helper()
	var all sync.WaitGroup
	for _, client := range clients {
		all.Go(func() { r.visit(t, client) })
	}
	all.Wait()
}

// wantSystems waits until each client's own answer is known, without any further request about one that is.
func wantSystems(t *testing.T, r *running, clients []string) {
	t.Helper()
	for _, client := range clients {
		want := fmt.Sprint(systemOf(client))
		eventually(t, client+" is known", func() bool { return strings.TrimSpace(r.visit(t, client).body) == want })
	}
}

// TestACrowdSharesRequests proves that clients who come while a slow service is being asked are asked about together:
// each of them counts as a call and gets its own answer, and one network has no more than its share.
func TestACrowdSharesRequests(t *testing.T) {
	s := startBulk(t)
	c := newConfig(t)
	c.askBulk(s)
	r := startCaddy(t, c)
	crowd, network := ofNetworks(256), []string{}
	for i := range 44 {
		network = append(network, fmt.Sprintf("203.0.113.%d", i))
	}
	visitAtOnce(t, r, append(network, crowd...))
	wantSystems(t, r, crowd)
	s.mu.Lock()
	ofNetwork := 0
	for _, client := range network {
		ofNetwork += s.asked[client]
	}
	s.mu.Unlock()
	requests, addresses, most := s.counts()
	if requests > 8 || most != 1 || ofNetwork < 1 || ofNetwork > 20 {
		t.Errorf("%d requests about %d addresses, %d times about one, %d of one network", requests, addresses, most, ofNetwork)
	}
	left := r.metric(t, `provider_quota_remaining{provider="bulk",window="month"}`)
	if left != float64(1000-addresses) {
		t.Errorf("%v calls are left after %d addresses", left, addresses)
	}
}

// TestInstancesShareACrowd proves that instances that share a Redis ask about each address once, and together too.
func TestInstancesShareACrowd(t *testing.T) {
	s := startBulk(t)
	redis := testenv.Redis(t)
	var instances []*process
	for range 2 {
		c := newConfig(t)
		c.askBulk(s)
		c.share(redis.Addr, nil)
		instances = append(instances, startProcess(t, c))
	}
	var all sync.WaitGroup
	crowd := ofNetworks(150)
	for _, p := range instances {
		p.awaitRedis(t, 1)
	}
	for _, p := range instances {
		all.Go(func() { visitAtOnce(t, p.running, crowd) })
	}
	all.Wait()
	for _, p := range instances {
		wantSystems(t, p.running, crowd)
	}
	requests, addresses, most := s.counts()
	if requests > 20 || addresses != 150 || most != 1 {
		t.Errorf("%d requests about %d addresses, %d times about one", requests, addresses, most)
	}
}
