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
	checkIdle  = 15 * time.Second       // while all is well, so that a loss is noticed without traffic
	checkAfter = 100 * time.Millisecond // one check when something fails: how much else does is no reason for more

	// checkLimit bounds one look. To migrate may take longer.
	checkLimit   = 10 * time.Second
	migrateLimit = 10 * time.Minute
)

var checkPauses = backoff.Policy{First: 250 * time.Millisecond, Most: 5 * time.Second}

// health is what is known of the database.
type health struct {
	mu      sync.Mutex
	started bool
	closed  bool
	pool    *pool // nil: it is not known where the database is
	up      bool
	since   time.Time
	failure *failure // the last, until the database is ready
	tables  tables
	written time.Time
	upkeep  *failure  // why partitions were not made, or not dropped, the last time
	tried   time.Time // to mend that since a batch was stored

	wake   chan struct{} // attend should look at once
	causes causes
	said   bool // the log says that the database is away
}

func (h *health) init() {
	h.since = time.Now()
	h.failure = &failure{kind: waiting, text: "nobody has called it yet", cure: "wait a moment"}
	h.wake = make(chan struct{}, 1)
}

// Status is how the database is doing.
type Status struct {
	// Up says that the database is ready: it answers, and has the tables.
	Up bool `json:"up"`

	// Since is when that last changed.
	Since time.Time `json:"since"`

	// Result, Error and Cure are what is the matter, in a word and in a sentence, and what to do about it.
	Result string `json:"result,omitempty"`
	Error  string `json:"error,omitempty"`
	Cure   string `json:"cure,omitempty"`

	// Server is where this instance looks: host:port/database. It is empty while that is not known yet.
	Server string `json:"server,omitempty"`

	// SchemaKnown and SchemaFound are the versions of the tables that this program knows and that the database has. 0 stands
	// for no tables.
	SchemaKnown int64 `json:"schema_known"`
	SchemaFound int64 `json:"schema_found"`

	// LastWrite is when a batch was last stored.
	LastWrite time.Time `json:"last_write,omitzero"`

	// Upkeep says why the partitions of coming days were not made, or those of old days not dropped.
	Upkeep string `json:"upkeep,omitempty"`
}

// Status returns how the database is doing. It asks nobody.
func (db *DB) Status() Status {
	h := &db.health
	h.mu.Lock()
	defer h.mu.Unlock()
	s := Status{Up: h.up, Since: h.since, SchemaKnown: newest, SchemaFound: h.tables.found, LastWrite: h.written}
	if h.pool != nil {
		s.Server = h.pool.server
	}
	if f := h.failure; f != nil && !h.up {
		s.Result, s.Error, s.Cure = kinds[f.kind].word, f.Error(), f.remedy()
	}
	if h.upkeep != nil {
		s.Upkeep = h.upkeep.Error()
	}
	return s
}

// Up reports whether the database is ready.
func (db *DB) Up() bool {
	db.health.mu.Lock()
	defer db.health.mu.Unlock()
	return db.health.up
}

// usable returns the connections if they are of use. While the database takes no writes it is asked all the same, and writes are
// tried: nothing but one that succeeds tells that it takes them again.
func (db *DB) usable() (*pool, error) {
	h := &db.health
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.up || h.pool != nil && h.tables.found > 0 && h.failure.refusesWrites() {
		return h.pool, nil
	}
	return nil, h.failure
}

// wrote takes notice of a batch that was stored.
func (db *DB) wrote(pool *pool) {
	h := &db.health
	h.mu.Lock()
	defer h.mu.Unlock()
	h.written = db.now()
	if h.upkeep != nil && db.now().After(h.tried.Add(upkeepAgain)) { // what kept it from that may be over
		h.tried = db.now()
		db.days.mu.Lock()
		db.days.next = time.Time{}
		db.days.mu.Unlock()
		h.poke()
	}
	if !h.up && !h.closed && h.pool == pool && h.failure.writing {
		db.turn(nil)
	}
}

// note takes notice of what a call over the pool failed with, and returns it as one of our errors.
func (db *DB) note(ctx context.Context, pool *pool, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("asking the database of the history: %w", ctx.Err()) // the caller has given up, which says nothing about it
	}
	f := pool.clean(classify(err))
	h := &db.health
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return h.failure
	case h.pool != pool: // it has been replaced meanwhile
		return f
	}
	switch f.kind {
	case rejected: // it is ready for the next
	case timeout, failed: // whether it is away, a check finds out
		h.poke()
	case full, readOnly, forbidden:
		f.writing = true
		db.turn(f)
	default:
		db.turn(f)
		h.poke()
	}
	return f
}

