package e2e_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// denying is a site that denies one address and tells what it knows by its answer.
func denying(t *testing.T, denied ...any) *config {
	t.Helper()
	c := newConfig(t)
	c.app["deny"] = denied
	c.next = []any{object{"handler": "static_response", "body": "{http.ip_reputation.status}"}}
	return c
}

// stranger makes a server trust others than the test.
var stranger = object{"source": "static", "ranges": []any{"198.51.100.0/24"}}

// TestTheClientIsCaddys proves promise 4: whom a request comes from is what Caddy says, whatever form it has, and no more
// can be said by the visitor than the server's settings let him.
func TestTheClientIsCaddys(t *testing.T) {
	trusting := object{"source": "static", "ranges": []any{"127.0.0.0/8", "198.51.100.0/24"}}
	for _, tc := range []struct {
		name      string
		trust     object
		forwarded []string
		status    int
		body      string
	}{
		{"the client behind the proxy", trusting, []string{deniedClient}, 403, ""},
		{"the right-most client that is no proxy", trusting, []string{cleanClient + ", " + deniedClient + ", 198.51.100.9"}, 403, ""},
		{"what a client claims about himself", trusting, []string{deniedClient + ", " + cleanClient}, 200, "unknown"},
		{"on two lines", trusting, []string{cleanClient, deniedClient}, 403, ""},
		{"with a port", trusting, []string{deniedClient + ":4711"}, 403, ""},
		{"mapped into IPv6", trusting, []string{"::ffff:" + deniedClient}, 403, ""},
		{"mapped, in hexadecimal", trusting, []string{"::ffff:cb00:7163"}, 403, ""},
		{"IPv6 in the same /64", trusting, []string{"2001:db8:bad::1"}, 403, ""},
		{"IPv6, long form", trusting, []string{"2001:0DB8:0BAD:0000:0000:0000:0000:0001"}, 403, ""},
		{"with a zone", trusting, []string{"2001:db8:bad::1%eth0"}, 403, ""},
		{"IPv6 elsewhere", trusting, []string{"2001:db8:bad:1::1"}, 200, "unknown"},
		{"nonsense is the proxy", trusting, []string{"nobody"}, 200, "exempt"},
		{"nothing is the proxy", trusting, nil, 200, "exempt"},
		{"a proxy that is not trusted", stranger, []string{deniedClient}, 200, "exempt"},
		{"nobody is trusted", object{"source": "static"}, []string{deniedClient}, 200, "exempt"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := denying(t, deniedClient, "2001:db8:bad::/64")
			c.server = object{"trusted_proxies": tc.trust}
			r := startCaddy(t, c)
			header := http.Header{"X-Forwarded-For": tc.forwarded, "X-Real-Ip": {deniedClient}, "Cf-Connecting-Ip": {deniedClient},
				"Forwarded": {"for=" + deniedClient}, "Client-Ip": {deniedClient}}
			got := send(t, http.MethodGet, r.site+"/", "", header)
			if got.status != tc.status || ownBody(got) != tc.body {
				t.Errorf("status %d, body %q, want status %d, body %q", got.status, got.body, tc.status, tc.body)
			}
		})
	}
}

// TestADeniedPeerCannotTalkHimselfOut proves that a forwarding header of a visitor whom nobody trusts helps him nothing.
func TestADeniedPeerCannotTalkHimselfOut(t *testing.T) {
	c := denying(t, "127.0.0.1")
	c.server = object{"trusted_proxies": stranger}
	r := startCaddy(t, c)
	for _, claim := range []string{"", cleanClient, "10.0.0.1", "::1", "127.0.0.1, " + cleanClient} {
		if got := r.visit(t, claim).status; got != http.StatusForbidden {
			t.Errorf("claiming %q, he gets status %d", claim, got)
		}
	}
}

// TestUnixSockets proves that a client without an address is unknown rather than somebody, and that a trusted proxy on a
// unix socket can name the client.
func TestUnixSockets(t *testing.T) {
	for _, tc := range []struct {
		name    string
		trusted bool
		unknown string
		client  string
		status  int
		body    string
	}{
		{"nobody is unknown", false, "", deniedClient, 200, "unknown"},
		{"the unknown are blocked", false, "block", cleanClient, 403, ""},
		{"trusted, denied", true, "", deniedClient, 403, ""},
		{"trusted, another", true, "", cleanClient, 200, "unknown"},
		{"trusted, nobody named", true, "", "", 200, "unknown"},
		{"trusted, nobody named, the unknown are blocked", true, "block", "", 403, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := denying(t, deniedClient)
			socket := filepath.Join(c.dataDir, "s")
			c.handler["unknown"] = tc.unknown
			c.server = object{"listen": []any{"unix/" + socket}, "trusted_proxies_unix": tc.trusted}
			startCaddy(t, c)
			request := []string{"GET / HTTP/1.1", "Host: " + siteName, "Connection: close"}
			if tc.client != "" {
				request = append(request, "X-Forwarded-For: "+tc.client)
			}
			got := parsed(t, speak(t, "unix", socket, lines(append(request, "")...)))
			if got.status != tc.status || ownBody(got) != tc.body {
				t.Errorf("status %d, body %q, want status %d, body %q", got.status, got.body, tc.status, tc.body)
			}
		})
	}
}

// TestTheJudgementOfUnixSockets proves that a site of which nearly all visitors have no address is something to look at.
func TestTheJudgementOfUnixSockets(t *testing.T) {
	c := denying(t, deniedClient)
	socket := filepath.Join(c.dataDir, "s")
	c.server = object{"listen": []any{"unix/" + socket}}
	r := startCaddy(t, c)
	eventually(t, "it is found out", func() bool {
		for range 100 {
			speak(t, "unix", socket, lines("GET / HTTP/1.1", "Host: "+siteName, "Connection: close", ""))
		}
		return strings.Contains(r.ask(t, http.MethodGet, "status", "").body, `"reason":"clients_missing"`)
	})
}

