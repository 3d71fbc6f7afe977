package fetch

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

// TestRedirects proves that what goes with a request stays with it on one host, and which redirects are followed with
// and without a credential.
func TestRedirects(t *testing.T) {
	server, start := serve(t, "127.0.0.1", redirect("/moved"), text("192.0.2.1"))
	c := open(t)
	if _, err := get(c, start, http.Header{"x-key": {"abcdef"}}); err != nil {
		t.Fatal(err)
	}
	for _, r := range server.seen() {
		if r.Header.Get("X-Key") != "abcdef" {
			t.Errorf("%s came without the operator's header", r.URL.Path)
		}
	}
	for _, test := range []struct {
		from, to      string
		with, without bool
	}{
		{"http://192.0.2.1/a", "https://192.0.2.1/a", true, true},
		{"https://192.0.2.1/a", "https://192.0.2.1/b", true, true},
		{"https://192.0.2.1/a", "http://192.0.2.1/a", false, false},
		{"https://192.0.2.1/a", "http://192.0.2.2/a", false, false},
		{"https://192.0.2.1/a", "https://192.0.2.2/a", false, true},
		{"https://192.0.2.1/a", "https://192.0.2.1:8443/a", false, true},
		{"http://192.0.2.1/a", "http://192.0.2.2/a", false, true},
		{"http://192.0.2.1/a", "https://192.0.2.2/a", false, true},
	} {
		from, to := httptest.NewRequest(http.MethodGet, test.from, nil), httptest.NewRequest(http.MethodGet, test.to, nil)
		for credentials, follow := range map[bool]bool{true: test.with, false: test.without} {
			j := &journey{Client: c, start: from.URL, credentials: credentials}
			if err := j.check(to, []*http.Request{from}); (err == nil) != follow {
				t.Errorf("%s to %s, credentials %t: %v", test.from, test.to, credentials, err)
			}
		}
	}
}

func TestHoldsCredentials(t *testing.T) {
	for start, want := range map[string]bool{"https://192.0.2.1/": false, "https://key@192.0.2.1/": true} {
		u, err := url.Parse(start)
		if err != nil {
			t.Fatal(err)
		}
		if got := new(Document).holdsCredentials(u); got != want {
			t.Errorf("%s: %t", start, got)
		}
	}
	for header, want := range map[string]bool{"accept": false, "Accept-Language": false, "Authorization": true, "x-key": true} {
		d := Document{Header: http.Header{header: {"any"}}}
		if got := d.holdsCredentials(new(url.URL)); got != want {
			t.Errorf("header %s: %t", header, got)
		}
	}
}

// TestRedirectsElsewhere proves, over real connections, which hosts a publisher may lead to: any that is outside, and one
// that is inside only from inside. Of the addresses of this machine, 127.0.0.1 and ::1 stand for those inside.
func TestRedirectsElsewhere(t *testing.T) {
	inside := func(addr netip.Addr) bool {
		return addr == netip.MustParseAddr("127.0.0.1") || addr == netip.IPv6Loopback()
	}
	const refusal = "it leads to a private or reserved address; if the list has moved, write its new URL"
	for name, test := range map[string]struct {
		start, target string
		byName        bool // the target is named localhost
		header        http.Header
		says          string
	}{
		"outside":                  {start: "127.0.0.2", target: "127.0.0.3"},
		"outside, a plain header":  {start: "127.0.0.2", target: "127.0.0.3", header: http.Header{"Accept": {"text/plain"}}},
		"outside, with credential": {start: "127.0.0.2", target: "127.0.0.3", header: http.Header{"Authorization": {"Bearer abc"}}, says: "headers may be secret"},
		"inside":                   {start: "127.0.0.2", target: "127.0.0.1", says: refusal},
		"inside, by name":          {start: "127.0.0.2", target: "127.0.0.1", byName: true, says: refusal},
		"from inside to inside":    {start: "127.0.0.1", target: "127.0.0.1"},
		"from inside, outside":     {start: "127.0.0.1", target: "127.0.0.3"},
	} {
		t.Run(name, func(t *testing.T) {
			target, to := serve(t, test.target, text("198.51.100.7\n"))
			if test.byName {
				to = strings.Replace(to, test.target, "localhost", 1)
			}
			_, start := serve(t, test.start, redirect("/moved"), redirect(to+"/list"))
			c := open(t)
			c.inside = inside
			got, err := get(c, start+"/?key=abcdef", test.header)
			if test.says != "" {
				if err == nil || !strings.Contains(err.Error(), test.says) || len(target.seen()) > 0 {
					t.Errorf("got %v, and %d requests, want an error with %q", err, len(target.seen()), test.says)
				}
				return
			}
			if err != nil || got != "198.51.100.7\n" {
				t.Fatalf("got %q, %v", got, err)
			}
			for _, r := range target.seen() {
				if referer := r.Header.Get("Referer"); referer != "" {
					t.Errorf("the other host is told %q", referer)
				}
			}
		})
	}
}

// TestRedirectIntoAnOpenConnection proves that a redirect cannot use a connection which another request has opened to a host
// inside.
func TestRedirectIntoAnOpenConnection(t *testing.T) {
	target, to := serve(t, "127.0.0.1", text("198.51.100.7\n"))
	_, start := serve(t, "127.0.0.2", redirect(to))
	c := open(t)
	c.inside = func(addr netip.Addr) bool { return addr == netip.MustParseAddr("127.0.0.1") }
	if _, err := get(c, to, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := get(c, start, nil); err == nil || len(target.seen()) != 1 {
		t.Errorf("got %v, and %d requests", err, len(target.seen()))
	}
}

// TestInside proves which addresses a publisher may not lead to, in each spelling.
func TestInside(t *testing.T) {
	c := New(nil)
	for address, refused := range map[string]bool{
		"127.0.0.1:80": true, "10.0.0.1:443": true, "192.168.1.1:80": true, "169.254.169.254:80": true, "100.64.0.1:80": true,
		"0.0.0.0:80": true, "[::1]:80": true, "[::]:80": true, "[fe80::1%eth0]:80": true, "[fd00::1]:80": true,
		"[::ffff:127.0.0.1]:80": true, "[::ffff:10.0.0.1]:80": true, "nonsense": true,
		"198.51.100.7:443": false, "[2001:db8::1]:443": false,
	} {
		if err := c.refuseInside("tcp", address, nil); (err != nil) != refused {
			t.Errorf("%s: %v", address, err)
		}
	}
}
