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
	// readBudget is how long the database may work on one question. It is told so, and gives up by itself.
	readBudget = 5 * time.Second

	// readPatience is how much later a database that says nothing is given up.
	readPatience = 3 * time.Second
)

// readers is how many questions are asked at once; others wait. More would take the connections that are for writing. The look-up
// API asks no more than two, so that an operator is not kept waiting by it.
const readers = 3

// reader answers questions about the history, as history.Reader describes. Each is asked in a transaction of its own that
// changes nothing and sees one state of the tables.
type reader struct {
	// begin begins a transaction. It fails with an error of package history, or as pgx does.
	begin  func(context.Context, pgx.TxOptions) (pgx.Tx, error)
	now    func() time.Time
	budget time.Duration
	slots  chan struct{}
}

var _ history.Reader = (*reader)(nil)

// newReader returns a reader that asks in transactions of begin.
func newReader(begin func(context.Context, pgx.TxOptions) (pgx.Tx, error), now func() time.Time) *reader {
	return &reader{begin: begin, now: now, budget: readBudget, slots: make(chan struct{}, readers)}
}

// inquiry is a question that is being asked.
type inquiry struct {
	ctx      context.Context
	tx       pgx.Tx
	deadline time.Time // of the database's work
}

// ask runs do in a transaction. What that fails with is made an error of package history; what says what was attempted.
func (r *reader) ask(ctx context.Context, what string, do func(*inquiry) error) error {
	limited, cancel := context.WithTimeout(ctx, r.budget+readPatience)
	defer cancel()
	err := r.transact(limited, do)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err() // the caller's own end is no failure of the database
	}
	return fmt.Errorf("cannot tell %s: %w", what, readError(err))
}

func (r *reader) transact(ctx context.Context, do func(*inquiry) error) error {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return fmt.Errorf("%w: it is busy with other questions", history.ErrUnavailable)
	}
	tx, err := r.begin(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }() // nothing was changed; a connection that fails here is closed by the pool
	return do(&inquiry{ctx: ctx, tx: tx, deadline: time.Now().Add(r.budget)})
}

// settings hold for the transaction only, so that they are right behind a pooler, too. The time left is for the next
// statement. Plans are made for the very values asked for: a general one would not know which partitions and how many rows
// they stand for. Compiling them takes longer than they run. Memory is for the groups of rankings, which would go to disk.
const settings = `SELECT set_config('statement_timeout', $1, true), set_config('plan_cache_mode', 'force_custom_plan', true),
	set_config('jit', 'off', true), set_config('work_mem', '64MB', true)`

// answers returns what a statement finds, never nil.
func answers[T any](a *inquiry, statement string, args pgx.NamedArgs, scan pgx.RowToFunc[T]) ([]T, error) {
	left := max(time.Until(a.deadline).Milliseconds(), 1) // 0 would be no limit
	if _, err := a.tx.Exec(a.ctx, settings, fmt.Sprint(left)); err != nil {
		return nil, err
	}
	rows, err := a.tx.Query(a.ctx, statement, args)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}

// page returns as many as a page has of what was found, and next of the last one where there is more.
func page[T any](found []T, limit int, next func(last T) cursor) ([]T, string) {
	if len(found) <= limit {
		return found, ""
	}
	return found[:limit], next(found[limit-1]).String()
}

// readError returns err as an error of package history.
func readError(err error) error {
	const queryCanceled = "57014" // by statement_timeout: who asked has not given up
	var refused *pgconn.PgError
	var scan pgx.ScanArgError
	switch {
	case errors.Is(err, history.ErrQuery), errors.Is(err, history.ErrUnavailable):
		return err
	case errors.As(err, &refused) && refused.Code == queryCanceled:
		return history.ErrSlow
	case errors.As(err, &scan):
		return fmt.Errorf("%w: a column has a value that no version is known to write", history.ErrSchema)
	}
	return classify(err)
}
