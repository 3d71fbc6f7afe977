package module

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/postgres"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// History keeps in PostgreSQL what was known of addresses and what was decided about them: how many requests of an address
// in each minute passed, were limited, blocked or dropped, by which rule, and each change of a verdict with its evidence.
// Addresses that are exempt are not in it. No request waits for it: while the database is away, what there is to keep waits
// on disk.
type History struct {
	// Where the database is: a connection string of PostgreSQL, such as `postgres://user:password@host/name`. It is read
	// again while Caddy runs, and at once when the login is refused. Required.
	Database *Secret `json:"database,omitempty"`

	// For how long it is kept, in whole days. Days that are older are dropped. Default: 90d.
	Retention caddy.Duration `json:"retention,omitempty"`

	// How many bytes wait on disk while the database is away, in Caddy's data folder. When they are more, the oldest are
	// dropped; the log and `history_dropped_total` say how much. Default: 256MiB.
	Spool int64 `json:"spool,omitempty"`

	// Who makes the tables and brings them up to date: `auto`, this plugin, in the background when it starts, one instance of
	// many; `off`, you, by `caddy ip-reputation migrate up`. Parts for the days are made by this plugin in any case.
	// Default: `auto`.
	Migrate string `json:"migrate,omitempty"`
}

const (
	minRetention = 24 * time.Hour
	minSpool     = 1 << 20
)

// MigrateWords are what Migrate may be.
var MigrateWords = []string{"auto", "off"}

// Check reports what is wrong with the settings, as far as they can be judged by themselves.
func (h *History) Check() error {
	switch {
	case h.Migrate != "" && !slices.Contains(MigrateWords, h.Migrate):
		return fmt.Errorf("unknown migrate %q: use auto or off", h.Migrate)
	case h.Retention != 0 && time.Duration(h.Retention) < minRetention:
		return fmt.Errorf("retention %s is out of range: use 1d or more", time.Duration(h.Retention))
	case h.Spool != 0 && h.Spool < minSpool:
		return fmt.Errorf("spool of %d bytes is out of range: use 1MiB or more", h.Spool)
	}
	return nil
}

var errNoHistory = errors.New("no history is kept: add `history {env.DATABASE_URL}` to the global ip_reputation options")

// pooledRecorder is what requests are told to, in use by one or more configurations.
type pooledRecorder struct{ *history.Recorder }

// Destruct implements caddy.Destructor.
func (p pooledRecorder) Destruct() error { return p.Close() }

// pooledDatabase is a database in use by one or more configurations.
type pooledDatabase struct {
	*postgres.DB

	recorder atomic.Pointer[history.Recorder] // whose batches it takes
}

// notify tells what waits for the database, or gave it the login, how it is. It is called from within the database.
func (p *pooledDatabase) notify(login *renewal) func(up bool, result string) {
	return func(up bool, result string) {
		switch recorder := p.recorder.Load(); {
		case result == postgres.Denied:
			login.denied()
		case up && recorder != nil:
			recorder.Wake()
		}
	}
}

// Destruct implements caddy.Destructor. A reload does not wait for a database that says nothing.
func (p *pooledDatabase) Destruct() error {
	if caddy.Exiting() {
		return p.Close()
	}
	lingering.Go(func() { _ = p.Close() }) // what ends late has no more to say
	return nil
}

// provisionHistory finds or makes the database and what is told of requests. Nobody is called before Start.
func (a *App) provisionHistory(ctx caddy.Context, dir string) error {
	if a.History == nil {
		return nil
	}
	if err := a.openHistory(ctx, filepath.Join(dir, "history")); err != nil {
		return fmt.Errorf("history: %w", err)
	}
	return nil
}

