// Package providertest is the contract of reputation.Provider as a test suite, for providers that speak HTTP. It imports
// the standard library and the vocabulary only, so that third parties can use it.
//
// A provider's test calls Run with the service's answers (its own samples, see Case). The suite plays the service on a
// loopback port: first with these answers, then dead, hanging, dripping, lying, huge, redirecting and echoing secrets.
// After every call it checks what the contract asks for: one request, a known kind of error, a report within its
// ranges and of what the profile states, and no key, URL or visitor's address in any error or in the standard library's logs.
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
	// New returns a provider that is ready for use and asks the service at baseURL, which has no slash at its end. It
	// registers with t.Cleanup what has to be closed. Every test of the suite makes its own provider.
	New func(t testing.TB, baseURL string) reputation.Provider

	// Cases are answers of the service and what they mean. At least one must have ResultOK: the first such case is
	// what the suite damages, delays and repeats.
	Cases []Case

	// NoKey says that the service needs no key. Otherwise a call without key must end in reputation.ErrRefused, without
	// a request, and every request must carry the key of its own call.
	NoKey bool

	// KeyPrefix is what stands before the key that the suite asks with, such as "12345:" for a service with an account and a
	// key. Default: nothing.
	KeyPrefix string

	// NotFound says that a 404 means reputation.ErrUnknown whatever its body. Leave it false for services whose 404 has
	// a body of its own, and show that one as a Case: a proxy's 404 page must not be taken for an answer.
	NotFound bool

	// Unsupported are addresses that the service does not cover, besides those that its profile leaves out:
	// reputation.ErrUnsupported, without a request.
	Unsupported []netip.Addr

	// patience is how long a call may take that nothing holds up, for the suite's own tests. Default: 20s.
	patience time.Duration
}

// Case is one answer of the service and what it means.
type Case struct {
	// Name is the name of the sub-test.
	Name string

	// Addr is the address that is asked about. Default: 203.0.113.10.
	Addr netip.Addr

	// Status is the answer's status code. Default: 200.
	Status int

	// Header holds the answer's header fields. Content-Type is application/json unless it says otherwise.
	Header http.Header

	// Body is the answer's body; BodyFile is the file that holds it, when Body is empty.
	Body, BodyFile string

	// Request, if set, checks what the provider sent. It runs on the server's goroutine.
	Request func(r *http.Request) error

	// Result is the kind of outcome, as reputation.ResultOf tells. The zero value is ResultOK.
	Result reputation.Result

	// Report is what the provider must return when Result is ResultOK. Numbers may differ by a millionth.
	Report reputation.Report

	// RetryAfter is what the provider must return when Result is ResultThrottled.
	RetryAfter time.Duration
}

// Run runs the suite, one sub-test for each case and each way in which a service can misbehave. It measures what the
// process allocates, and looks at what it logs: call it from a test that is not parallel to others.
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

// check is one sub-test. It returns its finding, so that the suite's own tests can look at findings.
type check struct {
	name string
	run  func(tb testing.TB) error
}

func (c Config) checks() ([]check, error) {
	s := suite{Config: c}
	if s.patience == 0 {
		s.patience = 20 * time.Second
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
		return nil, fmt.Errorf("none of the %d cases has ResultOK: the suite needs one answer to damage", len(s.Cases))
	}
	list := s.caseChecks()
	list = append(list, s.callChecks()...)
	list = append(list, s.connectionChecks()...)
	return append(list, s.answerChecks()...), nil
}

// complete fills in the defaults.
func (c *Case) complete() error {
	if !c.Addr.IsValid() {
		c.Addr = netip.MustParseAddr("203.0.113.10")
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

// ServeHTTP gives the case's answer.
func (c *Case) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	for name, values := range c.Header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(c.Body)))
	w.WriteHeader(c.Status)
	_, _ = w.Write([]byte(c.Body))
}

// judge compares an outcome with what the case wants.
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
	if math.Abs(got.Severity-want.Severity) > tolerance || math.Abs(got.Confidence-want.Confidence) > tolerance ||
		!got.LastSeen.Equal(want.LastSeen) || got.Categories != want.Categories || got.Facts != want.Facts ||
		got.TTL != want.TTL {
		return fmt.Errorf("the report is\n\t%s\nwant\n\t%s", describe(got), describe(want))
	}
	return nil
}

// describe writes out what %+v hides: the nature's known negatives and the categories' words.
func describe(r reputation.Report) string {
	nature, _ := r.Facts.Nature.MarshalJSON()
	return fmt.Sprintf("severity %g, confidence %g, categories {%s}, country %q, AS%d %q, network %s, nature %s, seen %s, ttl %s",
		r.Severity, r.Confidence, r.Categories, r.Facts.Country, r.Facts.ASN, r.Facts.ASName, r.Facts.Network, nature,
		r.LastSeen, r.TTL)
}
