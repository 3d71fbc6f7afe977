package postgres

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// Ten million decisions of half a million addresses, and a million verdicts, in 30 days. The first address has 1.3 % of all,
// and every tenth is of IPv6. It takes about a minute and 3 GB.
const makeTenMillion = `
CREATE FUNCTION made_address(k bigint) RETURNS inet LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE k % 10
	WHEN 9 THEN ('2001:db8:' || to_hex((k/8*2654435761) >> 16 & 65535) || ':' || to_hex((k/8*2654435761) & 65535) || '::' || to_hex(k%8+1))::inet
	ELSE inet '1.0.0.0' + ((k/8) * 2654435761 % 14000000) * 256 + (k % 8) * 31 END
$$;
INSERT INTO ip_reputation.decisions
	(minute, address, host, rule, action, mode, count, first_at, last_at, request_id, score, status, config)
SELECT m, made_address(k), 'www' || k % 5 || '.example.com',
	CASE WHEN s >= 85 THEN 'block score 85' WHEN s >= 60 THEN 'limit score 60' ELSE '' END,
	CASE WHEN s >= 85 THEN 'block' WHEN s >= 60 THEN 'limit' ELSE 'pass' END,
	'enforce', 1 + (r*r*20)::int, m + r*20 * interval '1 s', m + (30 + r*29) * interval '1 s',
	md5(g::text)::uuid::text, s, 'fresh', '0123456789abcdef'
FROM (
	SELECT g, timestamptz '2026-11-01 00:00:00Z' + (g * 43200 / 10000000) * interval '1 min' AS m, k, r, (k * 7919 % 101)::smallint AS s
	FROM (
		SELECT g, floor(500000 * power(random(), 3))::bigint AS k, random() AS r FROM generate_series(0, 9999999::bigint) g
	) x
) y;
INSERT INTO ip_reputation.verdicts
	(at, subject, score, status, coverage, categories, country, asn, evidence, request_id, config)
SELECT timestamptz '2026-11-01 00:00:00Z' + g * interval '2.592 s',
	CASE WHEN family(a) = 6 THEN network(set_masklen(a, 64))::inet ELSE a END, (g*7919%101)::smallint, 'fresh', 1, '{scanner}', 'DE', 64500,
	jsonb_build_array(
		jsonb_build_object('source', 'abuseipdb', 'points', 12.5 + g%10, 'categories', jsonb_build_array('scanner'), 'age_seconds', 3600),
		jsonb_build_object('source', 'firehol_level1', 'points', 6)),
	md5(g::text)::uuid::text, '0123456789abcdef'
FROM (SELECT g, made_address(floor(500000 * power(random(), 3))::bigint) a FROM generate_series(0, 999999::bigint) g) x`

var tenMillionEnd = time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)

func tenMillion(b *testing.B) *library {
	b.Helper()
	dsn := testenv.PostgreSQL(b, "-c", "max_wal_size=8GB", "-c", "shared_buffers=512MB").DSN
	db := open(b, dsn, func(db *DB) { db.now = func() time.Time { return tenMillionEnd } })
	awaitUp(b, db)
	l := &library{DB: db, tb: b, pool: poolOf(b, dsn)}
	db.budget = 5 * time.Minute // what takes longer than readBudget is to be seen
	var days []time.Time
	for i := range 30 {
		days = append(days, tenMillionEnd.AddDate(0, 0, -1-i))
	}
	pool, err := db.usable()
	if err != nil {
		b.Fatal(err)
	}
	if err := db.makePartitions(b.Context(), pool, days); err != nil {
		b.Fatal(err)
	}
	for statement := range strings.SplitSeq(makeTenMillion, ";\n") {
		l.exec(statement)
	}
	l.vacuum()
	return l
}