func (a *App) openHistory(ctx caddy.Context, dir string) error {
	h := a.History
	if err := h.Check(); err != nil {
		return err
	}
	if h.Database == nil {
		return errors.New("no database is given: " + howToWrite("history"))
	}
	hash, err := hashOf([]any{h.Database, h.Retention, h.Migrate}) // before the raw store is gone
	if err != nil {
		return err
	}
	dsn, err := a.provisionSecret(ctx, "history", "history", h.Database)
	if err != nil {
		return err
	}
	if value, ok := dsn.Current(); ok {
		if err := postgres.CheckDSN(value); err != nil {
			return err
		}
	}
	a.database, err = acquire(a, "database "+hash, func() (*pooledDatabase, error) {
		p := new(pooledDatabase)
		p.DB, err = postgres.Open(postgres.Options{
			DSN: dsn.Current, Retention: time.Duration(h.Retention), Migrate: h.Migrate != "off", Logger: processLogger("history"),
			Notify: p.notify(&renewal{password: dsn}),
		})
		return p, err
	})
	if err != nil {
		return err
	}
	recorder, err := acquire(a, "history "+dir, func() (pooledRecorder, error) { // later than the database: it is released before
		return pooledRecorder{history.Open(history.Options{Dir: dir, Logger: processLogger("history")})}, nil
	})
	a.recorder = recorder.Recorder
	return err
}

// startHistory lets what was recorded go to this configuration's database from now on.
func (a *App) startHistory() {
	if a.recorder == nil {
		return
	}
	a.database.recorder.Store(a.recorder)
	a.database.Start()
	a.recorder.Use(history.Settings{Store: a.database, Limit: a.History.Spool, Keep: a.kept})
	a.recorder.Start()
}

// kept returns what stands in the history for an address: its subject, or what privacy makes of it. It reports false while a key
// for pseudonyms is missing.
func (a *App) kept(addr netip.Addr) (netip.Prefix, bool) {
	if a.privacy == nil {
		return reputation.Subject(addr), true
	}
	kept, ok := a.privacy.Stored(addr)
	if kept.Bits() > reputation.Subject(addr).Bits() && kept.Contains(addr) {
		kept = reputation.Subject(addr)
	}
	return kept, ok
}

// keptAs returns what the history knows a prefix by: as privacy says, and one IPv6 client by its /64, of which it may take any
// address.
func (a *App) keptAs(prefix netip.Prefix) (netip.Prefix, error) {
	kept, ok := a.kept(prefix.Addr())
	network := prefix.Bits() < reputation.Subject(prefix.Addr()).Bits()
	switch {
	case network && a.privacy.Hides():
		return netip.Prefix{}, errNoNetworks
	case !ok:
		return netip.Prefix{}, fmt.Errorf("%w: the key of privacy has not come from its store yet", history.ErrAway)
	case network && prefix.Bits() < kept.Bits():
		return prefix, nil
	}
	return kept, nil
}

// settleWithin is how long a question waits for what was recorded just now.
const settleWithin = time.Second

// reader returns what answers questions about the history. What this instance recorded just now is stored before, if that is
// soon done.
func (a *App) reader(ctx context.Context) (history.Reader, error) {
	if a.database == nil {
		return nil, errNoHistory
	}
	if a.database.Up() {
		ctx, cancel := context.WithTimeout(ctx, settleWithin)
		defer cancel()
		a.recorder.Settle(ctx)
	}
	if a.privacy.Hides() {
		return tracedHistory{pseudonymous{a.database}}, nil
	}
	return tracedHistory{a.database}, nil
}

// pseudonymous answers about a history of pseudonyms.
type pseudonymous struct{ history.Reader }

// Worst implements history.Reader.
func (p pseudonymous) Worst(ctx context.Context, r history.Ranking) (history.Worst, error) {
	if r.Networks {
		return history.Worst{}, errNoNetworks
	}
	return p.Reader.Worst(ctx, r)
}

var errNoNetworks = fmt.Errorf("%w: networks cannot be told from pseudonyms, ask for addresses", history.ErrQuestion)
