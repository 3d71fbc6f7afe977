package runtime

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// violated returns a runtime in a bubble that counts violations and bans for them, and what it logs of the former.
func violated(t *testing.T) (*Runtime, *logtest.Log) {
	t.Helper()
	rt, _ := punishing(t)
	log := new(logtest.Log)
	rt.Logger = log.Logger()
	rt.violationTerms = []violation.Terms{
		{Name: "trap", Points: 60, HalfLife: 7 * 24 * time.Hour, Most: 60, Ban: time.Hour, Category: reputation.Scanner},
		{Name: "mistake", Points: 3, HalfLife: time.Hour, Free: 2, Most: 60, Ban: time.Hour, Category: reputation.BruteForce},
	}
	var err error
	rt.Engine, err = lookup.New(lookup.Config{Observer: observer{}, Logger: rt.Logger})
	if err != nil {
		t.Fatal(err)
	}
	store := violation.Open("", violation.Options{})
	t.Cleanup(func() { _ = store.Close() })
	rt.violations = store
	return rt, log
}

// TestViolate holds what is counted, and whom a violation bans: nobody for free ones, nor on a site that observes.
func TestViolate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, log := violated(t)
		for range 100 {
			rt.SawClient(netip.MustParseAddr("192.0.2.1"))
		}
		do := func(name, client string, enforce bool) violation.Result {
			return rt.Violate(t.Context(), Offence{
				Violation: name, Client: netip.MustParseAddr(client), At: time.Now(), Site: "shop.example.com", Share: 1, Enforce: enforce,
			})
		}
		banned := func(client string) bool {
			time.Sleep(time.Second)
			_, found := rt.BanOf(netip.MustParseAddr(client))
			return found
		}
		if got := do("trap", "203.0.113.1", true); !got.Counted || got.Points != 60 || !banned("203.0.113.1") {
			t.Errorf("a trap: %+v", got)
		}
		if e, _ := rt.BanOf(netip.MustParseAddr("203.0.113.1")); e.Cause.By != ban.Violation || !strings.Contains(e.Why(), "violation trap") {
			t.Errorf("banned: %s", e.Why())
		}
		for i := range 3 {
			got := do("mistake", "203.0.113.2", true)
			if free := i < 2; !got.Counted || (got.Points == 0) != free || banned("203.0.113.2") == free {
				t.Errorf("mistake %d: %+v", i+1, got)
			}
		}
		rt.violations.Add(rt.Terms("mistake"), violation.Act{Client: netip.MustParseAddr("203.0.113.4"), Share: 1, At: time.Now()})
		for range 3 {
			do("mistake", "203.0.113.4", false)
		}
		time.Sleep(2 * time.Hour)
		if got := do("mistake", "203.0.113.4", true); !got.Free || got.Points == 0 || banned("203.0.113.4") {
			t.Errorf("a free one of somebody who still has points: %+v", got)
		}
		log.Take()
		for range 100 {
			if got := do("trap", "203.0.113.3", false); !got.Counted || banned("203.0.113.3") {
				t.Errorf("observed: %+v", got)
			}
		}
		if n := strings.Count(log.Take(), "would ban its client"); n != 2 { // in a minute and forty seconds
			t.Errorf("said %d times that it would ban", n)
		}
		for client, want := range map[string]violation.Ignored{"10.1.2.3": "reserved", "::1": "reserved", "100.64.0.1": "reserved"} {
			if got := do("trap", client, true); got.Counted || got.Ignored != want {
				t.Errorf("%s: %+v", client, got)
			}
		}
	})
}

// TestUnknownViolation: a name that there is not costs nothing, and is logged once a minute.
func TestUnknownViolation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, log := violated(t)
		for i := range 1000 {
			got := rt.Violate(t.Context(), Offence{
				Violation: fmt.Sprint("other_", i, strings.Repeat("x", 10_000)), Client: netip.MustParseAddr("203.0.113.1"), Share: 1,
			})
			if got.Counted || got.Ignored != violation.IgnoredUnknown {
				t.Fatalf("%+v", got)
			}
		}
		text := log.Take()
		if strings.Count(text, "unknown name") != 1 || len(text) > 1000 || !strings.Contains(text, "mistake, trap") {
			t.Errorf("logged %d bytes: %.300s", len(text), text)
		}
		time.Sleep(time.Minute)
		rt.Violate(t.Context(), Offence{Violation: "other"})
		if text := log.Take(); strings.Count(text, "unknown name") != 1 {
			t.Errorf("a minute later: %s", text)
		}
	})
}

// TestViolateSurvives: a fault of ours costs no request, and is logged.
func TestViolateSurvives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, log := violated(t)
		rt.violations = new(violation.Store) // was not opened
		for range 3 {
			if got := rt.Violate(t.Context(), Offence{Violation: "trap", Client: netip.MustParseAddr("203.0.113.1"), Share: 1}); got.Counted {
				t.Errorf("%+v", got)
			}
		}
		if n := strings.Count(log.Take(), "panicked"); n != 1 {
			t.Errorf("logged %d times", n)
		}
	})
}

// TestViolationsOff: without a store, nothing is counted.
func TestViolationsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, _ := violated(t)
		rt.violations = nil
		if got := rt.Violate(t.Context(), Offence{Violation: "trap", Client: netip.MustParseAddr("203.0.113.1"), Share: 1}); got.Ignored != violation.IgnoredDisabled {
			t.Errorf("%+v", got)
		}
		if rt.InGoodStanding(netip.MustParseAddr("203.0.113.1")) {
			t.Error("somebody is in good standing")
		}
		if names := rt.ViolationNames(); !slices.Equal(names, []string{"mistake", "trap"}) {
			t.Errorf("%v", names)
		}
	})
}
