package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// writeLimit is how long the database may work on a batch. It is sent as statement_timeout.
const writeLimit = 10 * time.Second

// beginQuery returns the statement that begins a writing transaction. Its settings hold for the
// transaction only, so that they work behind a pooler. Keepalives let the server notice soon that
// the client is gone: until then, it would hold the lock on the batch, and no other instance could
// store it.
func beginQuery(lockWait time.Duration) string {
	return fmt.Sprintf(`BEGIN ISOLATION LEVEL READ COMMITTED;
		SET LOCAL statement_timeout = %d; SET LOCAL lock_timeout = %d;
		SET LOCAL idle_in_transaction_session_timeout = %d;
		SET LOCAL tcp_keepalives_idle = 10; SET LOCAL tcp_keepalives_interval = 5; SET LOCAL tcp_keepalives_count = 3`,
		writeLimit.Milliseconds(), lockWait.Milliseconds(), (writeLimit + 5*time.Second).Milliseconds())
}

// Write implements history.Store. It takes 10 s at most.
func (db *DB) Write(ctx context.Context, batch *history.Batch) (history.Stored, error) {
	rows, stored, err := db.rowsOf(batch)
	if err != nil || len(rows.decisions)+len(rows.verdicts) == 0 {
		return stored, err
	}
	pool, err := db.usable()
	if err != nil {
		return history.Stored{}, err
	}
	limited, cancel := db.withLimit(ctx, db.writeLimit)
	defer cancel()
	if err := db.write(limited, pool, batch.ID, rows); err != nil {
		return history.Stored{}, db.reportError(ctx, pool, err)
	}
	db.reportWrite(pool)
	return stored, nil
}

func (db *DB) write(ctx context.Context, pool *pool, id history.ID, rows *rows) error {
	for attempt := 0; ; attempt++ {
		err := db.makeMissing(ctx, pool, rows)
		if err == nil {
			err = pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{BeginQuery: beginQuery(writeLimit)}, func(tx pgx.Tx) error {
				return copyRows(ctx, tx, id, rows)
			})
		}
		if f := classify(err); f == nil || f.code != noPartition || attempt > 0 {
			return err
		}
		db.invalidatePartitions() // another instance with a shorter retention has dropped one
	}
}

// makeMissing makes the missing partitions of the rows.
func (db *DB) makeMissing(ctx context.Context, pool *pool, rows *rows) error {
	if missing := db.missing(rows.days); len(missing) > 0 {
		return db.makePartitions(ctx, pool, missing)
	}
	return nil
}

// copyRows stores the rows of a batch, unless the batch is already stored. If two instances store
// the same batch at once, the second waits in the first statement for the end of the first.
func copyRows(ctx context.Context, tx pgx.Tx, id history.ID, rows *rows) error {
	tag, err := tx.Exec(ctx, "INSERT INTO ip_reputation.batches (id) VALUES ($1) ON CONFLICT DO NOTHING", [16]byte(id))
	if err != nil || tag.RowsAffected() == 0 {
		return err
	}
	for _, t := range []struct {
		name    string
		columns []string
		length  int
		row     func(int) ([]any, error)
	}{
		{"decisions", decisionColumns, len(rows.decisions), rows.decision},
		{"verdicts", verdictColumns, len(rows.verdicts), rows.verdict},
	} {
		if t.length == 0 {
			continue
		}
		n, err := tx.CopyFrom(ctx, pgx.Identifier{schema, t.name}, t.columns, pgx.CopyFromSlice(t.length, t.row))
		if err != nil {
			return err
		}
		if n != int64(t.length) {
			return errors.New("it has taken another number of rows than it was given")
		}
	}
	return nil
}
