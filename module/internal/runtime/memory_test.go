package runtime

import (
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/memory"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// TestMemoryOfFewerProviders proves that a configuration with fewer providers inherits the answers of those that are left,
// also when those of the others hold longer: when it is opened, when it starts, and when the one before has ended.
func TestMemoryOfFewerProviders(t *testing.T) {
	answers := func(m *Memory, key record.Key) record.Record {
		m.Update(key, func(r *record.Record) {
			r.Set(record.Answer{Source: record.IDOf("left"), Fetched: 1000, Due: 2000})
			r.Set(record.Answer{Source: record.IDOf("removed"), Fetched: 1000, Due: 9000})
		})
		var r record.Record
		m.Get(key, &r)
		return r
	}
	with := func(names ...string) *Runtime {
		lists, err := feed.Open(nil, feed.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = lists.Close() })
		rt := &Runtime{Lists: listsOf(lists), Memory: newMemory(memory.New(1000, len(names)), "")}
		for _, name := range names {
			guard := quota.New(name, nil, quota.Terms{}, quota.NewBudget(), nil, quota.Options{})
			rt.Providers = append(rt.Providers, Provider{Name: name, Guard: guard})
		}
		return rt
	}
	before, after := with("left", "removed"), with("left")
	before.attach()
	defer before.detach()

	want := answers(before.Memory, 1)
	if !after.Memory.inherit(after) {
		t.Error("nothing was inherited when it was opened")
	}
	answers(before.Memory, 2)
	after.Memory.start(after)
	after.attach()
	defer after.detach()
	answers(before.Memory, 3)
	if err := before.Memory.close(); err != nil {
		t.Error(err)
	}
	for key := record.Key(1); key <= 3; key++ {
		var got record.Record
		after.Memory.Get(key, &got)
		if got.Answers[0] != *want.Find(record.IDOf("left")) || got.Answers[1].Source != 0 {
			t.Errorf("of subject %d: %+v", key, got.Answers[:2])
		}
	}
}
