package secret

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errAway = errors.New("connection refused")

// storeFunc is a store made of one function.
type storeFunc func(ctx context.Context) (reputation.Secret, error)

func (f storeFunc) Fetch(ctx context.Context) (reputation.Secret, error) { return f(ctx) }

// store is a store whose secret can be changed, and that remembers when it was asked.
type store struct {
	mu     sync.Mutex
	secret reputation.Secret
	err    error
	asked  []time.Time
}

func (s *store) Fetch(context.Context) (reputation.Secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, time.Now())
	return s.secret, s.err
}

func (s *store) set(value string) { s.put(reputation.Secret{Value: value}) }

func (s *store) put(secret reputation.Secret) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secret, s.err = secret, nil
}

func (s *store) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secret, s.err = reputation.Secret{}, err
}

func (s *store) calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

// gaps returns how long it was between the calls from the given one on.
func (s *store) gaps(from int) []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []time.Duration
	for i := from + 1; i < len(s.asked); i++ {
		list = append(list, s.asked[i].Sub(s.asked[i-1]))
	}
	return list
}

func holding(value string) *store { return &store{secret: reputation.Secret{Value: value}} }

func quiet() Options { return Options{Logger: slog.New(slog.DiscardHandler)} }

// start opens and starts a Refresher that is closed when the test ends.
func start(t testing.TB, s reputation.SecretStore, o Options) *Refresher {
	t.Helper()
	if o.Logger == nil {
		o.Logger = quiet().Logger
	}
	k := Open("abuseipdb", s, o)
	k.Start()
	t.Cleanup(k.Close)
	return k
}

// wantValue fails the test unless the Refresher has the value; "" stands for none.
func wantValue(t testing.TB, k *Refresher, want string) {
	t.Helper()
	if got, ok := k.Current(); got != want || ok != (want != "") {
		t.Errorf("value %q, %t, want %q", got, ok, want)
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// about reports whether a pause is the wanted one but for the jitter, and never too short.
func about(got, want time.Duration) bool {
	low := max(want*9/10, time.Second)
	high := max(want*11/10, time.Second)
	return low <= got && got <= high
}
