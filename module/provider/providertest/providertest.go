// Package providertest tests the contract of reputation.Provider, for providers over HTTP. It
// needs no other test library, so that third parties can use it.
//
// A provider's test calls Caddyfile, Fuzz and Run, the last with answers of the service: see Case. The suite runs
// a fake service on a loopback port. It gives these answers first; then it is down,
// hangs, sends single bytes, sends wrong or huge answers, redirects, and echoes
// secrets. After every call the suite checks the contract: one request, a known kind
// of error, and a report within its ranges and the profile's capabilities. No key,
// URL or visitor's address may be in an error or in the standard library's logs.
package providertest

import (
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Config describes the provider under test.
type Config struct {
	// New returns a provider that is ready for use and asks the service at baseURL,
	// which does not end in a slash. It must use t.Cleanup to close the provider.
	// Every test of the suite creates its own provider.
	New func(t testing.TB, baseURL string) reputation.Provider

	// Cases are answers of the service and their meanings. At least one must have ResultOK: the
	// suite damages, delays and repeats the first of these.
	Cases []Case

	// NoKey is set if the service needs no key. Otherwise a call without a key must
	// return reputation.ErrRefused, without a request, and every request must have
	// the key of its own call.
	NoKey bool

	// KeyPrefix is added before the key that the suite uses, such as "12345:" for a service with an
	// account and a key. Default: nothing.
	KeyPrefix string

	// NotFound is set if a 404 with any body means reputation.ErrUnknown. Leave it false for
	// services whose 404 has a body of its own, and add that one as a Case: a proxy's 404 page must
	// not count as an answer.
	NotFound bool

	// NoAddress is set if no answer names the address that it is about. Otherwise an answer about another address
	// must be a bad one.
	NoAddress bool

	// Unsupported are addresses that the service does not cover, besides those that its profile
	// excludes. They must return reputation.ErrUnsupported, without a request.
	Unsupported []netip.Addr

	// Batch describes the answers about several addresses, for a reputation.Batcher. Default: the provider is none.
	Batch *Batch

	// timeout is how long a call may take at most. The suite's own tests set it. Default: 20s.
	timeout time.Duration
}

// Case is one answer of the service and its meaning.
type Case struct {
	// Name is the name of the sub-test.
	Name string

	// Addr is the address that is asked about. Default: 203.0.113.10.
	Addr netip.Addr

	// Status is the answer's status code. Default: 200.
	Status int

	// Header are the answer's header fields. Content-Type is application/json
	// unless it is set here.
	Header http.Header

	// Body is the answer's body. If it is empty, BodyFile is the file with the body.
	Body, BodyFile string

	// Request, if set, checks the provider's request. It runs on the server's goroutine.
	Request func(r *http.Request) error

	// Result is the expected result, by reputation.ResultOf. The zero value is ResultOK.
	Result reputation.Result

	// NoAddress is Config.NoAddress for this answer only.
	NoAddress bool

	// Report is the expected report if Result is ResultOK. Numbers may differ by a millionth.
	Report reputation.Report

	// RetryAfter is the expected pause if Result is ResultThrottled.
	RetryAfter time.Duration
}

// usualAddr is the address that most answers are about.
const usualAddr = "203.0.113.10"

// Nature returns the nature of an address of which the kinds in yes and no are known, for a Case's report.
func Nature(yes, no []reputation.Kind) (n reputation.Nature) {
	for _, kind := range yes {
		n = n.With(kind, true)
	}
	for _, kind := range no {
		n = n.With(kind, false)
	}
	return n
}

// Run runs the suite, with one sub-test for each case and for each kind of
// misbehaviour. It measures the allocations of the process and captures its logs:
// call it from a test that is not parallel to others.
func Run(t *testing.T, config Config) {
	t.Helper()
	checks, err := config.checks()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			if err := c.run(t); err != nil {
				t.Error(err)
			}
		})
	}
}

// check is one sub-test. It returns an error instead of failing, for the suite's own tests.
type check struct {
	name string
	run  func(tb testing.TB) error
}

func (c Config) checks() ([]check, error) {
	s := suite{Config: c}
	if s.timeout == 0 {
		s.timeout = 20 * time.Second
	}
	s.Cases = append([]Case(nil), c.Cases...)
	for i := range s.Cases {
		if err := s.Cases[i].complete(); err != nil {
			return nil, fmt.Errorf("preparing case %q: %w", s.Cases[i].Name, err)
		}
		if s.sample == nil && s.Cases[i].Result == reputation.ResultOK {
			s.sample = &s.Cases[i]
		}
	}
	if s.sample == nil {
		return nil, fmt.Errorf("none of the %d cases has ResultOK: the suite needs one answer to damage",
			len(s.Cases))
	}
	list := s.caseChecks()
	list = append(list, s.callChecks()...)
	list = append(list, s.connectionChecks()...)
	list = append(list, s.answerChecks()...)
	list = append(list, s.strangerChecks()...)
	list = append(list, s.memberChecks()...)
	batches, err := s.batchChecks()
	return append(list, batches...), err
}

// complete fills in the defaults.
func (c *Case) complete() error {
	if !c.Addr.IsValid() {
		c.Addr = netip.MustParseAddr(usualAddr)
	}
	if c.Status == 0 {
		c.Status = http.StatusOK
	}
	c.Header = c.Header.Clone()
	if c.Header == nil {
		c.Header = make(http.Header)
	}
	if c.Header.Get("Content-Type") == "" {
		c.Header.Set("Content-Type", "application/json")
	}
	if c.Body == "" && c.BodyFile != "" {
		body, err := os.ReadFile(c.BodyFile)
		if err != nil {
			return fmt.Errorf("reading its body: %w", err)
		}
		c.Body = string(body)
	}
	return nil
}

// ServeHTTP sends the case's answer.
func (c *Case) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	for name, values := range c.Header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(c.Body)))
	w.WriteHeader(c.Status)
	_, _ = w.Write([]byte(c.Body))
}

// judge compares an outcome with the expected one.
func (c *Case) judge(o outcome) error {
	if err := o.want(c.Result); err != nil {
		return err
	}
	switch c.Result {
	case reputation.ResultOK:
		return compare(o.report, c.Report)
	case reputation.ResultThrottled:
		if got := o.retryAfter(); got != c.RetryAfter {
			return fmt.Errorf("RetryAfter is %s, want %s", got, c.RetryAfter)
		}
	}
	return nil
}

func compare(got, want reputation.Report) error {
	const tolerance = 1e-6
	if math.Abs(got.Severity-want.Severity) > tolerance ||
		math.Abs(got.Confidence-want.Confidence) > tolerance ||
		!got.LastSeen.Equal(want.LastSeen) || got.Categories != want.Categories || got.Facts != want.Facts ||
		got.TTL != want.TTL {
		return fmt.Errorf("the report is\n\t%s\nwant\n\t%s", describe(got), describe(want))
	}
	return nil
}

// describe formats a report. Unlike %+v, it shows the nature's known negatives and
// the categories' words.
func describe(r reputation.Report) string {
	nature, _ := r.Facts.Nature.MarshalJSON()
	return fmt.Sprintf("severity %g, confidence %g, categories {%s}, country %q, AS%d %q, network %s, "+
		"nature %s, seen %s, ttl %s",
		r.Severity, r.Confidence, r.Categories, r.Facts.Country, r.Facts.ASN, r.Facts.ASName, r.Facts.Network, nature,
		r.LastSeen, r.TTL)
}
