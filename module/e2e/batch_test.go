package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// bulkService answers in the place of ipapi.is, once it is open, and slowly: about one address, or up to a hundred in one request.
type bulkService struct {
	*httptest.Server
	open     chan struct{}
	mu       sync.Mutex
	requests int
	asked    map[string]int
}

func startBulk(t *testing.T) *bulkService {
	t.Helper()
	s := &bulkService{open: make(chan struct{}), asked: map[string]int{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *bulkService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	question := struct {
		IPs []string `json:"ips"`
	}{[]string{r.FormValue("q")}}
	if r.Method == http.MethodPost {
		_ = json.NewDecoder(r.Body).Decode(&question)
	}
	s.mu.Lock()
	s.requests++
	for _, addr := range question.IPs {
		s.asked[addr]++
	}
	s.mu.Unlock()
	select {
	case <-s.open:
	case <-r.Context().Done():
		return
	}
	time.Sleep(200 * time.Millisecond) // in which the next questions gather
	answers := object{}
	for _, addr := range question.IPs {
		answers[addr] = object{"ip": addr, "is_abuser": false, "asn": object{"asn": systemOf(addr)}}
	}
	var answer any = answers
	if r.Method == http.MethodGet {
		answer = answers[question.IPs[0]]
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
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
		"service": object{"service": "ipapi_is", "url": s.URL}, "concurrency": 1, "timeout": "60s",
		"keys":  []any{object{"value": "{env." + keyName + "}"}},
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

// visitAtOnce sends a request of each client to each instance at the same time. The service answers once waits returns true.
// waits gets the number of requests that were answered without the service.
func visitAtOnce(t *testing.T, s *bulkService, waits func(answered int) bool, clients []string, instances ...*running) {
	t.Helper()
	var all sync.WaitGroup
	var answered atomic.Int64
	for _, r := range instances {
		for _, client := range clients {
			all.Go(func() {
				r.visit(t, client)
				answered.Add(1)
			})
		}
	}
	eventually(t, "all questions wait", func() bool { return waits(int(answered.Load())) })
	close(s.open)
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

// TestACrowdSharesRequests proves that clients who come while a service is being asked are asked about together:
// each of them counts as a call and gets its own answer, and one network has no more than its share.
func TestACrowdSharesRequests(t *testing.T) {
	s := startBulk(t)
	c := newConfig(t)
	c.askBulk(s)
	c.server = object{"metrics": object{}}
	r := startCaddy(t, c)
	crowd, network := ofNetworks(160), []string{}
	for i := range 44 {
		network = append(network, fmt.Sprintf("203.0.113.%d", i))
	}
	waiting := func() (requests int) {
		metrics := send(t, http.MethodGet, r.admin+"/metrics", "", nil).body
		_, rest, _ := strings.Cut(metrics, `caddy_http_requests_in_flight{handler="ip_reputation",server="site"} `)
		_, _ = fmt.Sscan(rest, &requests)
		return requests
	}
	everybody := slices.Concat(network, crowd)
	visitAtOnce(t, s, func(answered int) bool { return answered+waiting() >= len(everybody) }, everybody, r)
	wantSystems(t, r, crowd)
	s.mu.Lock()
	ofNetwork := 0
	for _, client := range network {
		ofNetwork += s.asked[client]
	}
	s.mu.Unlock()
	requests, addresses, most := s.counts()
	if requests > 8 || most != 1 || ofNetwork < 1 || ofNetwork > 20 {
		t.Errorf("%d requests about %d addresses, %d times about one, %d of one network",
			requests, addresses, most, ofNetwork)
	}
	eventually(t, "each request is counted, and how many addresses it was about", func() bool {
		requests, addresses, _ := s.counts()
		return r.metric(t, `provider_request_addresses_count{provider="ipapi_is"}`) == float64(requests) &&
			r.metric(t, `provider_request_addresses_sum{provider="ipapi_is"}`) == float64(addresses)
	})
	left := r.metric(t, `provider_quota_remaining{provider="ipapi_is",window="month"}`)
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
	crowd := ofNetworks(150)
	for _, p := range instances {
		p.awaitRedis(t, 1)
	}
	asking := func(int) bool { return strings.Count(redis.CLI("KEYS", "*:asking:*"), ":asking:") == len(crowd) }
	visitAtOnce(t, s, asking, crowd, instances[0].running, instances[1].running)
	for _, p := range instances {
		wantSystems(t, p.running, crowd)
	}
	requests, addresses, most := s.counts()
	if requests > 20 || addresses != 150 || most != 1 {
		t.Errorf("%d requests about %d addresses, %d times about one", requests, addresses, most)
	}
}
