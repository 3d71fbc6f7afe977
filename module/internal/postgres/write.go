package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// writeLimit is how long the database may work on a batch. It is told so, and gives up by itself.
const writeLimit = 10 * time.Second

// begin returns what begins a transaction that changes something. What it sets holds for the transaction only, so that it is
// right behind a pooler, too. Should our end be lost without a word, the server finds out soon: until then it would hold on to
// the batch, and nobody else could store it.
func begin(lockWait time.Duration) string {
	return fmt.Sprintf(`BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = %d; SET LOCAL lock_timeout = %d;
		SET LOCAL idle_in_transaction_session_timeout = %d;
		SET LOCAL tcp_keepalives_idle = 10; SET LOCAL tcp_keepalives_interval = 5; SET LOCAL tcp_keepalives_count = 3`,
		writeLimit.Milliseconds(), lockWait.Milliseconds(), (writeLimit + 5*time.Second).Milliseconds())
}

// Write stores a batch, within 10 s.
func (db *DB) Write(ctx context.Context, batch *history.Batch) (history.Stored, error) {
	rows, stored, err := db.rowsOf(batch)
	if err != nil || len(rows.decisions)+len(rows.verdicts) == 0 {
		return stored, err
	}
	pool, err := db.usable()
	if err != nil {
		return history.Stored{}, err
	}
	limited, cancel := db.limited(ctx, db.writeLimit)
	defer cancel()
	if err := db.write(limited, pool, batch.ID, rows); err != nil {
		return history.Stored{}, db.note(ctx, pool, err)
	}
	db.wrote(pool)
	return stored, nil
}

func (db *DB) write(ctx context.Context, pool *pool, id history.ID, rows *rows) error {
	for attempt := 0; ; attempt++ {
		err := db.prepare(ctx, pool, rows)
		if err == nil {
			err = pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{BeginQuery: begin(writeLimit)}, func(tx pgx.Tx) error {
				return copyRows(ctx, tx, id, rows)
			})
		}
		if f := classify(err); f == nil || f.code != noPartition || attempt > 0 {
			return err
		}
		db.forgetPartitions() // another instance, which keeps less, has dropped one
	}
}

// prepare makes the partitions that the rows need.
func (db *DB) prepare(ctx context.Context, pool *pool, rows *rows) error {
	if missing := db.missing(rows.days); len(missing) > 0 {
		return db.makePartitions(ctx, pool, missing)
	}
	return nil
}

// copyRows stores rows under a number, unless there are some already. Whoever stores the same at the same time waits in the
// first statement for the end of the other.
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
