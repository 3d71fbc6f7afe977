package handler

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// TestPriority proves which requests matter to a site: those for which one of the rules holds.
func TestPriority(t *testing.T) {
	h := loadHandler(t, testContext(t), object{"priority": []any{
		object{"path": []any{"/login", "/account/*"}, "method": []any{"post"}},
		object{"match": []any{object{"query": object{"buy": []any{"*"}}}}},
		object{"header": object{"X-Plan": []any{"gold"}}},
	}})
	for _, tc := range []struct {
		method, target string
		header         string
		want           bool
	}{
		{"POST", "/login", "", true},
		{"POST", "/LOGIN?next=/", "", true},
		{"POST", "/account/email", "", true},
		{"GET", "/login", "", false},
		{"POST", "/", "", false},
		{"GET", "/shop?buy=3", "", true},
		{"GET", "/", "gold", true},
		{"GET", "/", "silver", false},
		{"GET", "/", "", false},
	} {
		r := prepared(t, cleanAddr)()
		setTarget(t, r, tc.method, tc.target)
		r.Header.Set("X-Plan", tc.header)
		if got := h.lookupRequest(r).Important; got != tc.want {
			t.Errorf("%s %s with %q: %t", tc.method, tc.target, tc.header, got)
		}
		if n := testing.AllocsPerRun(20, func() { h.lookupRequest(r) }); n > 3 && !testenv.Race { // those of Caddy's query matcher
			t.Errorf("%s %s: %v allocations", tc.method, tc.target, n)
		}
	}
	r := prepared(t, cleanAddr)()
	if loadHandler(t, testContext(t), object{}).lookupRequest(r).Important {
		t.Error("without rules, requests matter")
	}
}

func init() { caddy.RegisterModule(hanging{}) }

// hanging is a service that does not answer about addresses of hangsAt.
type hanging struct{}

var hangsAt = netip.MustParsePrefix("192.0.2.128/25")

func (hanging) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ip_reputation.providers.hanging", New: func() caddy.Module { return new(hanging) }}
}

func (hanging) Profile() reputation.Profile {
	return reputation.Profile{Name: "hanging", Key: reputation.KeyOptional}
}

func (hanging) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	if !hangsAt.Contains(q.Addr) {
		return reputation.Report{}, nil
	}
	<-ctx.Done()
	return reputation.Report{}, ctx.Err()
}

// waits counts how often requests wait.
type waits struct {
	lookup.Tracer
	n atomic.Int64
}

func (w *waits) Wait(request, call context.Context) func(reputation.Verdict, bool) {
	w.n.Add(1)
	return w.Tracer.Wait(request, call)
}

// TestPriorityByReputationWaitsOnce proves that a request whose importance depends on what is known of the client does not
// wait twice for it.
func TestPriorityByReputationWaitsOnce(t *testing.T) {
	h := warmHandler(t, func(app *module.App) {
		app.Providers = []provider.Provider{{
			ServiceRaw: []byte(`{"service":"hanging"}`), Timeout: caddy.Duration(50 * time.Millisecond),
		}}
	})
	h.stakes = &stakes{runtime: h.runtime, policy: h.policy, score: true}
	m := &MatchIPReputation{runtime: h.runtime}
	h.priority = []priorityRule{{match: matchers{{m}}}}
	counted := &waits{Tracer: h.runtime.Engine.Tracer}
	h.runtime.Engine.Tracer = counted
	client := netip.AddrFrom4([4]byte{192, 0, 2, byte(128 + rand.IntN(128))}) // what failed is remembered by the next run
	h.visit(prepared(t, client.String())())
	if n := counted.n.Load(); n != 1 {
		t.Errorf("the request waits %d times", n)
	}
}
