package redis

import (
	"context"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record/recordtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// TestConformance proves that the shared cache does what the one of a process does.
func TestConformance(t *testing.T) {
	t.Parallel()
	recordtest.Run(t, clientCache{connect(t, testenv.Redis(t).Addr)})
}

type clientCache struct{ *Client }

func (c clientCache) Put(tb testing.TB, key record.Key, source string, r reputation.Report, fetched, due time.Time) {
	tb.Helper()
	if err := c.Store(tb.Context(), key, source, r, fetched, due); err != nil {
		tb.Fatal(err)
	}
}

func (c clientCache) Get(tb testing.TB, key record.Key, sources []string) record.Record {
	tb.Helper()
	rec, err := c.load(tb.Context(), key, sources)
	if err != nil {
		tb.Fatal(err)
	}
	return rec
}

// load loads one subject.
func (c *Client) load(ctx context.Context, key record.Key, sources []string) (rec record.Record, err error) {
	err = c.Load(ctx, []record.Key{key}, sources, func(_ record.Key, found *record.Record) { rec = *found })
	return rec, err
}

func (c clientCache) Delete(tb testing.TB, key record.Key) bool {
	tb.Helper()
	found, err := c.Forget(tb.Context(), key, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return found
}
