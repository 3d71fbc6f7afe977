package runtime

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/redis"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
)

var (
	offender    = netip.MustParseAddr("203.0.113.5")
	trapTouched = violation.Terms{Name: "trap", Points: 60, HalfLife: 7 * 24 * time.Hour, Most: 60}
)

// counting returns a configuration that counts violations in a folder of its own.
func counting(t *testing.T) *Runtime {
	t.Helper()
	rt := bare(t)
	if err := rt.OpenFolder(); err != nil {
		t.Fatal(err)
	}
	if err := rt.OpenConduct(nil, nil); err != nil {
		t.Fatal(err)
	}
	countViolations(t, rt)
	return rt
}

func release(t *testing.T, rt *Runtime) {
	t.Helper()
	if err := rt.Leases.Release(); err != nil {
		t.Error(err)
	}
}

// TestViolationsOutliveReloadsAndRestarts proves that what was counted is there after a reload and
// after a restart, and that a configuration which is only checked writes nothing.
func TestViolationsOutliveReloadsAndRestarts(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	checked := counting(t)
	checked.Conduct.Store().Add(&trapTouched, violation.Act{Client: offender, Share: 1})
	release(t, checked)
	if entries, err := os.ReadDir(process.DataFolder()); err == nil && len(entries) > 0 {
		t.Errorf("a configuration that is only checked leaves %v", entries)
	}

	first := counting(t)
	first.Folder.Start()
	first.Conduct.Store().Add(&trapTouched, violation.Act{Client: offender, Share: 1})
	second := counting(t)
	release(t, first)
	if !second.Conduct.Store().Has(offender) {
		t.Error("a reload forgets")
	}
	release(t, second)

	third := counting(t)
	third.Folder.Start()
	if !third.Conduct.Store().Has(offender) {
		t.Error("a restart forgets")
	}
	if found, err := third.Conduct.Forget(t.Context(), offender); !found || err != nil {
		t.Error(found, err)
	}
	if found, err := third.Conduct.Forget(t.Context(), offender); found || err != nil {
		t.Error(found, err)
	}
	release(t, third)

	fourth := counting(t)
	if fourth.Conduct.Store().Has(offender) {
		t.Error("a restart brings back what was forgotten")
	}
	release(t, fourth)
}

// TestForgettingWhileRedisIsAway proves that what an operator deletes while Redis is away is
// deleted there before it is read.
func TestForgettingWhileRedisIsAway(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	server := testenv.Redis(t)
	link := testenv.Proxy(t, server.Addr)
	instance := func(addr string) *Runtime {
		client, err := redis.Open(redis.Options{Addresses: []string{addr}, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		rt := bare(t)
		rt.Redis = &Redis{Client: client}
		rt.Leases.Add(client.Close)
		for _, open := range []func() error{rt.OpenFolder, rt.OpenOverrides, rt.openTombstones, func() error { return rt.OpenConduct(nil, nil) }} {
			if err := open(); err != nil {
				t.Fatal(err)
			}
		}
		countViolations(t, rt)
		if err := rt.OpenEngine(nil); err != nil {
			t.Fatal(err)
		}
		client.Start()
		return rt
	}
	until := func(what string, so func() bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("in vain: %s", what)
			}
		}
	}
	rt := instance(link.Addr)
	defer release(t, rt)
	ctx, cancel := context.WithCancel(t.Context())
	var sharing sync.WaitGroup
	sharing.Go(func() { rt.Conduct.Share(ctx, rt.settleTombstones) })
	defer sharing.Wait()
	defer cancel()
	rt.Conduct.Store().Add(&trapTouched, violation.Act{Client: offender, Share: 1})
	stored := func() bool {
		return server.CLI("HEXISTS", "iprep:v1:{violations}:subjects", "203.0.113.5/32") == "1"
	}
	until("it is in redis", stored)

	link.Down()
	until("redis is away", func() bool {
		_, _ = rt.Conduct.Forget(t.Context(), offender)
		return !rt.Redis.Up()
	})
	rt.Tombstones.Add(netip.PrefixFrom(offender, 32), time.Now(), true)
	link.Heal()
	until("it is gone from redis", func() bool { return !stored() })
	if rt.Conduct.Store().Has(offender) {
		t.Error("it is back")
	}
}
