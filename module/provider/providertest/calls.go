package providertest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"reflect"
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
			t := s.fixture(tb, func(w http.ResponseWriter, r *http.Request) {
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

// callChecks are about the calls themselves. The service answers properly.
func (s *suite) callChecks() []check {
	list := []check{
		{"call/cancelled before", func(tb testing.TB) error {
			t := s.fixture(tb, s.sample.ServeHTTP)
			ctx, cancel := context.WithCancel(tb.Context())
			cancel()
			o, err := t.ask(ctx, s.sample.Addr)
			return errors.Join(err, o.want(reputation.ResultError, reputation.ResultTimeout), t.wantRequests(0))
		}},
		{"call/keeps nothing", func(tb testing.TB) error {
			// the same question twice makes two requests: caching is the caller's task
			t := s.fixture(tb, s.sample.ServeHTTP)
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
	list = append(list, check{"call/profile", s.profile})
	if !s.NoKey {
		list = append(list, check{"call/broken key", func(tb testing.TB) error {
			// keys from files often end in a line break
			t := s.fixture(tb, s.sample.ServeHTTP)
			o, err := t.askWith(tb.Context(), s.sample.Addr, s.testKey()+"\n")
			return errors.Join(err, o.want(reputation.ResultRefused), t.wantRequests(0))
		}})
		list = append(list, check{"call/no key", func(tb testing.TB) error {
			t := s.fixture(tb, s.sample.ServeHTTP)
			o, err := t.askWith(tb.Context(), s.sample.Addr, "")
			return errors.Join(err, o.want(reputation.ResultRefused), t.wantRequests(0))
		}})
	}
	for _, addr := range s.Unsupported {
		list = append(list, check{"call/unsupported " + addr.String(), func(tb testing.TB) error {
			return s.unsupported(tb, addr)
		}})
	}
	return append(list, check{"call/not covered", func(tb testing.TB) (err error) {
		for _, text := range []string{"203.0.113.10", "2001:db8::10"} {
			addr := netip.MustParseAddr(text)
			if !s.New(tb, "http://127.0.0.1:1").Profile().Covers.Has(addr) {
				err = errors.Join(err, s.unsupported(tb, addr))
			}
		}
		return err
	}})
}

// profile checks the provider's profile against the rest of the configuration.
func (s *suite) profile(tb testing.TB) error {
	t := s.fixture(tb, s.sample.ServeHTTP)
	p := t.provider.Profile()
	err := p.Validate()
	if again := t.provider.Profile(); !reflect.DeepEqual(p, again) {
		err = errors.Join(err, errors.New("Profile returns something else each time"))
	}
	if needed := p.Key == reputation.KeyRequired; needed == s.NoKey {
		err = errors.Join(err,
			fmt.Errorf("Profile.Key says that a key is needed: %t, Config.NoKey is %t", needed, s.NoKey))
	}
	if p.Batch > 0 && s.Batch == nil {
		err = errors.Join(err, fmt.Errorf("Profile.Batch is %d, and Config.Batch describes no answers", p.Batch))
	}
	if p.Paid && len(p.Quota) == 0 {
		err = errors.Join(err, errors.New("Profile.Quota is empty: who does not set one pays for every visitor"))
	}
	if !p.Covers.Has(s.sample.Addr) {
		err = errors.Join(err, errors.New("Profile.Covers leaves out the address of the first case"))
	}
	return errors.Join(err, t.wantRequests(0))
}

// unsupported asks about an address that the service does not cover.
func (s *suite) unsupported(tb testing.TB, addr netip.Addr) error {
	t := s.fixture(tb, s.sample.ServeHTTP)
	o, err := t.ask(tb.Context(), addr)
	if !errors.Is(o.err, reputation.ErrUnsupported) {
		err = errors.Join(err, fmt.Errorf("the error is %w, want ErrUnsupported", o.err))
	}
	return errors.Join(err, t.wantRequests(0))
}

// concurrent calls Check fifty times at once, each time with another key. It is
// most useful with the race detector.
func (s *suite) concurrent(tb testing.TB) error {
	const calls = 50
	t := s.fixture(tb, s.sample.ServeHTTP)
	faults := make([]error, calls)
	var all sync.WaitGroup
	for i := range calls {
		all.Go(func() {
			o, err := t.askWith(tb.Context(), s.sample.Addr, s.KeyPrefix+numberedKey(i))
			faults[i] = errors.Join(err, s.sample.judge(o))
		})
	}
	all.Wait()
	if err := errors.Join(append(faults, t.wantRequests(calls))...); err != nil || s.NoKey {
		return err
	}
	requests := strings.Join(t.requests(), "\n")
	for i := range calls {
		basic := base64.StdEncoding.EncodeToString([]byte(s.KeyPrefix + numberedKey(i)))
		if n := strings.Count(requests, numberedKey(i)) + strings.Count(requests, basic); n != 1 {
			return fmt.Errorf("the key of call %d was sent %d times, want once", i, n)
		}
	}
	return nil
}

func numberedKey(i int) string { return fmt.Sprintf("%s%03d", testKey, i) }
