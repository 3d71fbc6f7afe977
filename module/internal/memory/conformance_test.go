package memory

import (
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record/recordtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// TestConformance proves that this memory promises what the one that instances share does.
func TestConformance(t *testing.T) {
	recordtest.Run(t, remembering{New(1000, len(recordtest.Sources))})
}

type remembering struct{ *Table }

func (m remembering) Keep(_ testing.TB, key record.Key, source string, r reputation.Report, fetched, due time.Time) {
	var said record.Record
	said.Learn(record.Pack(record.IDOf(source), r, fetched, due), r.Facts)
	m.Update(key, func(kept *record.Record) { kept.Merge(&said) })
}

func (m remembering) Recall(_ testing.TB, key record.Key, _ []string) (rec record.Record) {
	m.Get(key, &rec)
	return rec
}

func (m remembering) Forget(_ testing.TB, key record.Key) bool { return m.Delete(key) }
