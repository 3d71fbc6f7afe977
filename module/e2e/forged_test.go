package e2e_test

import (
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// forgeries are header lines by which a visitor would speak for us: every spelling that some backend takes for one of our
// names, several values, several lines.
var forgeries = []string{
	"X-IP-Reputation-Score: 0",
	"x-ip-reputation-score: 1",
	"X-IP-REPUTATION-STATUS: exempt",
	"X-Ip-Reputation-Reasons: forged;points=0.0, more",
	"X-IP-Reputation-Reasons: forged again",
	"X-IP-Reputation-Country: SE",
	"X-IP-Reputation-ASN: 64496",
	"X-IP-Reputation-Nature: mobile",
	"X-IP-Reputation-Bot: googlebot",
	"X-IP-Reputation-Categories: crawler",
	"X-IP-Reputation-Verified: yes",
	"X-IP-Reputation: clean",
	"X_IP_Reputation_Score: 0",
	"x_ip_reputation_status: exempt",
	"X-IP_Reputation-Score: 0",
	"X_IP-Reputation_Action: pass",
	"X.IP.Reputation.Score: 0",
	"X-IP.Reputation-Score: 0",
	"X_Request_ID: forged",
	"X-Request_ID: forged",
	"X.Request.ID: forged",
	"X-Request-ID: forged 1",
	"X-Request-ID: forged-2",
	"X!IP!Reputation!Score: 0",
	"X~Request~ID: forged",
}

// hostile are `Connection` lines by which a visitor would have a proxy remove what we say.
var hostile = []string{
	"Connection: close, X-IP-Reputation-Score, x-ip-reputation-status,X-IP-REPUTATION-ACTION , X-Kept",
	"Connection: X-Ip-Reputation-Reasons, X-IP-Reputation-Coverage",
	"Connection: X-IP-Reputation-Country,\tX-IP-Reputation-Nature,X-IP-Reputation-Categories, X-Request-ID",
}

// lenient are settings of a server that lets names with underscores and dots through, which Caddy drops by itself.
var lenient = object{
	"expected_underscore_headers": []any{"x_ip_reputation*", "x-ip_reputation*", "x_ip-reputation*", "x_request_id", "x-request_id"},
	"expected_dot_headers":        []any{"x.ip.reputation*", "x-ip.reputation*", "x.request.id"},
}

// path is one way that a request can take through a site.
type path struct {
	name, client, method, path string
	told                       map[string]string
}

var ways = []path{
	{"pass", shadyClient, "POST", "/", map[string]string{
		"Score": "45", "Status": "fresh", "Action": "pass", "Coverage": "1.00",
		"Reasons": "abuseipdb;points=19.2", "Country": "NL", "Nature": "hosting", "Categories": "abuse",
	}},
	{"block", badClient, "POST", "/", map[string]string{
		"Score": "88", "Status": "fresh", "Action": "block", "Coverage": "1.00",
		"Reasons": "abuseipdb;points=28.8", "Country": "NL", "Nature": "hosting", "Categories": "abuse",
	}},
	{"exempt", exemptClient, "POST", "/", map[string]string{"Status": "exempt", "Action": "pass", "Coverage": "0.00"}},
	{"exempt from the site", siteExempt, "POST", "/", map[string]string{"Status": "exempt", "Action": "pass", "Coverage": "0.00"}},
	{"wrong method", exemptClient, "BREW", "/", map[string]string{"Status": "exempt", "Action": "pass", "Coverage": "0.00"}},
	{"error behind us", exemptClient, "POST", "/error", map[string]string{"Status": "exempt", "Action": "pass", "Coverage": "0.00"}},
}

// forgedConfig has a site whose requests, and whose errors, all end at the application.
func forgedConfig(t *testing.T, b *backend) *config {
	t.Helper()
	c := tellingConfig(t, b)
	c.handler["mode"] = "enforce"
	c.next = []any{
		object{"handler": "subroute", "routes": []any{object{
			"match":  []any{object{"path": []any{"/error"}}},
			"handle": []any{object{"handler": "error", "status_code": 500}},
		}}},
		proxyTo(b.Server),
	}
	c.server = object{"errors": object{"routes": []any{object{"handle": []any{proxyTo(b.Server)}}}}}
	return c
}

// TestForgedHeadersDoNotArrive proves promise 3 on every path: the application reads what we say and nothing else, in
// whatever spelling a visitor says it, and no visitor can erase it.
func TestForgedHeadersDoNotArrive(t *testing.T) {
	b := startBackend(t)
	for name, server := range map[string]object{"": {}, " where Caddy lets every spelling through": lenient} {
		c := forgedConfig(t, b)
		maps.Copy(c.server, server)
		r := startCaddy(t, c)
		for _, tc := range ways {
			t.Run(tc.name+name, func(t *testing.T) {
				request := []string{tc.method + " " + tc.path + " HTTP/1.1", "Host: " + siteName, "X-Forwarded-For: " + tc.client,
					"Content-Length: 4", "X-Kept: no", "X-IP-Reputable: yes", "X-Requested-With: curl"}
				request = append(append(request, forgeries...), hostile...)
				answer := parsed(t, speak(t, "tcp", c.siteAddr, lines(append(request, "", "body")...)))
				got := b.only(t)
				wantTold(t, got, tc.told)
				if id := got.header["X-Request-Id"]; len(id) != 1 || len(id[0]) != 32 || id[0] != answer.header.Get("X-Request-Id") {
					t.Errorf("the application was given the request ID %q, the answer has %q", id, answer.header["X-Request-Id"])
				}
				if got.header["X-Kept"] != nil {
					t.Error("a header that the visitor may remove was not removed")
				}
				if got.header.Get("X-Ip-Reputable") != "yes" || got.header.Get("X-Requested-With") != "curl" {
					t.Errorf("headers that only look like ours are gone: %v", got.header)
				}
				if got.method != tc.method || got.body != "body" {
					t.Errorf("method %s, body %q arrived", got.method, got.body)
				}
			})
		}
		r.stop(t)
	}
}

// TestForgedHeadersWithoutOurs proves that nothing forged arrives where we say little or nothing.
func TestForgedHeadersWithoutOurs(t *testing.T) {
	b := startBackend(t)
	c := forgedConfig(t, b)
	maps.Copy(c.server, lenient)
	r := startCaddy(t, c)
	for detail, want := range map[string]map[string]string{
		"minimal": {"Score": "45", "Status": "fresh", "Action": "pass"}, "off": {},
	} {
		c.handler["headers"] = detail
		r.reload(t)
		request := append([]string{"GET / HTTP/1.1", "Host: " + siteName, "X-Forwarded-For: " + shadyClient}, forgeries...)
		parsed(t, speak(t, "tcp", c.siteAddr, lines(append(append(request, hostile...), "")...)))
		wantTold(t, b.only(t), want)
	}
}

// TestForgedTrailersDoNotArrive proves that what comes with the end of a body is no way around: announced or not, beside a
// trailer of the visitor's own, which does arrive.
func TestForgedTrailersDoNotArrive(t *testing.T) {
	b := startBackend(t)
	c := forgedConfig(t, b)
	startCaddy(t, c)
	var names []string
	for _, line := range forgeries {
		name, _, _ := strings.Cut(line, ":")
		names = append(names, name)
	}
	for name, announced := range map[string][]string{
		"all announced":     {"Trailer: X-Checksum, " + strings.Join(names, ", ")},
		"own announced":     {"Trailer: X-Checksum"},
		"on several lines":  {"Trailer: X-IP-Reputation-Score", "Trailer: X-Checksum,x-ip-reputation-status"},
		"not one announced": nil,
	} {
		for _, tc := range ways {
			t.Run(tc.name+", "+name, func(t *testing.T) {
				request := []string{tc.method + " " + tc.path + " HTTP/1.1", "Host: " + siteName, "X-Forwarded-For: " + tc.client,
					"Transfer-Encoding: chunked", "TE: trailers"}
				request = append(append(request, announced...), hostile...)
				request = append(request, "", "4", "body", "0", "X-Checksum: 1234")
				answer := parsed(t, speak(t, "tcp", c.siteAddr, lines(append(append(request, forgeries...), "")...)))
				if answer.status == http.StatusBadRequest {
					t.Fatalf("the server did not understand the request: %s", answer.body)
				}
				got := b.only(t)
				wantTold(t, got, tc.told)
				want := http.Header{"X-Checksum": {"1234"}}
				if announced == nil {
					want = nil // Caddy passes on no trailers unless some are announced
				}
				if diff := cmp.Diff(want, got.trailer); diff != "" {
					t.Errorf("trailers (-want +got):\n%s", diff)
				}
				if got.body != "body" {
					t.Errorf("the body arrived as %q", got.body)
				}
			})
		}
	}
}

// endless is a body of unknown length.
type endless struct{ io.Reader }

// forge adds what a client library can send of our names: headers and trailers.
func forge(r *http.Request) {
	r.ContentLength = -1
	r.Body = io.NopCloser(endless{strings.NewReader("body")})
	for _, line := range forgeries {
		name, value, _ := strings.Cut(line, ": ")
		r.Header[name] = append(r.Header[name], value)
	}
	r.Trailer = http.Header{
		"X-Checksum": {"1234"}, "X-Ip-Reputation-Score": {"0"}, "X_ip_reputation_status": {"exempt"}, "X-Request-Id": {"forged"},
	}
}
