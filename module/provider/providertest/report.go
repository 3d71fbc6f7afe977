package providertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// ReportCase is one answer of the service to a report, and its meaning.
type ReportCase struct {
	// Case is the answer. Of it, Result and Report are not used, and RetryAfter is the expected pause, if there is one.
	Case

	// Categories are those of the incident. Default: the first that the profile says the service takes.
	Categories reputation.Categories

	// Err is what Report must return, such as reputation.ErrDuplicate. Default: nil.
	Err error
}

// RunReports tests the contract of reputation.Reporter, as Run tests that of reputation.Provider. Of the config, New,
// NoKey and KeyPrefix are used.
func RunReports(t *testing.T, config Config, cases ...ReportCase) {
	t.Helper()
	checks, err := config.reportChecks(cases)
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

func (c Config) reportChecks(cases []ReportCase) (list []check, err error) {
	s := suite{Config: c}
	if s.timeout == 0 {
		s.timeout = 20 * time.Second
	}
	var stored *ReportCase
	for i := range cases {
		c := &cases[i]
		if err := c.complete(); err != nil {
			return nil, fmt.Errorf("preparing case %q: %w", c.Name, err)
		}
		if stored == nil && c.Err == nil && c.RetryAfter == 0 {
			stored = c
		}
		list = append(list, check{"report/" + c.Name, func(tb testing.TB) error { return s.report(tb, c) }})
	}
	if stored == nil {
		return nil, errors.New("no case has a report that is stored")
	}
	return append(list, s.reportFaults(stored)...), nil
}

// report sends the incident of a case, and compares what comes of it.
func (s *suite) report(tb testing.TB, c *ReportCase) error {
	var request error
	t := s.fixture(tb, func(w http.ResponseWriter, r *http.Request) {
		if c.Request != nil {
			request = c.Request(r)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		c.ServeHTTP(w, r)
	})
	got, err := t.report(tb.Context(), c, t.key)
	sent := 1
	if errors.Is(c.Err, reputation.ErrUnsupported) {
		sent = 0
	}
	o := outcome{err: got}
	switch {
	case c.RetryAfter != 0 && o.retryAfter() != c.RetryAfter:
		err = errors.Join(err, fmt.Errorf("RetryAfter is %s (error: %w), want %s", o.retryAfter(), got, c.RetryAfter))
	case c.RetryAfter == 0 && !errors.Is(got, c.Err):
		err = errors.Join(err, fmt.Errorf("the error is %w, want %w", got, c.Err))
	}
	return errors.Join(err, t.wantRequests(sent), request)
}

// reportFaults are calls that go wrong, whatever the service.
func (s *suite) reportFaults(stored *ReportCase) []check {
	fails := func(name string, requests int, answer http.HandlerFunc, key func(*fixture) string, want ...reputation.Result) check {
		return check{"report/" + name, func(tb testing.TB) error {
			t := s.fixture(tb, answer)
			got, err := t.report(tb.Context(), stored, key(t))
			return errors.Join(err, outcome{err: got}.want(want...), t.wantRequests(requests))
		}}
	}
	own := func(t *fixture) string { return t.key }
	list := []check{
		{"report/cancelled before", func(tb testing.TB) error {
			t := s.fixture(tb, stored.ServeHTTP)
			ctx, cancel := context.WithCancel(tb.Context())
			cancel()
			got, err := t.report(ctx, stored, t.key)
			return errors.Join(err, outcome{err: got}.want(reputation.ResultError, reputation.ResultTimeout), t.wantRequests(0))
		}},
		fails("an empty answer", 1, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, "{}")
		}, own, reputation.ResultBadAnswer),
		fails("a page", 1, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<!DOCTYPE html><p>Sign in to the network")
		}, own, reputation.ResultBadAnswer),
		fails("a redirect", 1, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, own, reputation.ResultBadAnswer, reputation.ResultError),
		fails("a broken connection", 1, func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		}, own, reputation.ResultError, reputation.ResultTimeout),
		fails("an echo", 1, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusInternalServerError)
			_ = r.Write(w)
		}, own, reputation.ResultError, reputation.ResultBadAnswer),
		{"report/nothing that it takes", func(tb testing.TB) error {
			c := *stored
			c.Err, c.Categories = reputation.ErrUnsupported, reputation.CategoriesOf(reputation.Hosting)
			return s.report(tb, &c)
		}},
	}
	if s.NoKey {
		return list
	}
	return append(list,
		fails("broken key", 0, stored.ServeHTTP, func(t *fixture) string { return t.key + "\n" }, reputation.ResultRefused),
		fails("no key", 0, stored.ServeHTTP, func(*fixture) string { return "" }, reputation.ResultRefused))
}

// report calls Report. The second error is about anything that must never happen.
func (t *fixture) report(ctx context.Context, c *ReportCase, key string) (got, fault error) {
	reporter, ok := t.provider.(reputation.Reporter)
	if !ok {
		return nil, fmt.Errorf("the provider is a %T, which takes no reports", t.provider)
	}
	incident := reputation.Incident{
		Addr: c.Addr, Categories: c.Categories, At: time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC),
		Comment: "14 requests in 60 s: vulnerability scan; e.g. /.env",
	}
	if incident.Categories == 0 {
		incident.Categories = firstOf(reporter.Profile().Reports.Categories)
	}
	o, fault := t.call(c.Addr, key, func() outcome { return outcome{err: reporter.Report(ctx, key, incident)} })
	return o.err, fault
}

func firstOf(all reputation.Categories) reputation.Categories {
	for c := range all.All() {
		return reputation.CategoriesOf(c)
	}
	return 0
}
