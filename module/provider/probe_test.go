package provider

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
	refresh "github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/secret"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/throttle"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// prober is a service that knows the key `good`.
type prober struct{ someService }

func (prober) Check(context.Context, reputation.Query) (reputation.Report, error) {
	return reputation.Report{}, nil
}

func (prober) Probe(_ context.Context, key string) error {
	if key != "good" {
		return fmt.Errorf("%w: nobody knows it", reputation.ErrRefused)
	}
	return nil
}

// A probe goes on with the next key, and only what it has accepted is used.
func TestAProbeFindsTheKeyThatIsAccepted(t *testing.T) {
	open := func(keys *refresh.Ring) keyed {
		logger := slog.New(slog.DiscardHandler)
		counts := ledger.OpenLocal("", logger)
		return keyed{
			Guard: quota.New("some", prober{}, quota.Terms{}, quota.NewBudget(), counts, quota.Options{Logger: logger, SelfTest: true}),
			keys:  keys, logger: logger, logged: new(throttle.Causes[string]), notifiedUntil: new(atomic.Int64),
			notify: func([]string, time.Time) {},
		}
	}
	k := open(refresh.NewRing(fixed(t, "bad"), fixed(t, "good")))
	if err := k.probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if k.RefusedUntil("bad").IsZero() || !k.RefusedUntil("good").IsZero() {
		t.Error("the wrong key is set aside")
	}
	if _, err := k.Check(t.Context(), reputation.Query{}); err != nil {
		t.Errorf("after the probe: %v", err)
	}

	none := open(refresh.NewRing(fixed(t, "bad")))
	if err := none.probe(t.Context()); !errors.Is(err, reputation.ErrRefused) {
		t.Errorf("without a good key: %v", err)
	}
	if got := reputation.ResultOf(none.probe(t.Context())); got != reputation.ResultSkippedBreaker {
		t.Errorf("the refused key is tried again: %s", got)
	}
}

// value is a store with one secret.
type value string

func (v value) Fetch(context.Context) (reputation.Secret, error) {
	return reputation.Secret{Value: string(v)}, nil
}

// fixed returns a secret that has its value.
func fixed(t *testing.T, text string) *refresh.Refresher {
	t.Helper()
	r := refresh.Open("some", value(text), refresh.Options{Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(r.Close)
	if err := r.Prime(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}
