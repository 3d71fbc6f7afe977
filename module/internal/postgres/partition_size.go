package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// daySize is how large the partitions of a day are, with their indexes.
type daySize struct {
	day   time.Time
	bytes int64
	empty bool // they have no rows
}

// dropLarge drops the oldest days while the tables are larger than the maximum, but neither today
// nor later days.
func (db *DB) dropLarge(ctx context.Context, pool *pool, now time.Time) error {
	if db.options.MaxSize <= 0 {
		return nil
	}
	var days []daySize
	var total int64
	err := pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{BeginQuery: beginQuery(writeLimit, dropWait)}, func(tx pgx.Tx) (err error) {
		days, total, err = sizes(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	today := dayOf(now)
	for _, d := range days {
		if total <= db.options.MaxSize || !d.day.Before(today) {
			break
		}
		if d.empty { // the upkeep would make it again
			continue
		}
		for _, parent := range parents {
			if err := db.dropPartition(ctx, pool, parent, d.day); err != nil {
				return err
			}
		}
		total -= d.bytes
		db.log.Warn("a day of the history was dropped before its time: the tables are larger than max_size",
			slog.String("day", d.day.Format(time.DateOnly)), slog.Int64("bytes", d.bytes))
	}
	if total <= db.options.MaxSize {
		return nil
	}
	return &failure{
		kind: full,
		text: fmt.Sprintf("its tables take %d MiB without earlier days, and max_size is %d MiB",
			mib(total), mib(db.options.MaxSize)),
		cure: "raise max_size of history",
	}
}

// sizes returns the sizes of all days, the oldest first, and that of all tables.
func sizes(ctx context.Context, tx pgx.Tx) (days []daySize, total int64, err error) {
	if err := tx.QueryRow(ctx, "SELECT pg_total_relation_size('ip_reputation.batches')").Scan(&total); err != nil {
		return nil, 0, err
	}
	// a size is NULL if the partition was dropped meanwhile
	rows, err := tx.Query(ctx, `SELECT parent.relname, child.relname,
			coalesce(pg_total_relation_size(child.oid), 0), coalesce(pg_relation_size(child.oid), 0) = 0
		FROM pg_inherits JOIN pg_class parent ON parent.oid = inhparent JOIN pg_class child ON child.oid = inhrelid
		WHERE parent.relnamespace = 'ip_reputation'::regnamespace AND parent.relname = ANY ($1)`, parents)
	if err != nil {
		return nil, 0, err
	}
	found := make(map[time.Time]daySize)
	var parent, child string
	var bytes int64
	var empty bool
	_, err = pgx.ForEachRow(rows, []any{&parent, &child, &bytes, &empty}, func() error {
		total += bytes
		if d, ok := dayOfPartition(parent, child); ok {
			s, other := found[d]
			found[d] = daySize{d, s.bytes + bytes, empty && (s.empty || !other)}
		}
		return nil
	})
	for _, s := range found {
		days = append(days, s)
	}
	slices.SortFunc(days, func(a, b daySize) int { return a.day.Compare(b.day) })
	return days, total, err
}

func mib(bytes int64) int64 { return bytes >> 20 }
