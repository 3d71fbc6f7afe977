package conduct

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

// violated returns what, in a bubble that counts violations and bans for them, and what it logs of the former.
func violated(t *testing.T) (*Conduct, *logtest.Log) {
	t.Helper()
	c, _ := punishing(t)
	log := new(logtest.Log)
	c.Logger = log.Logger()
	c.terms = []violation.Terms{
		{Name: "trap", Points: 60, HalfLife: 7 * 24 * time.Hour, Most: 60, Ban: time.Hour, Category: reputation.Scanner},
		{Name: "mistake", Points: 3, HalfLife: time.Hour, Free: 2, Most: 60, Ban: time.Hour, Category: reputation.BruteForce},
	}
	var err error
	c.Engine, err = lookup.New(lookup.Config{Logger: c.Logger})
	if err != nil {
		t.Fatal(err)
	}
	store := violation.Open("", violation.Options{})
	t.Cleanup(func() { _ = store.Close() })
	c.store = store
	return c, log
}

// TestViolate holds what is counted, and whom a violation bans: nobody for free ones, nor on a site that observes.
func TestViolate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, log := violated(t)
		for range 100 {
			c.SawClient(netip.MustParseAddr("192.0.2.1"))
		}
		do := func(name, client string, enforce bool) violation.Result {
			return c.Violate(t.Context(), Offence{
				Violation: name, Client: netip.MustParseAddr(client), At: time.Now(), Site: "shop.example.com", Share: 1, Enforce: enforce,
			})
		}
		banned := func(client string) bool {
			time.Sleep(time.Second)
			_, found := c.Overrides.BanOf(netip.MustParseAddr(client))
			return found
		}
		if got := do("trap", "203.0.113.1", true); !got.Counted || got.Points != 60 || !banned("203.0.113.1") {
			t.Errorf("a trap: %+v", got)
		}
		if e, _ := c.Overrides.BanOf(netip.MustParseAddr("203.0.113.1")); e.Cause.By != ban.Violation || !strings.Contains(e.Why(), "violation trap") {
			t.Errorf("banned: %s", e.Why())
		}
		for i := range 3 {
			got := do("mistake", "203.0.113.2", true)
			if free := i < 2; !got.Counted || (got.Points == 0) != free || banned("203.0.113.2") == free {
				t.Errorf("mistake %d: %+v", i+1, got)
			}
		}
		c.store.Add(c.Terms("mistake"), violation.Act{Client: netip.MustParseAddr("203.0.113.4"), Share: 1, At: time.Now()})
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
		c, log := violated(t)
		for i := range 1000 {
			got := c.Violate(t.Context(), Offence{
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
		c.Violate(t.Context(), Offence{Violation: "other"})
		if text := log.Take(); strings.Count(text, "unknown name") != 1 {
			t.Errorf("a minute later: %s", text)
		}
	})
}

// TestViolateSurvives: a fault of ours costs no request, and is logged.
func TestViolateSurvives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, log := violated(t)
		c.store = new(violation.Store) // was not opened
		for range 3 {
			if got := c.Violate(t.Context(), Offence{Violation: "trap", Client: netip.MustParseAddr("203.0.113.1"), Share: 1}); got.Counted {
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
		c, _ := violated(t)
		c.store = nil
		if got := c.Violate(t.Context(), Offence{Violation: "trap", Client: netip.MustParseAddr("203.0.113.1"), Share: 1}); got.Ignored != violation.IgnoredDisabled {
			t.Errorf("%+v", got)
		}
		if c.InGoodStanding(netip.MustParseAddr("203.0.113.1")) {
			t.Error("somebody is in good standing")
		}
		if names := c.ViolationNames(); !slices.Equal(names, []string{"mistake", "trap"}) {
			t.Errorf("%v", names)
		}
	})
}
