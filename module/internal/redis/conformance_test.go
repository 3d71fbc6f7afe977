package redis

import (
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record/recordtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// TestConformance proves that what instances share promises what the memory of one process does.
func TestConformance(t *testing.T) {
	t.Parallel()
	recordtest.Run(t, remembering{connect(t, testenv.Redis(t).Addr)})
}

type remembering struct{ *Client }

func (m remembering) Keep(tb testing.TB, key record.Key, source string, r reputation.Report, fetched, due time.Time) {
	tb.Helper()
	if err := m.Client.Store(tb.Context(), key, source, r, fetched, due); err != nil {
		tb.Fatal(err)
	}
}

func (m remembering) Recall(tb testing.TB, key record.Key, sources []string) record.Record {
	tb.Helper()
	rec, err := m.Load(tb.Context(), key, sources)
	if err != nil {
		tb.Fatal(err)
	}
	return rec
}

func (m remembering) Forget(tb testing.TB, key record.Key) bool {
	tb.Helper()
	found, err := m.Client.Forget(tb.Context(), key, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return found
}
