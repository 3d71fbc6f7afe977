package module

import (
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/postgres"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/secret"
)

// History stores verdicts and decisions in PostgreSQL: how many requests of an address in each minute passed,
// were limited, blocked or dropped, by which rule, and each change of a verdict with its evidence. Addresses
// that are exempt are not in it. No request waits for it: while the database is away, what there is to keep
// waits on disk.
type History struct {
	// Where the database is: a connection string of PostgreSQL, such as `postgres://user:password@host/name`. It is read
	// again while Caddy runs, and at once when the login is refused. Required.
	Database *secret.Secret `json:"database,omitempty"`

	// How long entries are stored, in whole days. Older days are dropped. Default: 90d.
	Retention caddy.Duration `json:"retention,omitempty"`

	// How many bytes all tables may take in the database, with their indexes. While they take more, the oldest day is
	// dropped, before `retention`; today never is. It is checked every five minutes. Instances that share a database
	// should have the same value: the smallest applies to all. 0 means no limit. Default: 0.
	MaxSize int64 `json:"max_size,omitempty"`

	// How many bytes wait on disk while the database is away, in Caddy's data folder. When they are more, the oldest are
	// dropped; the log and `history_dropped_total` say how much. Default: 256MiB.
	Spool int64 `json:"spool,omitempty"`

	// How many rows this instance may add in a minute. With more, further clients are counted together, in rows of
	// `0.0.0.0/0` and `::/0`. Clients that pass without a score may have half of the rows. An outsider with many addresses
	// thus cannot fill the database. The log and `history_folded_total` say when that happens. A client has a row for each
	// decision in ten seconds; 20000 rows a minute are at most 6 GB a day. Default: 20000.
	MaxRows int `json:"max_rows,omitempty"`

	// Who makes the tables and brings them up to date: `auto`, this plugin, in the background when it starts,
	// one instance of many; `off`, you, by `caddy ip-reputation migrate up`. Parts for the days are made by this
	// plugin in any case. Default: `auto`.
	Migrate string `json:"migrate,omitempty"`
}

const (
	minRetention = 24 * time.Hour
	minMaxSize   = 64 << 20
	minSpool     = 1 << 20
	minMaxRows   = 100
)

// Check reports what is wrong with the settings besides the connection string.
func (h *History) Check() error {
	switch {
	case h.Migrate != "" && h.Migrate != "auto" && h.Migrate != "off":
		return fmt.Errorf("unknown migrate %q: use auto or off", h.Migrate)
	case h.Retention != 0 && time.Duration(h.Retention) < minRetention:
		return fmt.Errorf("retention %s is out of range: use 1d or more", time.Duration(h.Retention))
	case h.MaxSize != 0 && h.MaxSize < minMaxSize:
		return fmt.Errorf("max_size of %d bytes is out of range: use 64MiB or more", h.MaxSize)
	case h.Spool != 0 && h.Spool < minSpool:
		return fmt.Errorf("spool of %d bytes is out of range: use 1MiB or more", h.Spool)
	case h.MaxRows != 0 && h.MaxRows < minMaxRows:
		return fmt.Errorf("max_rows %d is out of range: use %d or more", h.MaxRows, minMaxRows)
	}
	return nil
}

// CheckDatabase reports what is wrong with a connection string that stands in the configuration itself.
func (h *History) CheckDatabase() error { return h.Database.CheckValue(postgres.CheckDSN) }

// provisionHistory finds or makes the database and the recorder of requests. Nobody is called before Start.
func (a *App) provisionHistory(ctx caddy.Context) error {
	if a.History == nil {
		return nil
	}
	if err := a.openHistory(ctx); err != nil {
		return fmt.Errorf("history: %w", err)
	}
	return nil
}

func (a *App) openHistory(ctx caddy.Context) error {
	h := a.History
	if err := h.Check(); err != nil {
		return err
	}
	if h.Database == nil {
		return errors.New("no database is given: " + secret.HowToWrite("history"))
	}
	hash, err := process.Hash([]any{h.Database, h.Retention, h.MaxSize, h.Migrate}) // before the raw store is gone
	if err != nil {
		return err
	}
	dsn, err := h.Database.OpenFor(ctx, a.runtime, "history", "history", true)
	if err != nil {
		return err
	}
	if value, ok := dsn.Current(); ok {
		if err := postgres.CheckDSN(value); err != nil {
			return err
		}
	}
	a.runtime.Spool, a.runtime.Rows = h.Spool, h.MaxRows
	return a.runtime.OpenDatabase(hash, postgres.Options{
		Retention: time.Duration(h.Retention), MaxSize: h.MaxSize, Migrate: h.Migrate != "off",
	}, dsn)
}
