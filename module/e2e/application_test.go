package e2e_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// siteName is the name in the certificate of sites with TLS.
const siteName = "app.example.com"

// arrival is a request as it reached the application, read to its end.
type arrival struct {
	method, path, proto, body string
	header, trailer           http.Header
}

// backend is an application that keeps what arrives, trailers included.
type backend struct {
	*httptest.Server

	mu       sync.Mutex
	arrivals []arrival
}

// startBackend starts an application that answers like one: with a status, headers and a body of its own.
func startBackend(tb testing.TB) *backend {
	tb.Helper()
	b := &backend{}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		b.mu.Lock()
		b.arrivals = append(b.arrivals, arrival{r.Method, r.URL.Path, r.Proto, string(body), r.Header, r.Trailer})
		b.mu.Unlock()
		w.Header().Set("X-Application", "yes")
		w.Header().Set("Date", "Thu, 01 Jan 2026 00:00:00 GMT")
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, "the application's answer")
	}))
	tb.Cleanup(b.Close)
	return b
}

// count returns the number of requests so far.
func (b *backend) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.arrivals)
}

// only returns the one request that has arrived since it was last asked, and fails the test if it is not one.
func (b *backend) only(tb testing.TB) arrival {
	tb.Helper()
	b.mu.Lock()
	arrived := b.arrivals
	b.mu.Unlock()
	if len(arrived) != 1 {
		tb.Fatalf("%d requests reached the application, want 1", len(arrived))
	}
	b.forget()
	return arrived[0]
}

// forget drops what has arrived so far.
func (b *backend) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.arrivals = nil
}

// none fails the test if anything has arrived.
func (b *backend) none(tb testing.TB) {
	tb.Helper()
	if n := b.count(); n != 0 {
		tb.Fatalf("%d requests reached the application, want none", n)
	}
}

// proxyTo is a handler that hands requests on to a server.
func proxyTo(s *httptest.Server) object {
	return object{
		"handler":   "reverse_proxy",
		"upstreams": []any{object{"dial": strings.TrimPrefix(s.URL, "http://")}},
	}
}

// rule is one line of a policy.
func rule(action string, conditions object) object {
	r := maps.Clone(conditions)
	r["action"] = action
	return r
}

// publisher serves a list.
type publisher struct {
	*httptest.Server

	mu      sync.Mutex
	list    string
	fetched int
	refuses int // the status that it answers with; 0: it gives the list
}

func startPublisher(tb testing.TB, list string) *publisher {
	tb.Helper()
	p, started := &publisher{list: list}, time.Now().UTC().Format(http.TimeFormat)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.fetched++
		if p.refuses != 0 {
			w.WriteHeader(p.refuses)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Last-Modified", started)
		_, _ = io.WriteString(w, p.list)
	}))
	tb.Cleanup(p.Close)
	return p
}

// behave lets the publisher answer with a status other than 200; 0 is the normal way.
func (p *publisher) behave(status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuses = status
}

// fetches returns how often the list was fetched.
func (p *publisher) fetches() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fetched
}

// guarded is a site that blocks whom a published list names, and whom the stand-in reports: badClient.
func guarded(tb testing.TB, list string) (*config, *publisher, *standIn) {
	tb.Helper()
	p, s := startPublisher(tb, list), startStandIn(tb)
	s.know(badClient, 100, 60)
	c := newConfig(tb)
	c.ask(s)
	c.app["feeds"] = []any{object{"name": "published", "sources": []any{p.URL}, "category": []any{"malware"}}}
	c.handler["rules"] = []any{rule("block", object{"score": "85"}), rule("block", object{"category": []any{"malware"}})}
	return c, p, s
}

// ours returns the headers that some backend takes for ours: there are some to which every character that is neither letter
// nor digit is the same.
func ours(h http.Header) http.Header {
	found := http.Header{}
	for name, values := range h {
		plain := strings.Map(func(c rune) rune {
			if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' {
				return c
			}
			return '-'
		}, strings.ToLower(name))
		if strings.HasPrefix(plain, "x-ip-reputation") || plain == "x-request-id" {
			found[name] = values
		}
	}
	return found
}

// age is what makes reasons differ from one second to the next.
var age = regexp.MustCompile(`;age=\d+`)

// told returns what the application was told, by the ends of the headers' names, without what depends on the time and
// without the request ID.
func (a arrival) told() map[string]string {
	told := map[string]string{}
	for name, values := range ours(a.header) {
		if name != "X-Request-Id" {
			told[strings.TrimPrefix(name, "X-Ip-Reputation-")] = age.ReplaceAllString(strings.Join(values, " | "), "")
		}
	}
	return told
}

// wantTold compares what the application was told.
func wantTold(tb testing.TB, got arrival, want map[string]string) {
	tb.Helper()
	if diff := cmp.Diff(want, got.told()); diff != "" {
		tb.Errorf("the application was told something else (-want +got):\n%s", diff)
	}
}