// vacuum does what autovacuum does: it collects statistics about the partitions, and none about the tables that they are parts
// of. `ANALYZE` of a table would: its plans would be better than those of production.
func (l *library) vacuum() {
	l.tb.Helper()
	rows, err := l.pool.Query(l.tb.Context(), `SELECT relid::text FROM pg_partition_tree('ip_reputation.decisions') WHERE isleaf
		UNION ALL SELECT relid::text FROM pg_partition_tree('ip_reputation.verdicts') WHERE isleaf`)
	if err != nil {
		l.tb.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(names) == 0 {
		l.tb.Fatal(names, err)
	}
	for _, name := range names {
		l.exec("VACUUM ANALYZE " + name)
	}
}

// BenchmarkTimeline10M asks all questions of a month of decisions. It logs the plan of a timeline.
func BenchmarkTimeline10M(b *testing.B) {
	l := tenMillion(b)
	address := func(k int) netip.Prefix {
		var p netip.Prefix
		if err := l.pool.QueryRow(b.Context(), "SELECT made_address($1)", k).Scan(&p); err != nil {
			b.Fatal(err)
		}
		return p
	}
	network := func(p netip.Prefix, bits int) netip.Prefix { return netip.PrefixFrom(p.Addr(), bits).Masked() }
	back := func(d time.Duration) history.Period { return history.Period{From: tenMillionEnd.Add(-d)} }
	heavy, middle, light := address(0), address(1000), address(300000)
	for _, about := range []struct {
		name   string
		prefix netip.Prefix
		period history.Period
	}{
		{"heavy", heavy, history.Period{}},
		{"middle", middle, history.Period{}},
		{"light", light, history.Period{}},
		{"heavy 24", network(heavy, 24), history.Period{}},
		{"light 24", network(light, 24), history.Period{}},
		{"v6 64", network(address(9), 64), history.Period{}},
		{"16", network(middle, 16), history.Period{}},
		{"heavy day", heavy, back(24 * time.Hour)},
	} {
		q := history.Query{Prefix: about.prefix, Period: about.period}
		understood, err := l.prefixQuery(kindTimeline, q)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("seen/"+about.name, func(b *testing.B) {
			for b.Loop() {
				if err := l.read(b.Context(), "", func(a *readTx) error { _, err := a.seen(&understood); return err }); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("page/"+about.name, func(b *testing.B) {
			for b.Loop() {
				if err := l.read(b.Context(), "", func(a *readTx) error { _, err := a.entries(&understood); return err }); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("changes/"+about.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := l.Changes(b.Context(), q); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("graph/"+about.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := l.Graph(b.Context(), q, 60); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	for name, ask := range map[string]func(history.Ranking) error{
		"worst":    func(r history.Ranking) error { _, err := l.Worst(b.Context(), r); return err },
		"networks": func(r history.Ranking) error { r.Networks = true; _, err := l.Worst(b.Context(), r); return err },
		"rules":    func(r history.Ranking) error { _, err := l.Rules(b.Context(), r); return err },
	} {
		for span, days := range map[string]int{"day": 1, "week": 7, "month": 30} {
			b.Run(name+"/"+span, func(b *testing.B) {
				for b.Loop() {
					if err := ask(history.Ranking{Period: back(time.Duration(days) * 24 * time.Hour)}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
	q, err := l.prefixQuery(kindTimeline, history.Query{Prefix: heavy})
	if err != nil {
		b.Fatal(err)
	}
	fmt.Println(explain(b, l, "ANALYZE, BUFFERS", decisionsOfAddress, q.page())) // a benchmark's log is not shown when it has parts
}

// page are the arguments of a first page.
func (q *query) page() pgx.NamedArgs {
	args, bound := q.args(), q.position()
	args["minute"], args["at"], args["id"] = bound.minute, bound.at, bound.id
	args["limit"] = q.limit + 1
	return args
}

func explain(tb testing.TB, l *library, options, statement string, args pgx.NamedArgs) string {
	tb.Helper()
	var lines []string
	err := l.read(tb.Context(), "a plan", func(a *readTx) (err error) {
		lines, err = selectRows(a, "EXPLAIN ("+options+") "+statement, args, func(row pgx.CollectableRow) (string, error) {
			return string(row.RawValues()[0]), nil // text, or JSON
		})
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return strings.Join(lines, "\n")
}
