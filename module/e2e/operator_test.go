package e2e_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"

	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// twelveSources is a Caddyfile with two lists and ten services. Of these, three are dead in different ways, one lies and
// one is slow.
const twelveSources = `{
	servers {
		trusted_proxies static 127.0.0.0/8
		trusted_proxies_strict
	}
	ip_reputation {
		wait 25ms
		feed LISTS/bad.txt {
			name published
		}
		feed 203.0.113.66 {
			name mine
			category scanner
		}
		provider abuseipdb {
			url ABUSEIPDB
			key KEY
			timeout 30s
		}
		provider stopforumspam {
			url SERVICES/sfs
			timeout 30s
		}
		provider greynoise {
			url SERVICES/greynoise
			timeout 30s
			key KEY
			quota 1000/day
		}
		provider iphub {
			url SERVICES/iphub
			timeout 30s
			key KEY
		}
		provider dnsbl bl.example.org {
			resolver RESOLVER
			timeout 30s
			category bruteforce
			trust 1
			rate 100/s
		}
		provider otx { # nobody listens
			url http://REFUSING
			key KEY
			timeout 1s
		}
		provider virustotal { # it hangs
			url SERVICES/hang
			key KEY
			timeout 1s
			quota 1000/day
		}
		provider ipqualityscore { # it speaks no TLS
			url https://GARBAGE
			key KEY
			quota 1000/day
			timeout 1s
		}
		provider proxycheck { # it says 200 and nonsense
			url SERVICES/lie
			key KEY
			timeout 1s
		}
		provider internetdb { # it takes 10 s
			url SERVICES/slow
			timeout 1s
		}
	}
}
SITE {
	ip_reputation {
		mode enforce
		block score 85
	}
	respond "{http.ip_reputation.status} {http.ip_reputation.score} {http.ip_reputation.reasons}"
}
`

// brokenServices are those that do not work, and how their calls end.
var brokenServices = map[string]string{
	"otx": "error", "virustotal": "timeout", "ipqualityscore": "error", "proxycheck": "bad_answer",
	"internetdb": "timeout",
}

// services plays several services at paths of their own: those that know the bad client, and those that are of no use.
type services struct {
	bad     string
	holding atomic.Int64 // questions that are not answered yet
	closing chan struct{}
}

func (s *services) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	addr := r.URL.Path[strings.LastIndexByte(r.URL.Path, 47)+1:]
	say := func(status int, format string, args ...any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, format, args...)
	}
	switch name, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); name {
	case "sfs":
		if addrs := r.URL.Query()["ip[]"]; len(addrs) > 0 {
			var all []string
			for _, addr := range addrs {
				all = append(all, s.spam(addr))
			}
			say(200, `{"success":1,"ip":[%s]}`, strings.Join(all, ","))
			return
		}
		say(200, `{"success":1,"ip":%s}`, s.spam(r.URL.Query().Get("ip")))
	case "greynoise":
		if addr == s.bad {
			say(200, `{"ip":%q,"noise":true,"riot":false,"classification":"malicious","last_seen":"2026-11-29"}`, addr)
			return
		}
		say(404, `{"ip":%q,"noise":false,"riot":false,"message":"IP not observed"}`, addr)
	case "iphub":
		say(200, `{"ip":%q,"countryCode":"SE","asn":64530,"isp":"Example AB","block":0}`, addr)
	case "lie":
		say(200, `{"status":"ok","everything":"is fine","%s":["no object",{"risk":-7}]}`, addr)
	case "slow":
		s.hold(r, 10*time.Second)
	default:
		s.hold(r, time.Hour)
	}
}

// spam is what StopForumSpam says of an address.
func (s *services) spam(addr string) string {
	if addr == s.bad {
		return fmt.Sprintf(`{"value":%q,"appears":1,"frequency":90,"confidence":95,"lastseen":"2026-11-29 08:00:00"}`, addr)
	}
	return fmt.Sprintf(`{"value":%q,"appears":0,"frequency":0}`, addr)
}

// hold answers nothing until the caller has given up, or the time is over.
func (s *services) hold(r *http.Request, most time.Duration) {
	s.holding.Add(1)
	defer s.holding.Add(-1)
	select {
	case <-r.Context().Done():
	case <-s.closing:
	case <-time.After(most):
	}
}

// garbageTLS accepts connections, and says what no handshake begins with.
func garbageTLS(t testing.TB) (addr string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			_, _ = io.WriteString(conn, "220 mail.example.org ESMTP\r\n")
			_ = conn.Close()
		}
	}()
	return l.Addr().String()
}

// startTwelve starts Caddy with twelve sources, and returns what plays those that can be asked.
func startTwelve(t testing.TB) (*running, *services) {
	t.Helper()
	abuse := startStandIn(t)
	abuse.know(badClient, 100, 60)
	s := &services{bad: badClient, closing: make(chan struct{})}
	server := httptest.NewServer(s)
	t.Cleanup(func() {
		close(s.closing)
		server.Close()
	})
	list := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, badClient)
	}))
	t.Cleanup(list.Close)
	resolver := testenv.Rbldnsd(t, testenv.DNSZone{
		Name: "bl.example.org", Kind: "ip4set", Data: ":127.0.0.2:listed $\n127.0.0.2\n" + badClient + "\n",
	})
	c := newConfig(t)
	r := startCaddyfile(t, c, strings.NewReplacer(
		"LISTS", list.URL, "ABUSEIPDB", abuse.URL, "SERVICES", server.URL, "RESOLVER", resolver, "KEY", "{env."+keyName+"}",
		"REFUSING", testenv.FreeAddr(t), "GARBAGE", garbageTLS(t), "SITE", "http://"+c.siteAddr,
	).Replace(twelveSources))
	return r, s
}

