package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	day = 24 * time.Hour

	// Partitions are made from yesterday's on, so that those of this night are there before they are needed.
	daysBehind = 1
	daysAhead  = 2

	// farAhead is from when on a time is no clock that is a little fast, but wrong.
	farAhead = 7 * day

	// A batch may wait on a disk for longer than anything in it is kept. Only then may it be forgotten that it was stored.
	batchesLonger = 2 * day

	upkeepEvery = time.Hour
	upkeepSoon  = 5 * time.Minute // after a failure
	upkeepAgain = time.Minute     // after one, while batches are stored

	// dropWait is how long one partition may keep those waiting who come after it: to drop it takes a lock on the whole table,
	// which waits for every question that is being answered, and makes later ones wait behind it. To detach it concurrently
	// would not, but is no transaction: what is interrupted in the middle is left for somebody to finish.
	dropWait = time.Second
	makeWait = 5 * time.Second
)

// parents are the tables that have a partition for each day.
var parents = []string{"decisions", "verdicts"}

// days are those that have partitions.
type days struct {
	mu   sync.Mutex
	made map[time.Time]bool
	next time.Time // when it is time for the upkeep
	pool *pool     // whose they are
}

// dayOf returns the beginning of the day of a time, in UTC.
func dayOf(t time.Time) time.Time { return t.UTC().Truncate(day) }

// expired reports whether nothing of a day is kept any more.
func (db *DB) expired(d, now time.Time) bool {
	return !d.Add(day).After(now.Add(-db.options.Retention))
}

func partition(parent string, d time.Time) string { return parent + "_" + d.Format("20060102") }

// dayOfPartition is the other way round. Partitions that have another name are none of ours.
func dayOfPartition(parent, name string) (time.Time, bool) {
	digits, ok := strings.CutPrefix(name, parent+"_")
	if !ok {
		return time.Time{}, false
	}
	d, err := time.Parse("20060102", digits)
	return d, err == nil
}

// keepUp makes the partitions of the days around today, drops those of days that are not kept any more, and forgets batches
// that cannot come back, when it is time for that. What fails is said: the database is ready all the same.
func (db *DB) keepUp(pool *pool) {
	now := db.now()
	db.days.mu.Lock()
	due := db.days.pool != pool || !now.Before(db.days.next)
	if db.days.pool != pool { // of another database, perhaps
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
	err := db.makePartitions(db.life, pool, wanted)
	if err == nil {
		err = db.drop(db.life, pool)
	}
	next := now.Add(upkeepEvery)
	var f *failure
	if err != nil {
		next = now.Add(upkeepSoon)
		f = pool.clean(classify(err))
	}
	db.days.mu.Lock()
	db.days.next = next
	db.days.mu.Unlock()
	if db.life.Err() == nil {
		db.sayUpkeep(f)
	}
}

func (db *DB) sayUpkeep(f *failure) {
	h := &db.health
	h.mu.Lock()
	defer h.mu.Unlock()
	h.upkeep = f
	if f == nil || !h.causes.Allow("upkeep"+kinds[f.kind].word, time.Now()) {
		return
	}
	db.log.Warn("the tables of the history could not be looked after: days to come need partitions, and old days wait to be dropped",
		slog.String("result", kinds[f.kind].word), slog.String("error", f.Error()), slog.String("cure", f.remedy()))
}

// missing returns those of the days of which it is not known that they have partitions.
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

// forgetPartitions makes that they are looked for again.
func (db *DB) forgetPartitions() {
	db.days.mu.Lock()
	defer db.days.mu.Unlock()
	db.days.made = nil
}

// makePartitions makes those of days, where there are none.
func (db *DB) makePartitions(ctx context.Context, pool *pool, wanted []time.Time) error {
	ctx, cancel := db.limited(ctx, checkLimit)
	defer cancel()
	var made map[time.Time]bool
	err := pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{BeginQuery: begin(makeWait)}, func(tx pgx.Tx) error {
		// One at a time: that it is not there yet is true for one only.
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", int64(partitionLock)); err != nil {
			return err
		}
		there, err := partitions(ctx, tx)
		if err != nil {
			return err
		}
		made = make(map[time.Time]bool)
		for d := range there[parents[0]] {
			made[d] = there[parents[1]][d]
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

// makePartition makes a table and attaches it, which locks nobody out; a partition that is made as such locks the whole table.
// The identity stays the whole table's: until PostgreSQL 17 a partition cannot have it.
func makePartition(ctx context.Context, tx pgx.Tx, parent string, d time.Time) error {
	const bound = "2006-01-02 00:00:00+00"
	_, err := tx.Exec(ctx, fmt.Sprintf(`
		CREATE TABLE IF NOT EXISTS %[1]s.%[3]s (LIKE %[1]s.%[2]s INCLUDING ALL EXCLUDING IDENTITY);
		ALTER TABLE %[1]s.%[2]s ATTACH PARTITION %[1]s.%[3]s FOR VALUES FROM ('%[4]s') TO ('%[5]s')`,
		schema, parent, partition(parent, d), d.Format(bound), d.Add(day).Format(bound)))
	return err
}

// partitions returns the days that have partitions, by table.
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

// drop drops the partitions of days that are not kept any more, each on its own, and forgets batches. What the time is, the
// database has a say in: a machine whose clock is ahead must not drop what others keep.
func (db *DB) drop(ctx context.Context, pool *pool) error {
	ctx, cancel := db.limited(ctx, checkLimit)
	defer cancel()
	var there map[string]map[time.Time]bool
	var now time.Time
	err := pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{BeginQuery: begin(dropWait)}, func(tx pgx.Tx) (err error) {
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
	for parent, days := range there {
		for d := range days {
			if !db.expired(d, now) {
				continue
			}
			if err := db.dropPartition(ctx, pool, parent, d); err != nil {
				return err
			}
		}
	}
	return pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{BeginQuery: begin(dropWait)}, func(tx pgx.Tx) error {
		longest := (db.options.Retention + batchesLonger).Seconds()
		_, err := tx.Exec(ctx, "DELETE FROM ip_reputation.batches WHERE at < now() - make_interval(secs => $1)", longest)
		return err
	})
}

func (db *DB) dropPartition(ctx context.Context, pool *pool, parent string, d time.Time) error {
	err := pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{BeginQuery: begin(dropWait)}, func(tx pgx.Tx) error {
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
		db.log.Info("a day of the history was dropped: it is older than what is kept", slog.String("partition", partition(parent, d)))
	}
	return err
}
