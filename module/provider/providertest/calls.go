package providertest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// caseChecks are the provider's own cases.
func (s *suite) caseChecks() []check {
	list := make([]check, 0, len(s.Cases))
	for i := range s.Cases {
		c := &s.Cases[i]
		list = append(list, check{"answer/" + c.Name, func(tb testing.TB) error {
			var request error
			t := s.trial(tb, func(w http.ResponseWriter, r *http.Request) {
				if c.Request != nil {
					request = c.Request(r)
				}
				c.ServeHTTP(w, r)
			})
			o, err := t.ask(tb.Context(), c.Addr)
			return errors.Join(err, c.judge(o), t.wantRequests(1), request)
		}})
	}
	return list
}

// callChecks are about the calls themselves; the service is well.
func (s *suite) callChecks() []check {
	list := []check{
		{"call/cancelled before", func(tb testing.TB) error {
			t := s.trial(tb, s.sample.ServeHTTP)
			ctx, cancel := context.WithCancel(tb.Context())
			cancel()
			o, err := t.ask(ctx, s.sample.Addr)
			return errors.Join(err, o.want(reputation.ResultError, reputation.ResultTimeout), t.wantRequests(0))
		}},
		{"call/keeps nothing", func(tb testing.TB) error {
			// the same question twice is two requests: caching belongs to the caller
			t := s.trial(tb, s.sample.ServeHTTP)
			for range 2 {
				o, err := t.ask(tb.Context(), s.sample.Addr)
				if err := errors.Join(err, s.sample.judge(o)); err != nil {
					return err
				}
			}
			return t.wantRequests(2)
		}},
		{"call/fifty at once", s.concurrent},
	}
	if !s.NoKey {
		list = append(list, check{"call/no key", func(tb testing.TB) error {
			t := s.trial(tb, s.sample.ServeHTTP)
			o, err := t.askWith(tb.Context(), s.sample.Addr, "")
			return errors.Join(err, o.want(reputation.ResultRefused), t.wantRequests(0))
		}})
	}
	for _, addr := range s.Unsupported {
		list = append(list, check{"call/unsupported " + addr.String(), func(tb testing.TB) error {
			t := s.trial(tb, s.sample.ServeHTTP)
			o, err := t.ask(tb.Context(), addr)
			if !errors.Is(o.err, reputation.ErrUnsupported) {
				err = errors.Join(err, fmt.Errorf("the error is %w, want ErrUnsupported", o.err))
			}
			return errors.Join(err, t.wantRequests(0))
		}})
	}
	return list
}

// concurrent calls Check fifty times at once, each time with a key of its own. It is worth most under the race detector.
func (s *suite) concurrent(tb testing.TB) error {
	const calls = 50
	t := s.trial(tb, s.sample.ServeHTTP)
	faults := make([]error, calls)
	var all sync.WaitGroup
	for i := range calls {
		all.Go(func() {
			o, err := t.askWith(tb.Context(), s.sample.Addr, numberedKey(i))
			faults[i] = errors.Join(err, s.sample.judge(o))
		})
	}
	all.Wait()
	if err := errors.Join(append(faults, t.wantRequests(calls))...); err != nil || s.NoKey {
		return err
	}
	requests := strings.Join(t.requests(), "\n")
	for i := range calls {
		if n := strings.Count(requests, numberedKey(i)); n != 1 {
			return fmt.Errorf("the key of call %d was sent %d times, want once", i, n)
		}
	}
	return nil
}

func numberedKey(i int) string { return fmt.Sprintf("%s%03d", testKey, i) }
