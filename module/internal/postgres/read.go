package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

const (
	// readBudget is how long the database may work on one query. It is sent as statement_timeout.
	readBudget = 5 * time.Second

	// readGrace is how much longer than readBudget a query may take before its connection is closed.
	readGrace = 3 * time.Second
)

// maxReaders is how many queries run at once; others wait. The remaining connections are for
// writing. The look-up API runs at most two, so that an operator's query need not wait for it.
const maxReaders = 3

// reader implements history.Reader. It runs each query in a read-only transaction with one snapshot
// of the tables.
type reader struct {
	// begin begins a transaction. It returns errors of package history or of pgx.
	begin  func(context.Context, pgx.TxOptions) (pgx.Tx, error)
	now    func() time.Time
	budget time.Duration
	slots  chan struct{} // of all queries

	// ranking is the slot of rankings, of which one runs at a time: the database groups all rows of
	// the period, in as much memory as its work_mem allows, several times over.
	ranking chan struct{}
}

var _ history.Reader = (*reader)(nil)

// newReader returns a reader that uses transactions of begin.
func newReader(begin func(context.Context, pgx.TxOptions) (pgx.Tx, error), now func() time.Time) *reader {
	return &reader{
		begin: begin, now: now, budget: readBudget,
		slots: make(chan struct{}, maxReaders), ranking: make(chan struct{}, 1),
	}
}

// readTx is the transaction of one query.
type readTx struct {
	ctx      context.Context
	tx       pgx.Tx
	deadline time.Time // for the statements
}

// read runs do in a transaction and returns errors of package history. what names the attempt in
// the error.
func (r *reader) read(ctx context.Context, what string, do func(*readTx) error) error {
	return r.readIn(ctx, what, do, r.slots)
}

// rank is read for rankings.
func (r *reader) rank(ctx context.Context, what string, do func(*readTx) error) error {
	return r.readIn(ctx, what, do, r.ranking, r.slots)
}

// readIn is read in slots, for which it waits in their order.
func (r *reader) readIn(ctx context.Context, what string, do func(*readTx) error, slots ...chan struct{}) error {
	limited, cancel := context.WithTimeout(ctx, r.budget+readGrace)
	defer cancel()
	err := r.transact(limited, do, slots)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err() // the caller has cancelled: the database did not fail
	}
	return fmt.Errorf("cannot tell %s: %w", what, readError(err))
}

func (r *reader) transact(ctx context.Context, do func(*readTx) error, slots []chan struct{}) error {
	for _, slot := range slots {
		select {
		case slot <- struct{}{}:
			defer func() { <-slot }()
		case <-ctx.Done():
			return fmt.Errorf("%w: it is busy with other questions", history.ErrUnavailable)
		}
	}
	tx, err := r.begin(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }() // nothing to undo; the pool closes a broken connection
	return do(&readTx{ctx: ctx, tx: tx, deadline: time.Now().Add(r.budget)})
}

// transactionSettings hold for the transaction only, so that they work behind a pooler.
// statement_timeout is the rest of the budget. Plans are custom: a generic plan would not know which
// partitions and how many rows the values select. JIT compilation takes longer than it saves.
// Parallel workers would each take the memory of one more query. work_mem is the server's own: groups
// that do not fit go to its disk.
const transactionSettings = `SELECT set_config('statement_timeout', $1, true),
	set_config('plan_cache_mode', 'force_custom_plan', true),
	set_config('jit', 'off', true), set_config('max_parallel_workers_per_gather', '0', true)`

// selectRows returns the rows that a statement finds, never nil.
func selectRows[T any](a *readTx, statement string, args pgx.NamedArgs, scan pgx.RowToFunc[T]) ([]T, error) {
	left := max(time.Until(a.deadline).Milliseconds(), 1) // 0 would be no limit
	if _, err := a.tx.Exec(a.ctx, transactionSettings, fmt.Sprint(left)); err != nil {
		return nil, err
	}
	rows, err := a.tx.Query(a.ctx, statement, args)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}

// page returns at most limit rows and, if there are more, the cursor of the next page.
func page[T any](found []T, limit int, next func(last T) cursor) ([]T, string) {
	if len(found) <= limit {
		return found, ""
	}
	return found[:limit], next(found[limit-1]).String()
}

// readError returns err as an error of package history.
func readError(err error) error {
	var refused *pgconn.PgError
	var scan pgx.ScanArgError
	switch {
	case errors.Is(err, history.ErrQuery), errors.Is(err, history.ErrUnavailable):
		return err
	case errors.As(err, &refused) && refused.Code == queryCanceled: // by statement_timeout: the caller has not
		return history.ErrSlow
	case errors.As(err, &scan):
		return fmt.Errorf("%w: a column has a value that no version is known to write", history.ErrSchema)
	}
	return classify(err)
}
