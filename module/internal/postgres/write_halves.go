package postgres

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

const (
	// fewRows are not halved because they take too long: their number is not the cause.
	fewRows = 100

	// maxRefusals is how often the database may refuse a row in one call of Write. After that, parts
	// with a row that it refuses are left out whole, so that a call does not take long when it
	// refuses all.
	maxRefusals = 32
)

// writing is one call of Write.
type writing struct {
	db       *DB
	pool     *pool
	refusals int
	rejected int64 // entries that the database refuses
}

// store stores rows under an ID. It halves them if they take too long, or if the database refuses
// one of them, so that only that one is left out.
func (w *writing) store(ctx context.Context, id history.ID, rows *rows) error {
	halved, err := w.write(ctx, id, rows)
	if f := classify(err); f != nil {
		switch {
		case f.kind == rejected && (rows.len() == 1 || w.refusals >= maxRefusals):
			w.reject(rows, f)
			return nil
		case f.kind == rejected, f.tooSlow && rows.len() > fewRows:
			halved, err = w.halve(ctx, id)
		}
	}
	if err != nil || !halved {
		return err
	}
	first, second := rows.halves()
	if err := w.store(ctx, derive(id, firstHalf), first); err != nil {
		return err
	}
	return w.store(ctx, derive(id, secondHalf), second)
}

// reject leaves rows out.
func (w *writing) reject(rows *rows, f *failure) {
	w.refusals++
	entries := rows.entries()
	w.rejected += entries
	h := &w.db.health
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.causes.Allow(kinds[rejected].word, time.Now()) {
		w.db.log.Error("the database can never take a part of the history, which is dropped",
			slog.Int64("entries", entries), slog.String("error", w.pool.redact(f).Error()),
			slog.String("cure", f.cureOrDefault()))
	}
}

// A batch that is stored in halves has, in the table of batches, an ID that says so instead of its
// own. Each half has an ID of its own, and can be halved again. Whoever adds one of these IDs holds
// the batch's own ID meanwhile: so no instance stores a batch as a whole that another halves.
const (
	halvedMark byte = iota
	firstHalf
	secondHalf
)

// derive returns the ID of a part of a batch, the same in all instances.
func derive(id history.ID, part byte) (derived history.ID) {
	sum := sha256.Sum256(append(id[:], part))
	copy(derived[:], sum[:])
	return derived
}

// halve marks a batch as stored in halves. It returns false if the batch is stored by now. It waits
// for an instance that tries to store the batch as a whole.
func (w *writing) halve(ctx context.Context, id history.ID) (halved bool, err error) {
	begin := pgx.TxOptions{BeginQuery: beginQuery(writeLimit, writeLimit)}
	err = pgx.BeginTxFunc(ctx, w.pool, begin, func(tx pgx.Tx) error {
		if halved, err = addBatch(ctx, tx, id); err != nil || !halved {
			return err
		}
		if _, err := addBatch(ctx, tx, derive(id, halvedMark)); err != nil {
			return err
		}
		return removeBatch(ctx, tx, id)
	})
	return halved, err
}

// isHalved reports whether a batch is stored in halves. The caller has added the batch's own ID.
func isHalved(ctx context.Context, tx pgx.Tx, id history.ID) (halved bool, err error) {
	err = tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM ip_reputation.batches WHERE id = $1)",
		[16]byte(derive(id, halvedMark))).Scan(&halved)
	return halved, err
}

// addBatch adds an ID to the stored batches. It returns false if the ID is there.
func addBatch(ctx context.Context, tx pgx.Tx, id history.ID) (added bool, err error) {
	tag, err := tx.Exec(ctx, "INSERT INTO ip_reputation.batches (id) VALUES ($1) ON CONFLICT DO NOTHING", [16]byte(id))
	return tag.RowsAffected() > 0, err
}

func removeBatch(ctx context.Context, tx pgx.Tx, id history.ID) error {
	_, err := tx.Exec(ctx, "DELETE FROM ip_reputation.batches WHERE id = $1", [16]byte(id))
	return err
}