// TestTwelveSources proves what an operator is promised of a configuration in which half of the services do not work:
// nobody waits for these, they are held against nobody, what the others say is the verdict, and each tool says what is
// wrong.
func TestTwelveSources(t *testing.T) {
	r, s := startTwelve(t)
	held := 0
	for i := range 6 {
		if got := r.visit(t, fmt.Sprintf("198.51.%d.1", i)); got.status != http.StatusOK {
			t.Errorf("visitor %d is answered with %d", i, got.status)
		}
		if s.holding.Load() > 0 {
			held++
		}
	}
	if held == 0 {
		t.Error("each visitor waited until those had answered that do not answer")
	}

	eventually(t, "the list is fetched", func() bool { return len(r.check(t, badClient).Lists) > 0 })
	// who is known, is known by those that work, and the rest is missing
	const works = 0.6 // by trust, of the services and the two lists
	for _, client := range []string{cleanClient, badClient} {
		var got checked
		eventually(t, "those that work have answered about "+client, func() bool {
			r.visit(t, client)
			got = r.check(t, client)
			return len(answeredOf(got)) == 5
		})
		want := []string{"abuseipdb", "stopforumspam", "greynoise", "iphub", "bl_example_org"}
		if diff := cmp.Diff(want, answeredOf(got)); diff != "" {
			t.Errorf("%s: who answered (-want +got):\n%s", client, diff)
		}
		// those whose answers could not change what happens to the bad client are not missing
		if *got.Coverage < works-.01 || client == cleanClient && *got.Coverage > works+.01 || got.Facts["asn"] != 64530. {
			t.Errorf("%s: coverage %.3f, facts %v", client, *got.Coverage, got.Facts)
		}
		for _, reason := range got.Reasons {
			if brokenServices[reason.Source] != "" {
				t.Errorf("%s: a service that does not work is a reason: %+v", client, reason)
			}
		}
	}
	eventually(t, "nobody is asked about the clean client any more", func() bool {
		return strings.HasPrefix(r.visit(t, cleanClient).body, "partial 1 abuseipdb;points=-2.0")
	})
	if got := r.visit(t, badClient); got.status != http.StatusForbidden {
		t.Errorf("the bad client: %d, %s", got.status, got.body)
	}

	sources := r.run(t, "sources")
	for name, result := range brokenServices {
		if n := r.metric(t, fmt.Sprintf(`provider_requests_total{provider=%q,result=%q}`, name, result)); n == 0 {
			t.Errorf("no call to %s is counted as %s", name, result)
		}
		if n := r.metric(t, fmt.Sprintf(`provider_requests_total{provider=%q,result="ok"}`, name)); n != 0 {
			t.Errorf("%s has answered %v times", name, n)
		}
		if !strings.Contains(sources, "warning: "+name+": ") {
			t.Errorf("sources does not warn of %s", name)
		}
	}
	for _, cause := range []string{
		"connect: connection refused", "context deadline exceeded", "gave an answer that is not of its protocol",
		"the connection failed before the answer was complete",
	} {
		if !strings.Contains(sources, cause) {
			t.Errorf("sources does not say %q:\n%s", cause, sources)
		}
	}
	if lines := strings.Count(sources, "warning: "); lines != len(brokenServices) {
		t.Errorf("%d warnings, want one for each service that does not work:\n%s", lines, sources)
	}
	if status := r.run(t, "status"); !strings.Contains(status, "otx") || !strings.Contains(status, "failed repeatedly") {
		t.Errorf("status:\n%s", status)
	}
}

// answeredOf returns the providers that have answered about an address.
func answeredOf(c checked) (names []string) {
	for _, p := range c.Providers {
		if p.Answer != nil {
			names = append(names, p.Name)
		}
	}
	return names
}

// BenchmarkSources is a request of a known client through all of Caddy: without the plugin, with one service, and with
// twelve sources of which five do not work.
func BenchmarkSources(b *testing.B) {
	for name, start := range map[string]func() *running{
		"plain": func() *running {
			c := newConfig(b)
			c.app, c.handler = nil, nil
			return startCaddy(b, c)
		},
		"one": func() *running {
			c := newConfig(b)
			c.ask(startStandIn(b))
			return startCaddy(b, c)
		},
		"twelve": func() *running { r, _ := startTwelve(b); return r },
	} {
		b.Run(name, func(b *testing.B) {
			r := start()
			for i := range 8 {
				r.visit(b, fmt.Sprintf("198.51.%d.1", i))
			}
			r.visit(b, cleanClient)
			time.Sleep(2 * time.Second) // until nobody asks those that do not work
			r.visit(b, cleanClient)
			kept := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
			request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, r.site, http.NoBody)
			if err != nil {
				b.Fatal(err)
			}
			request.Header.Set("X-Forwarded-For", cleanClient)
			for b.Loop() {
				resp, err := kept.Do(request)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
			kept.CloseIdleConnections()
		})
	}
}
