package provider

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/memory"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// slowService answers after 20 ms that an address is abusive, and counts the questions.
type slowService struct {
	someService
	asked atomic.Int64
}

func (s *slowService) Check(context.Context, reputation.Query) (reputation.Report, error) {
	time.Sleep(20 * time.Millisecond)
	s.asked.Add(1)
	return reputation.Report{Severity: 1, Confidence: .9, Categories: reputation.CategoriesOf(reputation.Scanner)}, nil
}

type noObserver struct{}

func (noObserver) CountLookup(reputation.Origin)                  {}
func (noObserver) ObserveLookup(reputation.Origin, time.Duration) {}

// engineFor returns an engine with one service, as the app wires it, and what it remembers.
func engineFor(t *testing.T, s reputation.Provider, quotas ...string) (*lookup.Engine, *memory.Table) {
	t.Helper()
	terms, _, _, err := (&Provider{Quota: quotas}).terms(reputation.Profile{Name: "some"})
	if err != nil {
		t.Fatal(err)
	}
	terms.Rate = rate.Rate{}
	log := slog.New(slog.DiscardHandler)
	guard := quota.New("some", s, terms, quota.NewBudget(), ledger.OpenLocal("", log), quota.Options{Logger: log})
	table := memory.New(20_000, 1)
	e, err := lookup.New(lookup.Config{
		Memory: table, Observer: noObserver{}, Logger: log,
		Providers: []lookup.Provider{{
			Source:   score.Source{Name: "some", Trust: 1, Weight: 32, GoodWeight: 4},
			Provider: keyed{Guard: guard, logger: log}, ListedTTL: 6 * time.Hour, CleanTTL: 24 * time.Hour,
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close(context.Background()) })
	return e, table
}

// important is a request that the site wants to know more of: others are asked about while a quota is far from short.
var important = lookup.Request{Important: true}

// Whatever rotates inside a network, few questions are asked about it, nothing grows, and a visitor from elsewhere is
// asked about at once. `go test -v` prints the numbers.
func TestOneNetworkInAMinute(t *testing.T) {
	for _, network := range []struct {
		name    string
		clients int
		at      func(i int) netip.Addr
	}{
		{"65536 /64s of a /48", 65_536, func(i int) netip.Addr {
			return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0xba, 0xd0, byte(i >> 8), byte(i), 15: 1})
		}},
		{"300 clients of a /24", 300, func(i int) netip.Addr { return netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}) }},
	} {
		for _, plan := range []struct {
			quota string
			from  time.Duration // after the beginning of the window
			most  int64
		}{
			{"1000/day", 0, 10}, {"1000/day", 18 * time.Hour, 16}, {"120/month", 0, 3}, {"50/week", 0, 1}, {"", 0, 1000},
		} {
			t.Run(fmt.Sprintf("%s, quota %q after %s", network.name, plan.quota, plan.from), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var quotas []string
					if plan.quota != "" {
						quotas = []string{plan.quota}
					}
					s := new(slowService)
					e, table := engineFor(t, s, quotas...)
					sleepUntilWindow(t, plan.quota, plan.from)
					before := heap()
					elsewhere := 0
					for i := range network.clients {
						e.LookupRequest(t.Context(), network.at(i), important, 0)
						if i%(network.clients/60) == 0 { // a second
							time.Sleep(time.Second)
						}
						if i == network.clients/2 {
							elsewhere = wantAskedAtOnce(t, e)
						}
					}
					grown := heap() - before
					questions := s.asked.Load() - int64(elsewhere)
					last := e.LookupRequest(t.Context(), network.at(network.clients-1), important, 0)
					t.Logf("%d questions; %d records, %+d KiB; the last client: %s, score %d, %+v",
						questions, table.Len(), grown>>10, last.Status, last.Score, last.Reasons)
					if most := min(plan.most, int64(network.clients)); questions > most || questions < min(most, 250) {
						t.Errorf("%d questions, want %d", questions, most)
					}
					if table.Len() != int(s.asked.Load()) || grown > 4<<20 {
						t.Errorf("%d records of %d answers, the heap has grown by %d bytes", table.Len(), s.asked.Load(), grown)
					}
				})
			})
		}
	}
}

// sleepUntilWindow waits for the time after the beginning of the next window of a quota.
func sleepUntilWindow(t *testing.T, text string, from time.Duration) {
	t.Helper()
	if text == "" {
		return
	}
	w, err := ledger.ParseWindow(text)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(w.Period.End(time.Now()).Add(from)))
}

// wantAskedAtOnce lets two visitors from other networks come in the middle of it, and returns how many
// were asked about.
func wantAskedAtOnce(t *testing.T, e *lookup.Engine) int {
	t.Helper()
	visitors := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8:600d::1")}
	var all sync.WaitGroup
	for _, visitor := range visitors {
		all.Go(func() {
			if v := e.LookupRequest(t.Context(), visitor, important, time.Second); v.Status != reputation.Fresh {
				t.Errorf("a visitor from elsewhere is %s", v.Status)
			}
		})
	}
	all.Wait()
	return len(visitors)
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // what pools hold lasts longer
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
