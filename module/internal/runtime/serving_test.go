package runtime

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/memory"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// TestTheGaugesShowWhatServes proves that the gauges are those of the configuration that serves: of the new one after a reload,
// and of the one before after a reload that failed.
func TestTheGaugesShowWhatServes(t *testing.T) {
	reg := prometheus.NewRegistry()
	if err := metrics.Register(reg); err != nil {
		t.Fatal(err)
	}
	shown := func() float64 {
		t.Helper()
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "caddy_ip_reputation_memory_records" {
				return f.GetMetric()[0].GetGauge().GetValue()
			}
		}
		return -1
	}
	with := func(records int) *Runtime {
		lists, err := feed.Open(nil, feed.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = lists.Close() })
		table := memory.New(1000, 1)
		for i := range records {
			table.Update(record.Key(i+1), func(r *record.Record) { r.Learn(record.Answer{Source: 1, Fetched: 1}, reputation.Facts{ASN: 64500}) })
		}
		return &Runtime{Lists: listsOf(lists), Memory: newMemory(table, "")}
	}
	first, second, failed := with(1), with(2), with(3)
	for _, step := range []struct {
		name string
		do   func()
		want float64
	}{
		{"nothing serves", func() {}, -1},
		{"it starts", first.attach, 1},
		{"a reload", second.attach, 2},
		{"the one before has stopped", first.detach, 2},
		{"another reload", failed.attach, 3},
		{"it failed", failed.detach, 2},
		{"it was stopped already", first.detach, 2},
		{"all have stopped", second.detach, -1},
	} {
		step.do()
		if got := shown(); got != step.want {
			t.Errorf("%s: %v records are shown, want %v", step.name, got, step.want)
		}
	}
}
