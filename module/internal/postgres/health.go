package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/backoff"
)

const (
	checkIdle  = 15 * time.Second       // while the database is ready, so that a failure is noticed without traffic
	checkAfter = 100 * time.Millisecond // delay after a failed call, so that many failures cause one check

	// checkLimit is the time limit of one check. A migration may take longer.
	checkLimit   = 10 * time.Second
	migrateLimit = 10 * time.Minute
)

var checkPauses = backoff.Policy{First: 250 * time.Millisecond, Most: 5 * time.Second}

// health is the known state of the database.
type health struct {
	mu      sync.Mutex
	started bool
	closed  bool
	pool    *pool // nil: the DSN is not known
	up      bool
	since   time.Time
	failure *failure // the latest; nil: the database is ready
	tables  tables
	written time.Time
	upkeep  *failure  // the latest failure to make or drop partitions
	tried   time.Time // when a stored batch last caused another attempt

	wake   chan struct{} // makes monitor check at once
	causes causes
	logged bool // a failure was logged since the database was last ready
}

func (h *health) init() {
	h.since = time.Now()
	h.failure = &failure{kind: unknownDSN, text: "nobody has called it yet", cure: "wait a moment"}
	h.wake = make(chan struct{}, 1)
}

// Status is the state of the database.
type Status struct {
	// Up is true when the database is ready: it answers, and has the tables.
	Up bool `json:"up"`

	// Since is when Up last changed.
	Since time.Time `json:"since"`

	// Result and Error describe the failure in a word and in a sentence. Cure is what to do about it.
	Result string `json:"result,omitempty"`
	Error  string `json:"error,omitempty"`
	Cure   string `json:"cure,omitempty"`

	// Server is where this instance looks: host:port/database. It is empty while that is not known yet.
	Server string `json:"server,omitempty"`

	// SchemaKnown and SchemaFound are the versions of the tables that this program knows and that
	// the database has. 0 stands for no tables.
	SchemaKnown int64 `json:"schema_known"`
	SchemaFound int64 `json:"schema_found"`

	// LastWrite is when a batch was last stored.
	LastWrite time.Time `json:"last_write,omitzero"`

	// Upkeep is why partitions were not made or dropped, and what to do about it.
	Upkeep string `json:"upkeep,omitempty"`
}

// Status returns the state of the database. It makes no calls.
func (db *DB) Status() Status {
	h := &db.health
	h.mu.Lock()
	defer h.mu.Unlock()
	s := Status{Up: h.up, Since: h.since, SchemaKnown: newestVersion, SchemaFound: h.tables.found, LastWrite: h.written}
	if h.pool != nil {
		s.Server = h.pool.server
	}
	if f := h.failure; f != nil && !h.up {
		s.Result, s.Error, s.Cure = kinds[f.kind].word, f.Error(), f.cureOrDefault()
	}
	if f := h.upkeep; f != nil {
		s.Upkeep = f.text + "; " + f.cureOrDefault()
	}
	return s
}

// Up reports whether the database is ready.
func (db *DB) Up() bool {
	db.health.mu.Lock()
	defer db.health.mu.Unlock()
	return db.health.up
}

// usable returns the pool if the database can be used. A database that refuses writes is used all
// the same: only a write that succeeds shows that it accepts them again.
func (db *DB) usable() (*pool, error) {
	h := &db.health
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.up || h.pool != nil && h.tables.found > 0 && h.failure.refusesWrites() {
		return h.pool, nil
	}
	return nil, h.failure
}

// reportWrite records that a batch was stored.
func (db *DB) reportWrite(pool *pool) {
	h := &db.health
	h.mu.Lock()
	defer h.mu.Unlock()
	h.written = db.now()
	if h.upkeep != nil && db.now().After(h.tried.Add(upkeepAgain)) { // the cause of the failure may be over
		h.tried = db.now()
		db.days.mu.Lock()
		db.days.next = time.Time{}
		db.days.mu.Unlock()
		h.requestCheck()
	}
	if !h.up && !h.closed && h.pool == pool && h.failure.writing {
		db.setState(nil)
	}
}

// reportError records the error of a call, and returns it as an error of this package.
func (db *DB) reportError(ctx context.Context, pool *pool, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		// the caller has cancelled the call: nothing is known about the database
		return fmt.Errorf("asking the database of the history: %w", ctx.Err())
	}
	f := pool.redact(classify(err))
	if f.kind == readOnly {
		pool.Reset() // the primary may be elsewhere now, behind the same address
	}
	h := &db.health
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return h.failure
	case h.pool != pool: // it was replaced meanwhile
		return f
	}
	switch f.kind {
	case rejected: // only this batch is at fault
	case timeout, otherFailure: // a check finds out whether the database is ready
		h.requestCheck()
	case full, readOnly, forbidden:
		f.writing = true
		db.setState(f)
	default:
		db.setState(f)
		h.requestCheck()
	}
	return f
}

