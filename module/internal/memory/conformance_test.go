package memory

import (
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record/recordtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// TestConformance proves that this cache does what the shared one does.
func TestConformance(t *testing.T) {
	recordtest.Run(t, tableCache{New(1000, len(recordtest.Sources))})
}

type tableCache struct{ *Table }

func (c tableCache) Put(_ testing.TB, key record.Key, source string, r reputation.Report, fetched, due time.Time) {
	var answer record.Record
	answer.Learn(record.Pack(record.IDOf(source), r, fetched, due), r.Facts)
	c.Update(key, func(stored *record.Record) { stored.Merge(&answer) })
}

func (c tableCache) Get(_ testing.TB, key record.Key, _ []string) (rec record.Record) {
	c.Table.Get(key, &rec)
	return rec
}

func (c tableCache) Delete(_ testing.TB, key record.Key) bool { return c.Table.Delete(key) }
