package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// writeLimit is how long a call of Write takes at most.
const writeLimit = 10 * time.Second

// partLimits returns how long a statement of a part of a batch may take, and how much of that it may
// wait for a lock. Both are shorter than Write, so that a part that takes too long can be halved,
// and a lock is not taken for a part that is too large.
func (db *DB) partLimits() (statement, lock time.Duration) {
	return db.writeLimit / 2, db.writeLimit * 3 / 8
}

// beginQuery returns the statement that begins a writing transaction. Its settings hold for the
// transaction only, so that they work behind a pooler. Keepalives let the server notice soon that
// the client is gone: until then, it would hold the lock on the batch, and no other instance could
// store it.
func beginQuery(statement, lock time.Duration) string {
	return fmt.Sprintf(`BEGIN ISOLATION LEVEL READ COMMITTED;
		SET LOCAL statement_timeout = %d; SET LOCAL lock_timeout = %d;
		SET LOCAL idle_in_transaction_session_timeout = %d;
		SET LOCAL tcp_keepalives_idle = 10; SET LOCAL tcp_keepalives_interval = 5; SET LOCAL tcp_keepalives_count = 3`,
		statement.Milliseconds(), lock.Milliseconds(), (writeLimit + 5*time.Second).Milliseconds())
}

// Write implements history.Store. It takes 10 s at most. A batch that takes the database too long is
// stored in parts: after an error, the next call goes on with those that are missing.
func (db *DB) Write(ctx context.Context, batch *history.Batch) (history.Stored, error) {
	rows, stored := db.rowsOf(batch)
	if rows.len() == 0 {
		return stored, nil
	}
	pool, err := db.usable()
	if err != nil {
		return history.Stored{}, err
	}
	limited, cancel := db.withLimit(ctx, db.writeLimit)
	defer cancel()
	w := writing{db: db, pool: pool}
	if err := w.store(limited, batch.ID, rows); err != nil {
		return history.Stored{}, db.reportError(ctx, pool, err)
	}
	stored.Entries -= w.rejected
	stored.Rejected += w.rejected
	db.reportWrite(pool)
	return stored, nil
}

// write stores rows in one transaction. halved reports that nothing was stored, since the batch is
// stored in halves.
func (w *writing) write(ctx context.Context, id history.ID, rows *rows) (halved bool, err error) {
	begin := pgx.TxOptions{BeginQuery: beginQuery(w.db.partLimits())}
	for attempt := 0; ; attempt++ {
		err := w.db.makeMissing(ctx, w.pool, rows)
		if err == nil {
			err = pgx.BeginTxFunc(ctx, w.pool, begin, func(tx pgx.Tx) (err error) {
				halved, err = copyRows(ctx, tx, id, rows)
				return err
			})
		}
		if !classify(err).noPartition() || attempt > 0 {
			return halved, err
		}
		w.db.invalidatePartitions() // another instance with a shorter retention has dropped one
	}
}

// makeMissing makes the missing partitions of the rows.
func (db *DB) makeMissing(ctx context.Context, pool *pool, rows *rows) error {
	if missing := db.missing(rows.days); len(missing) > 0 {
		return db.makePartitions(ctx, pool, missing)
	}
	return nil
}

// copyRows stores the rows of a batch, unless the batch is already stored, or stored in halves. If
// two instances store the same batch at once, the second waits in the first statement for the end of
// the first.
func copyRows(ctx context.Context, tx pgx.Tx, id history.ID, rows *rows) (halved bool, err error) {
	added, err := addBatch(ctx, tx, id)
	if err != nil || !added {
		return false, err
	}
	switch halved, err := isHalved(ctx, tx, id); {
	case err != nil:
		return false, err
	case halved:
		return true, removeBatch(ctx, tx, id)
	}
	for _, t := range []struct {
		name    string
		columns []string
		length  int
		row     func(int) ([]any, error)
	}{
		{"decisions", decisionColumns, len(rows.decisions), rows.decision},
		{"verdicts", verdictColumns, len(rows.verdicts), rows.verdict},
		{"incidents", incidentColumns, len(rows.incidents), rows.incident},
	} {
		if t.length == 0 {
			continue
		}
		n, err := tx.CopyFrom(ctx, pgx.Identifier{schema, t.name}, t.columns, pgx.CopyFromSlice(t.length, t.row))
		if err != nil {
			return false, err
		}
		if n != int64(t.length) {
			return false, errors.New("it has taken another number of rows than it was given")
		}
	}
	return false, nil
}
