// Package postgres stores the history in PostgreSQL.
//
// One goroutine checks the connection, migrates the tables and makes the partitions of coming days.
// While the database is not ready, all calls fail at once.
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

// DefaultRetention is the default of Options.Retention.
const DefaultRetention = 90 * 24 * time.Hour

// Options configure a DB. DSN is required.
type Options struct {
	// DSN returns the server and the login, as a URL or as keywords and values. It returns false
	// while they are not known. It is called again and again, so that a new password is used
	// without a restart. It must be quick.
	DSN func() (string, bool)

	// Retention is how long history is stored, in whole days: a day is dropped when all of it is
	// older. Instances that share a database should have the same value: the shortest applies to
	// all. Default: 90 days.
	Retention time.Duration

	// MaxSize is how many bytes all tables may take, with their indexes. The oldest days are dropped
	// while they take more, but never today. Instances that share a database should have the same
	// value: the smallest applies to all. 0: no limit.
	MaxSize int64

	// Migrate creates the tables and brings them up to date. That needs a session lock. Behind a
	// pooler that shares sessions, such as PgBouncer in transaction mode, call the function Migrate
	// instead, with the DSN of the server itself.
	Migrate bool

	// Logger receives messages for the operator. Default: slog.Default().
	Logger *slog.Logger

	// Notify, if set, is called when the database becomes ready, and after every failed check, with
	// the Result of Status. It is called with a lock held: it must be quick and must not call this
	// package.
	Notify func(up bool, result string)
}

const (
	// maxConns allows one writer, one check and maxReaders queries.
	maxConns = 5

	// connectTimeout is the default of connect_timeout in the DSN.
	connectTimeout = 5 * time.Second

	// How long Close waits for running calls, and then, after it has closed their connections, for
	// their end.
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

	ctx     context.Context // until Close
	cancel  context.CancelFunc
	running sync.WaitGroup // monitor, and pools being closed
}

var (
	_ history.Store  = (*DB)(nil)
	_ history.Reader = (*DB)(nil)
)

// Open returns a DB without connecting. Start connects, in the background.
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
	db.ctx, db.cancel = context.WithCancel(context.Background())
	db.sockets.ctx = db.ctx
	db.reader = newReader(db.begin, func() time.Time { return db.now() })
	db.health.init()
	return db, nil
}

// Start starts the background work and returns at once. A second call, or a call after Close, does
// nothing.
func (db *DB) Start() {
	h := &db.health
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.started || h.closed {
		return
	}
	h.started = true
	db.running.Go(db.monitor)
}

// Close closes the connections within seconds. Running and later calls fail.
func (db *DB) Close() error {
	h := &db.health
	h.mu.Lock()
	closed := h.closed
	h.closed, h.up = true, false
	h.failure = &failure{kind: unreachable, text: "this instance has closed it"}
	pool := h.pool
	h.pool = nil
	if pool != nil {
		db.retirePool(pool)
	}
	h.mu.Unlock()
	if closed {
		return nil
	}
	db.cancel()
	over := make(chan struct{})
	go func() { // ends when all pools are closed
		db.running.Wait()
		close(over)
	}()
	select {
	case <-over:
		return nil
	case <-time.After(closeGrace):
	}
	db.sockets.closeAll()
	select {
	case <-over:
		return nil
	case <-time.After(closeLimit):
		return errors.New("closing the connections to the database of the history takes too long: they are left behind")
	}
}

// retirePool closes a pool in the background, since that waits for running calls. The caller holds
// the lock of health, so that Close waits for the pool.
func (db *DB) retirePool(pool *pool) { db.running.Go(pool.Close) }

// pool is the connections of one DSN.
type pool struct {
	*pgxpool.Pool
	dsn    string
	server string // for messages
}

// begin begins a transaction for a reader.
func (db *DB) begin(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error) {
	pool, err := db.usable()
	if err != nil {
		return nil, err
	}
	tx, err := pool.BeginTx(ctx, options)
	if err != nil {
		return nil, db.reportError(ctx, pool, err)
	}
	return tx, nil
}

// withLimit returns ctx with a time limit. Close cancels it as well.
func (db *DB) withLimit(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	stop := context.AfterFunc(db.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// causes limit how often each kind of failure, and the return of the database, is logged.
type causes = throttle.Causes[string]
