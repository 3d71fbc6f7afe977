package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	day = 24 * time.Hour

	// Partitions are made for the days from yesterday to the day after tomorrow, before they are
	// needed.
	daysBehind = 1
	daysAhead  = 2

	// maxAhead is how far in the future a time may be. Beyond, the clock is not a little fast, but
	// wrong.
	maxAhead = 7 * day

	// batchesLonger is added to the retention for the IDs of stored batches. A batch that waited on a
	// disk may be sent again that late.
	batchesLonger = 2 * day

	upkeepEvery = time.Hour
	upkeepSoon  = 5 * time.Minute // after a failure, and with a maximum size
	upkeepAgain = time.Minute     // after a failure, if batches can be stored

	// dropWait is how long dropping a partition may wait for its lock. The lock is on the whole
	// table: it waits for running queries, and later queries wait behind it. DETACH CONCURRENTLY
	// would not block them, but cannot run in a transaction: if interrupted, it leaves a
	// half-detached partition.
	dropWait = time.Second
	makeWait = 5 * time.Second
)

// parents are the tables with one partition per day.
var parents = []string{"decisions", "verdicts", "incidents"}

// days are the days that have partitions.
type days struct {
	mu   sync.Mutex
	made map[time.Time]bool
	next time.Time // when the upkeep is due
	pool *pool     // of the database that they are in
}

// dayOf returns the beginning of the day, in UTC.
func dayOf(t time.Time) time.Time { return t.UTC().Truncate(day) }

// expired reports whether the whole day is older than the retention.
func (db *DB) expired(d, now time.Time) bool {
	return !d.Add(day).After(now.Add(-db.options.Retention))
}

func partition(parent string, d time.Time) string { return parent + "_" + d.Format("20060102") }

// dayOfPartition is the inverse of partition. It ignores tables with other names.
func dayOfPartition(parent, name string) (time.Time, bool) {
	digits, ok := strings.CutPrefix(name, parent+"_")
	if !ok {
		return time.Time{}, false
	}
	d, err := time.Parse("20060102", digits)
	return d, err == nil
}

// maintainPartitions makes the partitions of the days around today, drops old ones, and deletes old
// batch IDs, if that is due. A failure is logged and does not affect whether the database is
// ready.
func (db *DB) maintainPartitions(pool *pool) {
	now := db.now()
	db.days.mu.Lock()
	due := db.days.pool != pool || !now.Before(db.days.next)
	if db.days.pool != pool { // it may be another database
		db.days.made, db.days.pool = nil, pool
	}
	db.days.mu.Unlock()
	if !due {
		return
	}
	var wanted []time.Time
	for i := -daysBehind; i <= daysAhead; i++ {
		wanted = append(wanted, dayOf(now).AddDate(0, 0, i))
	}
	err := errors.Join(db.makePartitions(db.ctx, pool, wanted), db.dropOld(db.ctx, pool))
	next := now.Add(upkeepEvery)
	if err != nil || db.options.MaxSize > 0 {
		next = now.Add(upkeepSoon)
	}
	f := pool.redact(classify(err))
	db.days.mu.Lock()
	db.days.next = next
	db.days.mu.Unlock()
	if db.ctx.Err() == nil {
		db.setUpkeep(f)
	}
}

func (db *DB) setUpkeep(f *failure) {
	h := &db.health
	h.mu.Lock()
	defer h.mu.Unlock()
	h.upkeep = f
	if f == nil || !h.causes.Allow("upkeep"+kinds[f.kind].word, time.Now()) {
		return
	}
	db.log.Warn("the tables of the history could not be looked after: "+
		"days to come need partitions, and old days wait to be dropped",
		slog.String("result", kinds[f.kind].word), slog.String("error", f.Error()),
		slog.String("cure", f.cureOrDefault()))
}

// missing returns the days that are not known to have partitions.
func (db *DB) missing(wanted []time.Time) (missing []time.Time) {
	db.days.mu.Lock()
	defer db.days.mu.Unlock()
	for _, d := range wanted {
		if !db.days.made[d] {
			missing = append(missing, d)
		}
	}
	return missing
}

// invalidatePartitions makes the next write read the partitions again.
func (db *DB) invalidatePartitions() {
	db.days.mu.Lock()
	defer db.days.mu.Unlock()
	db.days.made = nil
}

