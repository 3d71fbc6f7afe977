package e2e_test

import (
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// traffic are visitors who come again and again until they are told to stop.
type traffic struct {
	stop     chan struct{}
	visitors sync.WaitGroup
	requests atomic.Int64
	repeated atomic.Int64
	failed   atomic.Int64
	first    atomic.Value // the first failure, in words
}

// startTraffic lets visitors with the given addresses and the answers that they must get come over kept connections, as
// browsers do, and over connections of their own.
func startTraffic(site string, want map[string]int) *traffic {
	f := &traffic{stop: make(chan struct{})}
	for addr, status := range want {
		for _, kept := range []bool{true, false} {
			f.visitors.Go(func() { f.visit(site, addr, status, kept) })
		}
	}
	return f
}

func (f *traffic) visit(site, addr string, status int, kept bool) {
	transport := &http.Transport{DisableKeepAlives: !kept}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	for {
		select {
		case <-f.stop:
			return
		case <-time.After(2 * time.Millisecond):
		}
		f.requests.Add(1)
		got, err := f.ask(client, site, addr)
		if err != nil {
			f.fail("%s, kept connections %t: %v", addr, kept, err)
		} else if got != status {
			f.fail("%s: status %d, want %d", addr, got, status)
		}
	}
}

// ask repeats a request that a reload broke.
func (f *traffic) ask(client *http.Client, site, addr string) (status int, err error) {
	for range 25 {
		var req *http.Request
		req, err = http.NewRequest(http.MethodGet, site+"/", nil)
		if err != nil {
			return 0, err
		}
		req.Header.Set("X-Forwarded-For", addr)
		var resp *http.Response
		resp, err = client.Do(req)
		if err == nil {
			return resp.StatusCode, resp.Body.Close()
		}
		if !brokenByReload(err) {
			return 0, err
		}
		f.repeated.Add(1)
		time.Sleep(2 * time.Millisecond)
	}
	return 0, err
}

func (f *traffic) fail(format string, args ...any) {
	if f.failed.Add(1) == 1 {
		f.first.Store(fmt.Sprintf(format, args...))
	}
}

// end stops the visitors and fails the test if one request was not answered as it should.
func (f *traffic) end(t *testing.T) {
	t.Helper()
	close(f.stop)
	f.visitors.Wait()
	if n := f.failed.Load(); n > 0 {
		t.Errorf("%d of %d requests failed, the first: %v", n, f.requests.Load(), f.first.Load())
	}
}

// TestReloads proves promise 6: under traffic, no request is lost, no goroutine left behind, no list fetched again, no
// quota, answer, ban or metric forgotten, however often the configuration changes, and also when it is refused.
func TestReloads(t *testing.T) {
	const blocked = `requests_total{action="block",mode="enforce",status="fresh"}`
	c, p, s := guarded(t, "198.51.100.0/24\n")
	header := object{"X-Version": []any{"0"}}
	c.next = []any{
		object{"handler": "headers", "response": object{"set": header}},
		object{"handler": "static_response", "body": "passed"},
	}
	r := startCaddy(t, c)
	eventually(t, "the list is fetched", func() bool { return r.visit(t, scannerClient).status == http.StatusForbidden })
	if got := r.ask(t, http.MethodPost, "bans", `{"prefix":"`+deniedClient+`"}`); got.status != http.StatusCreated {
		t.Fatalf("banning: status %d: %s", got.status, got.body)
	}
	want := map[string]int{cleanClient: 200, badClient: 403, scannerClient: 403, deniedClient: 403, exemptClient: 200}
	for addr := range want {
		r.visit(t, addr)
	}
	asked := s.asked()
	for range 5 {
		r.reload(t) // so that Caddy has what it makes once
	}
	goroutines := settled(t)
	before := r.metric(t, blocked)

	const n = 150
	began := time.Now()
	visitors := startTraffic(r.site, want)
	for i := range n {
		header["X-Version"] = []any{strconv.Itoa(i % 2)}
		if i%10 == 9 {
			c.app["memory"] = -1
			if r.tryReload(t) == nil {
				t.Error("a wrong configuration was accepted")
			}
			delete(c.app, "memory")
		}
		r.reload(t)
		time.Sleep(5 * time.Millisecond) // so that every configuration has served some
	}
	took := time.Since(began)
	visitors.end(t)
	t.Logf("%d reloads in %s under %d requests, %d repeated", n, took.Round(time.Millisecond),
		visitors.requests.Load(), visitors.repeated.Load())
	// some of Caddy's end when they like
	eventually(t, fmt.Sprintf("%d goroutines are left, as before", goroutines), func() bool { return runtime.NumGoroutine() <= goroutines+2 })

	if got := r.visit(t, cleanClient).header.Get("X-Version"); got != strconv.Itoa((n-1)%2) {
		t.Errorf("the site has version %s", got)
	}
	if p.fetches() != 1 {
		t.Errorf("the list was fetched %d times", p.fetches())
	}
	if s.asked() != asked {
		t.Errorf("the provider was asked again, %d times", s.asked()-asked)
	}
	if left := r.metric(t, `provider_quota_remaining{provider="abuseipdb",window="day"}`); left != float64(1000-asked) {
		t.Errorf("%v calls are left, want %d", left, 1000-asked)
	}
	r.visit(t, "192.0.2.77")
	if left := r.metric(t, `provider_quota_remaining{provider="abuseipdb",window="day"}`); left != float64(1000-asked-1) {
		t.Errorf("after one new visitor %v calls are left, want %d", left, 1000-asked-1)
	}
	if after := r.metric(t, blocked); after < before+float64(visitors.requests.Load())/3 {
		t.Errorf("%v blocks were counted before, %v after %d requests", before, after, visitors.requests.Load())
	}
}

// TestARequestOutlivesReloads proves that a request which is waiting for a provider is answered by the configuration that it
// came to, with what the provider says.
func TestARequestOutlivesReloads(t *testing.T) {
	s, knowing, release := startGated(t)
	knowing.know(badClient, 100, 60)
	c := newConfig(t)
	c.ask(s)
	c.app["wait"] = "10s"
	c.app["providers"].([]any)[0].(object)["timeout"] = "30s"
	r := startCaddy(t, c)
	answered := make(chan reply, 1)
	go func() { answered <- r.visit(t, badClient) }()
	eventually(t, "the provider is asked", func() bool { return s.asked() == 1 })
	for i := range 10 {
		c.handler["headers"] = []string{"full", "minimal"}[i%2]
		r.reload(t)
	}
	release()
	if got := (<-answered).status; got != http.StatusForbidden {
		t.Errorf("status %d", got)
	}
	// what was learnt then is known to the new configuration
	if got := r.visit(t, badClient).status; got != http.StatusForbidden || s.asked() != 1 {
		t.Errorf("after the reloads: status %d, %d calls", got, s.asked())
	}
}

// settled returns the number of goroutines once it does not fall any more.
func settled(t *testing.T) int {
	t.Helper()
	least, since := runtime.NumGoroutine(), 0
	for since < 40 {
		time.Sleep(5 * time.Millisecond)
		since++
		if n := runtime.NumGoroutine(); n < least {
			least, since = n, 0
		}
	}
	return least
}

// TestReloadsWhileTheProviderHangs proves that look-ups under way delay no reload and are not lost by one: there are never
// more than those of the visitors, and a stop ends them.
func TestReloadsWhileTheProviderHangs(t *testing.T) {
	s := startStandIn(t)
	s.behave(s.hang)
	c := newConfig(t)
	c.ask(s)
	c.app["wait"] = "1ms"
	c.app["providers"].([]any)[0].(object)["timeout"] = "60s"
	r := startCaddy(t, c)
	for i := range 20 {
		if got := r.visit(t, "198.51.100."+strconv.Itoa(i)).status; got != http.StatusOK {
			t.Errorf("status %d", got)
		}
		c.handler["headers"] = []string{"full", "minimal"}[i%2]
		r.reload(t)
	}
	if n := s.asked(); n < 1 || n > 20 {
		t.Errorf("the provider was asked %d times about 20 addresses", n)
	}
}

// TestWhatAReloadChanges proves that a changed setting acts at once, on what is known already.
func TestWhatAReloadChanges(t *testing.T) {
	s := startStandIn(t)
	s.know(badClient, 100, 60)
	b := startBackend(t)
	c := newConfig(t)
	c.ask(s)
	c.handler["mode"] = "observe"
	c.next = []any{proxyTo(b.Server)}
	r := startCaddy(t, c)
	provider := c.app["providers"].([]any)[0].(object)
	for _, step := range []struct {
		name   string
		change func()
		score  string
	}{
		{"as it was", func() {}, "88"},
		{"less trust", func() { provider["trust"] = 0.5 }, "22"},
		{"a feed more", func() { c.app["feeds"] = []any{object{"name": "more", "sources": []any{badClient}}} }, "81"},
		{"another memory", func() { c.app["memory"] = 1000 }, "81"},
		{"more trust and no feed", func() { delete(c.app, "feeds"); delete(provider, "trust") }, "88"},
		{"denied", func() { c.app["deny"] = []any{badClient} }, "100"},
		{"exempt", func() { c.app["exempt"] = []any{badClient} }, ""},
	} {
		step.change()
		r.reload(t)
		r.visit(t, badClient)
		if got := b.only(t).told()["Score"]; got != step.score {
			t.Errorf("%s: score %q, want %q", step.name, got, step.score)
		}
	}
	if n := s.asked(); n != 1 {
		t.Errorf("the provider was asked %d times", n)
	}
}

// TestAFailedReloadChangesNothing proves it for every kind of mistake that is found after our app was made.
func TestAFailedReloadChangesNothing(t *testing.T) {
	c, p, s := guarded(t, scannerClient+"\n")
	r := startCaddy(t, c)
	eventually(t, "the list is fetched", func() bool { return r.visit(t, scannerClient).status == http.StatusForbidden })
	r.visit(t, badClient)
	r.visit(t, cleanClient)
	asked := s.asked()
	good := string(c.json(t))
	for name, bad := range map[string]string{
		"an unknown handler":   strings.Replace(good, `"static_response"`, `"no_such_handler"`, 1),
		"an unknown app":       strings.Replace(good, `"apps":{`, `"apps":{"no_such_app":{},`, 1),
		"an unknown setting":   strings.Replace(good, `"mode":`, `"mood":"bad","mode":`, 1),
		"a rule without sense": strings.Replace(good, `"score":"85"`, `"score":"850"`, 1),
		"another feed, and a mistake": strings.Replace(strings.Replace(good, p.URL, p.URL+"/other", 1),
			`"static_response"`, `"no_such_handler"`, 1),
		"a port that is taken": strings.Replace(good, `"listen":["`+c.siteAddr, `"listen":["192.0.2.1:1`, 1),
	} {
		for range 3 {
			if err := caddy.Load([]byte(bad), true); err == nil {
				t.Errorf("%s was accepted", name)
			}
		}
		for addr, status := range map[string]int{badClient: 403, scannerClient: 403, cleanClient: 200} {
			if got := r.visit(t, addr).status; got != status {
				t.Errorf("after %s: %s is answered with status %d, want %d", name, addr, got, status)
			}
		}
		if got := r.ask(t, http.MethodGet, "status", "").status; got != http.StatusOK {
			t.Errorf("after %s: the status is answered with %d", name, got)
		}
		if r.metric(t, `feed_entries{feed="published"}`) != 1 || r.metric(t, `provider_up{provider="abuseipdb"}`) != 1 {
			t.Errorf("after %s the gauges are wrong", name)
		}
	}
	if p.fetches() != 1 || s.asked() != asked {
		t.Errorf("the list was fetched %d times, the provider asked %d more times", p.fetches(), s.asked()-asked)
	}
}
