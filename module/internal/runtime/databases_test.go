package runtime

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/mmdb"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// inCountry writes a database that says a country of 203.0.113.0/24.
func inCountry(t *testing.T, path, country string) {
	t.Helper()
	data := testenv.MMDB{Networks: []testenv.Network{
		{Prefix: "203.0.113.0/24", Record: map[string]any{"country_code": country}},
	}}.Bytes(t)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A configuration finds the databases of the one before, and reads nothing again; the last one lets go of them.
func TestDatabasesAreShared(t *testing.T) {
	dir := t.TempDir()
	first, second := mmdb.Spec{Name: "a", File: filepath.Join(dir, "a.mmdb")}, mmdb.Spec{Name: "b", File: filepath.Join(dir, "b.mmdb")}
	inCountry(t, first.File, "DE")
	inCountry(t, second.File, "NL")
	before, after := &Runtime{Logger: slog.New(slog.DiscardHandler)}, &Runtime{Logger: slog.New(slog.DiscardHandler)}
	if err := before.OpenDatabases(t.Context(), []mmdb.Spec{first}, true); err != nil {
		t.Fatal(err)
	}
	loaded := before.Databases[0].Status().LastLoad
	if err := after.OpenDatabases(t.Context(), []mmdb.Spec{second, first}, true); err != nil {
		t.Fatal(err)
	}
	if after.Databases[1] != before.Databases[0] || !after.Databases[1].Status().LastLoad.Equal(loaded) {
		t.Error("a file that is as it was is read again")
	}
	addr := netip.MustParseAddr("203.0.113.5")
	if a, b := before.Facts(addr).Country, after.Facts(addr).Country; a != "DE" || b != "NL" {
		t.Errorf("got %q and %q; want what the first database says", a, b)
	}
	if err := before.Leases.Release(); err != nil {
		t.Fatal(err)
	}
	if got := (mmdb.Set{after.Databases[1]}).Facts(addr).Country; got != "DE" {
		t.Errorf("got %q of a database that is in use", got)
	}
	if err := after.Leases.Release(); err != nil {
		t.Fatal(err)
	}
	if got := after.Facts(addr).Country; got != "" {
		t.Errorf("got %q of databases that nobody uses", got)
	}
}

// Whoever waits for the answer is told of a broken file; at a boot, the log is.
func TestBrokenDatabase(t *testing.T) {
	spec := mmdb.Spec{Name: "a", File: filepath.Join(t.TempDir(), "a.mmdb")}
	var log bytes.Buffer
	rt := &Runtime{Logger: slog.New(slog.NewTextHandler(&log, nil))}
	defer func() { _ = rt.Leases.Release() }()
	if err := rt.OpenDatabases(t.Context(), []mmdb.Spec{spec}, true); err == nil || !strings.Contains(err.Error(), spec.File) {
		t.Errorf("got %v", err)
	}
	boot := &Runtime{Logger: rt.Logger}
	defer func() { _ = boot.Leases.Release() }()
	if err := boot.OpenDatabases(t.Context(), []mmdb.Spec{spec}, false); err != nil {
		t.Error(err)
	}
	if text := log.String(); strings.Count(text, "level=ERROR") != 1 || !strings.Contains(text, "no such file") {
		t.Errorf("the log has %s", text)
	}
	if r := boot.reach(); !r.Anything {
		t.Error("rules are said to never hold, though nobody knows what the file has")
	}
}

func TestDatabaseIsReplacedWhileServing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.mmdb")
	inCountry(t, path, "DE")
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		rt := &Runtime{Logger: slog.New(slog.NewTextHandler(&log, nil))}
		d := mmdb.New(mmdb.Spec{Name: "a", File: path})
		if err := d.Load(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		rt.Databases = mmdb.Set{d}
		if r := rt.reach(); r.Anything || !r.Says.Country || r.Says.ASN {
			t.Errorf("rules can reach %+v", r)
		}
		ctx, stop := context.WithCancel(t.Context())
		go process.Every(databaseInterval, rt.lookAtDatabases)(ctx)
		inCountry(t, path, "NL")
		time.Sleep(2*databaseInterval + time.Second)
		if got := rt.Facts(netip.MustParseAddr("203.0.113.5")).Country; got != "NL" {
			t.Errorf("got %q", got)
		}
		if err := os.WriteFile(path, []byte("<html>"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if got := rt.Facts(netip.MustParseAddr("203.0.113.5")).Country; got != "NL" {
			t.Errorf("got %q of a broken file", got)
		}
		stop()
		synctest.Wait()
		if text := log.String(); strings.Count(text, "level=INFO") != 1 || strings.Count(text, "level=ERROR") != 1 {
			t.Errorf("each is to be said once:\n%s", text)
		}
	})
}
