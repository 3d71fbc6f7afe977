// Package postgres keeps the history in PostgreSQL.
//
// Nobody waits for the database: one goroutine finds out whether it is there, brings the tables up to date and makes the
// partitions of the days to come. What is called meanwhile, or while it is away, fails at once.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/throttle"
)

// DefaultRetention is how long history is kept.
const DefaultRetention = 90 * 24 * time.Hour

// Options say where the database is and what to do there. DSN is required.
type Options struct {
	// DSN returns where the database is and how to log in, as a URL or as keywords and values. It returns false while that is
	// not known yet. It is asked again and again, so that a password that has changed is used without a restart; it must be
	// quick.
	DSN func() (string, bool)

	// Retention is how long history is kept, in whole days: a day goes as soon as all of it is older. Instances that share a
	// database should agree on it: the shortest drops what the others would keep. Default: 90 days.
	Retention time.Duration

	// Migrate says to make the tables, and to bring them up to date. That takes a lock that belongs to a session: through a
	// pooler that shares sessions, such as PgBouncer in transaction mode, use Migrate with a DSN of the server itself.
	Migrate bool

	// Logger is told what an operator must know. Default: slog.Default().
	Logger *slog.Logger

	// Notify, when set, is told that the database is ready, when it begins to be, or that it is not, with the Result of Status, as
	// often as that is found out. It is called with a lock held: it must be quick, and call nothing here.
	Notify func(up bool, result string)
}

const (
	// maxConns is for one that writes, one that looks after the tables, and three that ask.
	maxConns = 5

	// connectTimeout is for a DSN that does not say.
	connectTimeout = 5 * time.Second

	// How long Close waits for what is under way, and then for the end of what it has cut off.
	closeGrace = time.Second
	closeLimit = 5 * time.Second
)

// DB is the database of the history. It is safe for concurrent use.
type DB struct {
	options Options
	log     *slog.Logger
	now     func() time.Time
	sockets sockets
	health  health
	days    days
	*reader

	writeLimit time.Duration

	life context.Context // until Close
	end  context.CancelFunc
	done sync.WaitGroup // attend, and pools that are being closed
}

var (
	_ history.Store  = (*DB)(nil)
	_ history.Reader = (*DB)(nil)
)

// Open returns the database without calling it: Start does, in the background.
func Open(o Options) (*DB, error) {
	if o.DSN == nil {
		return nil, errors.New("the history needs a database: where is it?")
	}
	if o.Retention < 0 {
		return nil, fmt.Errorf("history cannot be kept for %s: give the time in days", o.Retention)
	}
	if o.Retention == 0 {
		o.Retention = DefaultRetention
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Notify == nil {
		o.Notify = func(bool, string) {}
	}
	db := &DB{options: o, log: o.Logger, now: time.Now, writeLimit: writeLimit}
	db.life, db.end = context.WithCancel(context.Background())
	db.sockets.life = db.life
	db.reader = newReader(db.begin, func() time.Time { return db.now() })
	db.health.init()
	return db, nil
}

// Start begins to look after the database. It returns at once. Starting again, or after Close, does nothing.
func (db *DB) Start() {
	h := &db.health
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.started || h.closed {
		return
	}
	h.started = true
	db.done.Go(db.attend)
}

// Close ends the connections, within seconds. Calls under way fail, later ones do at once.
func (db *DB) Close() error {
	h := &db.health
	h.mu.Lock()
	closed := h.closed
	h.closed, h.up = true, false
	h.failure = &failure{kind: unreachable, text: "this instance has closed it"}
	pool := h.pool
	h.pool = nil
	if pool != nil {
		db.retire(pool)
	}
	h.mu.Unlock()
	if closed {
		return nil
	}
	db.end()
	over := make(chan struct{})
	go func() { // ends with the pools, which end with their connections
		db.done.Wait()
		close(over)
	}()
	select {
	case <-over:
		return nil
	case <-time.After(closeGrace):
	}
	db.sockets.cut()
	select {
	case <-over:
		return nil
	case <-time.After(closeLimit):
		return errors.New("closing the connections to the database of the history takes too long: they are left behind")
	}
}

// retire closes a pool in the background: that waits for whoever uses a connection. It is called with the lock of health
// held, so that Close knows of it.
func (db *DB) retire(pool *pool) { db.done.Go(pool.Close) }

// pool is the connections to one database with one login.
type pool struct {
	*pgxpool.Pool
	dsn    string
	server string // for people
}

// begin begins a transaction that reads.
func (db *DB) begin(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error) {
	pool, err := db.usable()
	if err != nil {
		return nil, err
	}
	tx, err := pool.BeginTx(ctx, options)
	if err != nil {
		return nil, db.note(ctx, pool, err)
	}
	return tx, nil
}

// limited returns ctx with a limit, which ends with Close as well.
func (db *DB) limited(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	stop := context.AfterFunc(db.life, cancel)
	return ctx, func() { stop(); cancel() }
}

// causes are why something was said: a kind of failure, or up.
type causes = throttle.Causes[string]
