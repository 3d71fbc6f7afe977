package runtime

import (
	"net/netip"
	goruntime "runtime"
	"testing"
	"time"
	"weak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup/listing"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/memory"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/lists"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// unasked is a provider that nobody asks.
type unasked struct{ reputation.Provider }

func (unasked) Profile() reputation.Profile { return reputation.Profile{} }

// TestAnEndedConfigurationHoldsNothing proves that the table and the contents of the lists are freed when a configuration ends,
// although somebody still holds it, as Caddy's idle connections to upstreams do for minutes; and that a request which outlives
// it is answered.
func TestAnEndedConfigurationHoldsNothing(t *testing.T) {
	dir, visitor := t.TempDir(), netip.MustParseAddr("203.0.113.7")
	open := func(listed string) (*Runtime, weak.Pointer[memory.Table], weak.Pointer[feed.Snapshot]) {
		set, err := feed.Open([]feed.Spec{{Name: "own", Values: []netip.Prefix{netip.MustParsePrefix(listed)}}}, feed.Options{})
		if err != nil {
			t.Fatal(err)
		}
		rt := bare(t)
		if rt.Overrides, err = ban.Open("", ban.Options{}); err != nil {
			t.Fatal(err)
		}
		rt.Leases.Add(rt.Overrides.Close)
		rt.Lists.Set, rt.Lists.Names = lists.NewSet(set), []string{"own"}
		rt.Lists.Meanings = []listing.List{{Kind: listing.Feed, Source: score.Source{Name: "own", Trust: 1, Weight: 60}, Confidence: 1}}
		rt.Memory = newMemory(memory.New(10_000, 1), dir+"/memory.bin")
		rt.Memory.Attach()
		rt.Leases.Add(rt.Memory.close)
		rt.Leases.Add(rt.Lists.Close)
		if err := rt.OpenEngine([]lookup.Provider{{Source: score.Source{Name: "p", Trust: 1}, Provider: unasked{}}}); err != nil {
			t.Fatal(err)
		}
		rt.Start()
		if v := rt.Engine.Lookup(t.Context(), visitor, 0); v.Score < 90 {
			t.Fatalf("a listed address has the verdict %+v", v)
		}
		return rt, weak.Make(rt.Memory.table.Load()), weak.Make(set.Current())
	}
	ended, table, lists := open("203.0.113.0/24")
	serving, _, _ := open("203.0.113.0/25")
	ended.Stop()
	if err := ended.Close(); err != nil {
		t.Error(err)
	}
	for deadline := time.Now().Add(10 * time.Second); table.Value() != nil || lists.Value() != nil; goruntime.GC() {
		if time.Now().After(deadline) {
			t.Fatalf("still referred to: the table %t, the lists %t", table.Value() != nil, lists.Value() != nil)
		}
	}
	if v := ended.Engine.Lookup(t.Context(), visitor, 0); v.Status != reputation.Unknown {
		t.Errorf("the ended configuration answers with %+v", v)
	}
	if s := ended.State(time.Now()); len(s.Lists) != 1 || s.Memory.Records != 0 {
		t.Errorf("the ended configuration has the state %+v", s)
	}
	goruntime.KeepAlive(ended)
	serving.Stop()
	if err := serving.Close(); err != nil {
		t.Error(err)
	}
}