// redact removes the password from a failure.
func (p *pool) redact(f *failure) *failure {
	conn := p.Config().ConnConfig
	return f.redact(conn.Password, conn.User, conn.Database, p.server)
}

// requestCheck makes monitor check at once.
func (h *health) requestCheck() {
	select {
	case h.wake <- struct{}{}:
	default: // a check is already requested
	}
}

// setState records a failure or, if f is nil, that the database is ready. The caller holds the lock
// of health.
func (db *DB) setState(f *failure) {
	h := &db.health
	h.failure = f
	up := f == nil
	lasted := time.Since(h.since).Round(time.Millisecond)
	changed := up != h.up
	if changed {
		h.up, h.since = up, time.Now()
	}
	switch {
	case !up:
		db.options.Notify(false, kinds[f.kind].word)
		db.logFailure(f)
	case changed:
		db.options.Notify(true, "")
		if h.logged || h.causes.Allow("up", time.Now()) {
			h.logged = false
			db.log.Info("the database of the history is ready",
				slog.String("database", h.pool.server), slog.Duration("after", lasted))
		}
	}
}

// logFailure logs a failure, at most once a minute for each kind. The caller holds the lock of
// health.
func (db *DB) logFailure(f *failure) {
	h := &db.health
	// the secret store that has no DSN yet logs that itself
	if f.kind == unknownDSN || !h.causes.Allow(kinds[f.kind].word, time.Now()) {
		return
	}
	h.logged = true
	attrs := []any{
		slog.String("result", kinds[f.kind].word), slog.String("error", f.Error()),
		slog.String("cure", f.cureOrDefault()),
	}
	if h.pool != nil {
		attrs = append(attrs, slog.String("database", h.pool.server))
	}
	if kinds[f.kind].needsOperator {
		db.log.Error("the database of the history cannot be used: what happens waits on this machine's disk", attrs...)
		return
	}
	db.log.Warn("the database of the history is away: what happens waits on this machine's disk", attrs...)
}

// monitor checks the database again and again, until Close.
func (db *DB) monitor() {
	failures := 0 // in a row
	for db.ctx.Err() == nil {
		next := checkIdle
		if f := db.check(); f != nil {
			failures++
			next = backoff.Jitter(checkPauses.Pause(failures), 0.8, 1.2) // instances should not reconnect together
		} else {
			failures = 0
		}
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
		case <-db.health.wake:
			timer.Stop()
			select {
			case <-time.After(checkAfter):
			case <-db.ctx.Done():
			}
		case <-db.ctx.Done():
			timer.Stop()
		}
	}
}

// check finds out whether the database is ready. It migrates the tables, if allowed, and maintains
// the partitions.
func (db *DB) check() (f *failure) {
	defer func() {
		if r := recover(); r != nil {
			db.log.Error("asking whether the database of the history is there panicked; this is a bug", slog.Any("panic", r))
			f = &failure{kind: otherFailure, text: "looking after it has failed"}
		}
		if db.ctx.Err() != nil {
			return
		}
		h := &db.health
		h.mu.Lock()
		defer h.mu.Unlock()
		if !h.closed && (f != nil || !h.up && !h.failure.writing) {
			db.setState(f)
		}
	}()
	pool, f := db.connect()
	if f != nil {
		return f
	}
	ctx, cancel := db.withLimit(db.ctx, checkLimit)
	defer cancel()
	found, err := readTables(ctx, pool)
	if err == nil && found.found < newestVersion && db.options.Migrate && !found.standby {
		if err = db.migrate(pool); err == nil {
			anew, cancel := db.withLimit(db.ctx, checkLimit) // the migration may have used up the first limit
			defer cancel()
			found, err = readTables(anew, pool)
		}
	}
	if err != nil {
		return pool.redact(classify(err))
	}
	db.health.mu.Lock()
	db.health.tables = found
	db.health.mu.Unlock()
	if found.standby {
		pool.Reset() // as reportError does
	}
	if f = found.unusable(); f == nil {
		db.maintainPartitions(pool)
	}
	return f
}

// connect returns the pool of the current DSN. It makes no calls.
func (db *DB) connect() (*pool, *failure) {
	h := &db.health
	dsn, ok := db.options.DSN()
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return nil, h.failure
	case !ok && h.pool != nil: // the DSN is not available any more: the last one stays in use
		return h.pool, nil
	case !ok:
		return nil, &failure{kind: unknownDSN, text: "it is not known yet where it is"}
	case h.pool != nil && h.pool.dsn == dsn:
		return h.pool, nil
	}
	config, err := configure(dsn, db.sockets.dial)
	if err != nil {
		return nil, &failure{kind: invalidDSN, text: err.Error()}
	}
	connections, err := pgxpool.NewWithConfig(db.ctx, config)
	if err != nil {
		return nil, &failure{kind: invalidDSN, text: "the settings of the DSN contradict each other"}
	}
	if h.pool != nil {
		db.retirePool(h.pool)
	}
	h.pool = &pool{Pool: connections, dsn: dsn, server: serverOf(config.ConnConfig)}
	return h.pool, nil
}