// clean frees a failure of the login, as far as it is a secret.
func (p *pool) clean(f *failure) *failure {
	conn := p.Config().ConnConfig
	return f.without(conn.Password, conn.User, conn.Database, p.server)
}

// poke lets attend look at once.
func (h *health) poke() {
	select {
	case h.wake <- struct{}{}:
	default: // it is going to
	}
}

// turn takes notice of a failure, or, without one, of that the database is ready. It is called with the lock of health held.
func (db *DB) turn(f *failure) {
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
		db.complain(f)
	case changed:
		db.options.Notify(true, "")
		if h.said || h.causes.Allow("up", time.Now()) {
			h.said = false
			db.log.Info("the database of the history is ready", slog.String("database", h.pool.server), slog.Duration("after", lasted))
		}
	}
}

// complain says, once a minute for each kind, that the database is away. It is called with the lock of health held.
func (db *DB) complain(f *failure) {
	h := &db.health
	if f.kind == waiting || !h.causes.Allow(kinds[f.kind].word, time.Now()) { // the store that is waited for says so itself
		return
	}
	h.said = true
	attrs := []any{
		slog.String("result", kinds[f.kind].word), slog.String("error", f.Error()), slog.String("cure", f.remedy()),
	}
	if h.pool != nil {
		attrs = append(attrs, slog.String("database", h.pool.server))
	}
	if kinds[f.kind].acts {
		db.log.Error("the database of the history cannot be used: what happens waits on this machine's disk", attrs...)
		return
	}
	db.log.Warn("the database of the history is away: what happens waits on this machine's disk", attrs...)
}

// attend finds out, again and again, whether the database is ready, and looks after its tables. It ends with Close.
func (db *DB) attend() {
	failures := 0 // in a row
	for db.life.Err() == nil {
		next := checkIdle
		if f := db.check(); f != nil {
			failures++
			next = backoff.Jitter(checkPauses.Pause(failures), 0.8, 1.2) // instances should not come back together
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
			case <-db.life.Done():
			}
		case <-db.life.Done():
			timer.Stop()
		}
	}
}

// check looks whether the database is ready, and makes it so where it can.
func (db *DB) check() (f *failure) {
	defer func() {
		if r := recover(); r != nil {
			db.log.Error("asking whether the database of the history is there panicked; this is a bug", slog.Any("panic", r))
			f = &failure{kind: failed, text: "looking after it has failed"}
		}
		if db.life.Err() != nil {
			return
		}
		h := &db.health
		h.mu.Lock()
		defer h.mu.Unlock()
		if !h.closed && (f != nil || !h.up && !h.failure.writing) {
			db.turn(f)
		}
	}()
	pool, f := db.connect()
	if f != nil {
		return f
	}
	ctx, cancel := db.limited(db.life, checkLimit)
	defer cancel()
	found, err := look(ctx, pool)
	if err == nil && found.found < newest && db.options.Migrate && !found.standby {
		if err = db.migrate(pool); err == nil {
			anew, cancel := db.limited(db.life, checkLimit) // that may have taken longer
			defer cancel()
			found, err = look(anew, pool)
		}
	}
	if err != nil {
		return pool.clean(classify(err))
	}
	db.health.mu.Lock()
	db.health.tables = found
	db.health.mu.Unlock()
	if f = found.unusable(); f == nil {
		db.keepUp(pool)
	}
	return f
}

// connect returns the connections of the DSN that holds now. It calls nobody.
func (db *DB) connect() (*pool, *failure) {
	h := &db.health
	dsn, ok := db.options.DSN()
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return nil, h.failure
	case !ok && h.pool != nil: // the store has lost it: what it said last holds
		return h.pool, nil
	case !ok:
		return nil, &failure{kind: waiting, text: "it is not known yet where it is"}
	case h.pool != nil && h.pool.dsn == dsn:
		return h.pool, nil
	}
	config, err := configure(dsn, db.sockets.dial)
	if err != nil {
		return nil, &failure{kind: unfit, text: err.Error()}
	}
	connections, err := pgxpool.NewWithConfig(db.life, config)
	if err != nil {
		return nil, &failure{kind: unfit, text: "the settings of the DSN contradict each other"}
	}
	if h.pool != nil {
		db.retire(h.pool)
	}
	h.pool = &pool{Pool: connections, dsn: dsn, server: serverOf(config.ConnConfig)}
	return h.pool, nil
}