// TestRequestID proves that the correlation ID of a request is taken over from a trusted proxy alone, and only when it can
// go into headers and logs as it is; and that the answer and the application have the same.
func TestRequestID(t *testing.T) {
	const good = "0af7651916cd43dd8448eb211c80319c"
	b := startBackend(t)
	for _, tc := range []struct {
		name    string
		trusted bool
		inbound []string
		taken   bool
	}{
		{"well-formed", true, []string{good}, true},
		{"of a UUID's form", true, []string{"5b7b9c53-95c7-4d1c-8a4c-0a5f2c4b1b4e"}, true},
		{"of a trace's form", true, []string{"Root=1-67891233-abcdef012345678912345678"}, true},
		{"from a stranger", false, []string{good}, false},
		{"none", true, nil, false},
		{"empty", true, []string{""}, false},
		{"two", true, []string{good, "another"}, false},
		{"with a space", true, []string{"a b"}, false},
		{"with a quotation mark", true, []string{`a"b`}, false},
		{"with markup", true, []string{"<script>"}, false},
		{"with a comma", true, []string{"a,b"}, false},
		{"not ASCII", true, []string{"käse"}, false},
		{"of greatest length", true, []string{strings.Repeat("a", 128)}, true},
		{"too long", true, []string{strings.Repeat("a", 129)}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newConfig(t)
			c.next = []any{proxyTo(b.Server)}
			if !tc.trusted {
				c.server = object{"trusted_proxies": stranger}
			}
			r := startCaddy(t, c)
			b.forget()
			got := send(t, http.MethodGet, r.site+"/", "", http.Header{"X-Request-Id": tc.inbound}).header["X-Request-Id"]
			given := b.only(t).header["X-Request-Id"]
			switch {
			case len(got) != 1 || len(given) != 1 || got[0] != given[0]:
				t.Errorf("the answer has %q, the application was given %q", got, given)
			case tc.taken && got[0] != tc.inbound[0]:
				t.Errorf("%q became %q", tc.inbound[0], got[0])
			case !tc.taken && (len(got[0]) != 32 || strings.Trim(got[0], "0123456789abcdef") != ""):
				t.Errorf("the new one is %q", got[0])
			}
		})
	}
}

// TestWarnings proves that the two mistakes by which the wrong address is judged are said aloud: where visitors can choose
// their address, and where all of them seem to be one proxy.
func TestWarnings(t *testing.T) {
	const notStrict, proxy = `client_address_suspect_total{reason="not_strict"}`, `client_address_suspect_total{reason="proxy"}`
	t.Run("strict", func(t *testing.T) {
		r := startCaddy(t, newConfig(t))
		before := r.metric(t, notStrict)
		for range 500 {
			r.visit(t, cleanClient)
		}
		if after := r.metric(t, notStrict); after != before {
			t.Errorf("%v warnings were counted", after-before)
		}
		if strings.Contains(r.logs(t), "trusted_proxies_strict") {
			t.Error("there is a warning in the log")
		}
	})
	t.Run("not strict", func(t *testing.T) {
		c := denying(t, deniedClient)
		c.server = object{"trusted_proxies_strict": 0}
		r := startCaddy(t, c)
		before := r.metric(t, notStrict)
		eventually(t, "the warning is counted", func() bool {
			r.visit(t, cleanClient)
			return r.metric(t, notStrict) > before
		})
		const warning = `"msg":"visitors can choose the address they are judged by`
		eventually(t, "the warning is logged", func() bool { return strings.Contains(r.logs(t), warning) })
		for range 500 {
			r.visit(t, cleanClient)
		}
		if n := strings.Count(r.logs(t), warning); n != 1 {
			t.Errorf("the log holds the warning %d times, want once", n)
		}
		if got := r.ask(t, http.MethodGet, "status", ""); !strings.Contains(got.body, "visitors of server site can choose") {
			t.Errorf("the status does not warn: %s", got.body)
		}
		if got := r.ask(t, http.MethodGet, "status", ""); !strings.Contains(got.body, `"reason":"clients_chosen","component":"site"`) {
			t.Errorf("the judgement does not hold it: %s", got.body)
		}
		// what the warning is about
		if got := r.visit(t, cleanClient+", "+deniedClient).status; got != http.StatusOK {
			t.Errorf("status %d: a visitor could not choose his address; is the warning still needed?", got)
		}
	})
	t.Run("a proxy that is not trusted", func(t *testing.T) {
		c := newConfig(t)
		c.server = object{"trusted_proxies": stranger}
		c.app["deny"] = []any{deniedClient}
		r := startCaddy(t, c)
		before := r.metric(t, proxy)
		keep := &http.Client{Transport: &http.Transport{}}
		defer keep.CloseIdleConnections()
		eventually(t, "the proxy is found out", func() bool {
			for range 1000 {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.site+"/", nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("X-Forwarded-For", cleanClient)
				resp, err := keep.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
			}
			return r.metric(t, proxy) > before
		})
		if !strings.Contains(r.logs(t), "nearly all requests come from one address that looks like a proxy") {
			t.Error("there is no warning in the log")
		}
		if got := r.ask(t, http.MethodGet, "status", ""); !strings.Contains(got.body, `"reason":"clients_one_proxy"`) {
			t.Errorf("the judgement does not hold it: %s", got.body)
		}
	})
}