// metric returns the value of a series, written as /metrics shows it without the prefix that all of ours have.
func (r *running) metric(tb testing.TB, series string) float64 {
	tb.Helper()
	v, ok := r.metrics(tb, series)[""]
	if !ok {
		tb.Errorf("there is no series %s", series)
		return math.NaN()
	}
	return v
}

// metrics returns the values of the series that begin so, by their ends.
func (r *running) metrics(tb testing.TB, prefix string) map[string]float64 {
	tb.Helper()
	values := map[string]float64{}
	for line := range strings.SplitSeq(send(tb, http.MethodGet, r.admin+"/metrics", "", nil).body, "\n") {
		rest, ok := strings.CutPrefix(line, "caddy_ip_reputation_"+prefix)
		if !ok {
			continue
		}
		space := strings.LastIndexByte(rest, ' ')
		v, err := strconv.ParseFloat(rest[space+1:], 64)
		if err != nil {
			tb.Fatalf("the metric in %q: %v", line, err)
		}
		values[rest[:space]] = v
	}
	return values
}

// outcomes returns how often the provider was asked with which result.
func (r *running) outcomes(tb testing.TB) map[string]float64 {
	tb.Helper()
	counts := map[string]float64{}
	for result, n := range r.metrics(tb, `provider_requests_total{provider="abuseipdb",result="`) {
		if n > 0 {
			counts[strings.TrimSuffix(result, `"}`)] = n
		}
	}
	return counts
}

// outcomesSince is outcomes without what was counted before: the process counts for all tests.
func (r *running) outcomesSince(tb testing.TB, before map[string]float64) map[string]float64 {
	tb.Helper()
	since := map[string]float64{}
	for result, n := range r.outcomes(tb) {
		if n -= before[result]; n > 0 {
			since[result] = n
		}
	}
	return since
}

// speak sends bytes over a connection of its own and returns what the server sends until it ends the connection.
func speak(tb testing.TB, network, addr, text string) string {
	tb.Helper()
	return speakBy(tb, &net.Dialer{}, network, addr, text)
}

// speakFrom is speak from another address of this machine.
func speakFrom(tb testing.TB, from, addr, text string) string {
	tb.Helper()
	return speakBy(tb, &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}, "tcp", addr, text)
}

func speakBy(tb testing.TB, dialer *net.Dialer, network, addr, text string) string {
	tb.Helper()
	conn, err := dialer.DialContext(tb.Context(), network, addr)
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		tb.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		tb.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		tb.Fatalf("the server does not end the connection; so far it has sent %q", answer)
	}
	return string(answer)
}

// ownBody returns the body of an answer, or nothing if it is the built-in page, which must name the request.
func ownBody(got reply) string {
	id := got.header.Get("X-Request-Id")
	if strings.HasPrefix(got.body, fmt.Sprintf("%d %s\n\n", got.status, http.StatusText(got.status))) &&
		id != "" && strings.HasSuffix(got.body, "\n\nRequest ID: "+id+"\n") {
		return ""
	}
	return got.body
}

// parsed reads an answer that came as bytes.
func parsed(tb testing.TB, answer string) reply {
	tb.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), nil)
	if err != nil {
		tb.Fatalf("%v in the answer %q", err, answer)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(body)}
}

// lines makes a request of its lines; an empty one ends the header.
func lines(all ...string) string { return strings.Join(all, "\r\n") + "\r\n" }

// secure lets the site speak TLS, with HTTP/1.1, 2 and 3, and returns what its clients must trust.
func (c *config) secure(tb testing.TB) *tls.Config {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{siteName}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(crand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if c.server == nil {
		c.server = object{}
	}
	if c.apps == nil {
		c.apps = object{}
	}
	c.server["tls_connection_policies"] = []any{object{}}
	c.apps["tls"] = object{"certificates": object{"load_pem": []any{object{
		"certificate": string(cert),
		"key":         string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
	}}}}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	return &tls.Config{RootCAs: roots, ServerName: siteName, MinVersion: tls.VersionTLS12}
}

// secrets are what no visitor and no log may ever see.
func (c *config) secrets(s *standIn) []string {
	return []string{keyText, strings.TrimPrefix(s.URL, "http://"), c.dataDir}
}

// wantNone fails the test for every secret that stands in a text.
func wantNone(tb testing.TB, where, text string, secrets ...string) {
	tb.Helper()
	for _, secret := range secrets {
		if i := strings.Index(text, secret); i >= 0 {
			tb.Errorf("%s holds %q: …%s…", where, secret, text[max(0, i-200):min(len(text), i+200)])
		}
	}
}

// same reports whether two answers are the same to a visitor, but for the headers that may differ.
func same(tb testing.TB, a, b reply, except ...string) {
	tb.Helper()
	strip := func(r reply) reply {
		h := r.header.Clone()
		for name := range h {
			if slices.ContainsFunc(except, func(e string) bool { return strings.EqualFold(e, name) }) {
				delete(h, name)
			}
		}
		r.header = h
		return r
	}
	if diff := cmp.Diff(strip(a), strip(b), cmp.AllowUnexported(reply{})); diff != "" {
		tb.Errorf("the answers differ (-a +b):\n%s", diff)
	}
}