// makePartitions makes the missing partitions of the wanted days.
func (db *DB) makePartitions(ctx context.Context, pool *pool, wanted []time.Time) error {
	ctx, cancel := db.withLimit(ctx, checkLimit)
	defer cancel()
	var made map[time.Time]bool
	err := pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{BeginQuery: beginQuery(writeLimit, makeWait)}, func(tx pgx.Tx) error {
		// Only one instance at a time checks and makes partitions.
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", int64(partitionLock)); err != nil {
			return err
		}
		there, err := partitions(ctx, tx)
		if err != nil {
			return err
		}
		made = make(map[time.Time]bool)
		for d := range there[parents[0]] {
			made[d] = !slices.ContainsFunc(parents, func(parent string) bool { return !there[parent][d] })
		}
		for _, d := range wanted {
			for _, parent := range parents {
				if there[parent][d] {
					continue
				}
				if err := makePartition(ctx, tx, parent, d); err != nil {
					return err
				}
			}
			made[d] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	db.days.mu.Lock()
	defer db.days.mu.Unlock()
	if db.days.pool == pool {
		db.days.made = made
	}
	return nil
}

// makePartition creates a table and attaches it, which needs only a weak lock. CREATE TABLE …
// PARTITION OF would lock the whole table. The copy excludes the identity column's sequence: before
// PostgreSQL 17, a partition cannot have one.
func makePartition(ctx context.Context, tx pgx.Tx, parent string, d time.Time) error {
	const bound = "2006-01-02 00:00:00+00"
	_, err := tx.Exec(ctx, fmt.Sprintf(`
		CREATE TABLE IF NOT EXISTS %[1]s.%[3]s (LIKE %[1]s.%[2]s INCLUDING ALL EXCLUDING IDENTITY);
		ALTER TABLE %[1]s.%[2]s ATTACH PARTITION %[1]s.%[3]s FOR VALUES FROM ('%[4]s') TO ('%[5]s')`,
		schema, parent, partition(parent, d), d.Format(bound), d.Add(day).Format(bound)))
	return err
}

// partitions returns the days that have partitions, for each parent.
func partitions(ctx context.Context, tx pgx.Tx) (map[string]map[time.Time]bool, error) {
	there := make(map[string]map[time.Time]bool, len(parents))
	for _, parent := range parents {
		there[parent] = make(map[time.Time]bool)
	}
	rows, err := tx.Query(ctx, `SELECT parent.relname, child.relname FROM pg_inherits
		JOIN pg_class parent ON parent.oid = inhparent JOIN pg_class child ON child.oid = inhrelid
		WHERE parent.relnamespace = 'ip_reputation'::regnamespace AND parent.relname = ANY ($1)`, parents)
	if err != nil {
		return nil, err
	}
	var parent, child string
	_, err = pgx.ForEachRow(rows, []any{&parent, &child}, func() error {
		if d, ok := dayOfPartition(parent, child); ok {
			there[parent][d] = true
		}
		return nil
	})
	return there, err
}

// dropOld drops the days that are expired or for which there is no room, and deletes old batch IDs.
// It uses the earlier of the database's time and its own: an instance whose clock is fast must not
// drop the data of others.
func (db *DB) dropOld(ctx context.Context, pool *pool) error {
	ctx, cancel := db.withLimit(ctx, checkLimit)
	defer cancel()
	var there map[string]map[time.Time]bool
	var now time.Time
	err := pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{BeginQuery: beginQuery(writeLimit, dropWait)}, func(tx pgx.Tx) (err error) {
		if err = tx.QueryRow(ctx, "SELECT now()").Scan(&now); err == nil {
			there, err = partitions(ctx, tx)
		}
		return err
	})
	if err != nil {
		return err
	}
	if here := db.now(); here.Before(now) {
		now = here
	}
	return errors.Join(db.dropExpired(ctx, pool, there, now), db.dropLarge(ctx, pool, now), db.deleteBatches(ctx, pool))
}

// dropExpired drops the partitions of expired days, each in a transaction of its own.
func (db *DB) dropExpired(ctx context.Context, pool *pool, there map[string]map[time.Time]bool, now time.Time) error {
	for parent, days := range there {
		for d := range days {
			if !db.expired(d, now) {
				continue
			}
			if err := db.dropPartition(ctx, pool, parent, d); err != nil {
				return err
			}
			db.log.Info("a day of the history was dropped: it is older than what is kept",
				slog.String("partition", partition(parent, d)))
		}
	}
	return nil
}

// deleteBatches deletes the IDs of batches that nobody sends again.
func (db *DB) deleteBatches(ctx context.Context, pool *pool) error {
	return pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{BeginQuery: beginQuery(writeLimit, dropWait)}, func(tx pgx.Tx) error {
		longest := (db.options.Retention + batchesLonger).Seconds()
		_, err := tx.Exec(ctx, "DELETE FROM ip_reputation.batches WHERE at < now() - make_interval(secs => $1)", longest)
		return err
	})
}

func (db *DB) dropPartition(ctx context.Context, pool *pool, parent string, d time.Time) error {
	err := pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{BeginQuery: beginQuery(writeLimit, dropWait)}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", int64(partitionLock)); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, fmt.Sprintf("DROP TABLE IF EXISTS %s.%s", schema, partition(parent, d)))
		return err
	})
	if err == nil {
		db.days.mu.Lock()
		delete(db.days.made, d)
		db.days.mu.Unlock()
	}
	return err
}
