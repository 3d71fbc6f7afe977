package quota

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/worth"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	addr4 = netip.MustParseAddr("192.0.2.17")
	addr6 = netip.MustParseAddr("2001:db8:1:2::")
)

// query asks about addr4, with a key.
func query(key string) reputation.Query { return reputation.Query{Addr: addr4, Key: key} }

// providerFunc is a provider made of one function.
type providerFunc func(ctx context.Context, q reputation.Query) (reputation.Report, error)

func (f providerFunc) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	return f(ctx, q)
}

func (f providerFunc) Profile() reputation.Profile { return reputation.Profile{Name: "a"} }

// service is a provider whose answer can be changed, and that counts its calls.
type service struct {
	mu    sync.Mutex
	err   error
	calls int
}

func (s *service) Profile() reputation.Profile { return reputation.Profile{Name: "a"} }

func (s *service) Check(context.Context, reputation.Query) (reputation.Report, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	return reputation.Report{Severity: 1, Confidence: 1}, s.err
}

func (s *service) answers(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// operator is the bid of an operator.
var operator = worth.Bid{Operator: true}

func worthOf(w float64) worth.Bid { return worth.Bid{Worth: w} }

func quiet() Options { return Options{Logger: slog.New(slog.DiscardHandler)} }

func memory() *ledger.Local { return ledger.OpenLocal("", slog.New(slog.DiscardHandler)) }

// windows returns quotas such as 1000/day.
func windows(quotas ...string) (list []ledger.Window) {
	for _, quota := range quotas {
		w, err := ledger.ParseWindow(quota)
		if err != nil {
			panic(err)
		}
		list = append(list, w)
	}
	return list
}

func mustTime(t testing.TB, s string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}
