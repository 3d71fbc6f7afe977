package postgres

import (
	"context"
	"crypto/rand"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// incidentsOf are one incident of each kind.
func incidentsOf(id string, at time.Time) []history.Incident {
	minute, address := at.UTC().Truncate(time.Minute), netip.MustParsePrefix("198.51.100.7/32")
	return []history.Incident{
		{
			Minute: minute, Address: address, Host: "app.example.com", Kind: history.KindViolation, Name: "login_failed", Count: 4,
			Points: 12.5, First: at, Last: at, RequestID: id, Config: "c0ffee",
		},
		{
			Minute: minute, Address: address, Host: "app.example.com", Kind: history.KindBan, Name: "violation trap", Count: 1,
			Seconds: 900, First: at, Last: at, RequestID: id, Config: "c0ffee",
		},
		{
			Minute: minute, Address: address, Kind: history.KindReport, Name: "abuseipdb", Count: 1,
			Categories: []string{"bruteforce"}, Result: "accepted", First: at, Last: at, RequestID: id, Config: "c0ffee",
		},
	}
}

// readIncidents returns the incidents that are stored.
func readIncidents(tb testing.TB, dsn string) []history.Incident {
	tb.Helper()
	conn := connect(tb, dsn)
	defer conn.Close(context.Background())
	rows, err := conn.Query(context.Background(), `SELECT minute, address, host, kind, name, count, points::float8, seconds,
		nullif(categories, '{}'), result, first_at, last_at, request_id, config FROM ip_reputation.incidents ORDER BY request_id, id`)
	if err != nil {
		tb.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (i history.Incident, err error) {
		err = row.Scan(&i.Minute, &i.Address, &i.Host, &i.Kind, &i.Name, &i.Count, &i.Points, &i.Seconds,
			&i.Categories, &i.Result, &i.First, &i.Last, &i.RequestID, &i.Config)
		i.Minute, i.First, i.Last = i.Minute.UTC(), i.First.UTC(), i.Last.UTC()
		return i, err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return all
}

// addIncidents stores incidents, in this order.
func (l *library) addIncidents(incidents []history.Incident) {
	l.tb.Helper()
	b := &history.Batch{Incidents: incidents}
	_, _ = rand.Read(b.ID[:])
	if stored, err := l.Write(context.Background(), b); err != nil || stored.Expired > 0 {
		l.tb.Fatalf("stored %+v, %v", stored, err)
	}
}

// addIncidents appends what was drawn, and returns it with request IDs that tell rows apart.
func (w *twin) addIncidents(incidents []history.Incident) []history.Incident {
	for i := range incidents {
		incidents[i].RequestID = "i" + strconv.Itoa(len(w.incidents)+i)
	}
	w.incidents = append(w.incidents, incidents...)
	return incidents
}

func drawIncidents(t *rapid.T, label string) []history.Incident {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) history.Incident {
		last := drawTime(t, "last")
		return history.Incident{
			Minute: last.Truncate(time.Minute), Address: rapid.SampledFrom(twinAddresses).Draw(t, "address"), First: last, Last: last,
			Kind: rapid.SampledFrom([]string{history.KindViolation, history.KindBan, history.KindReport}).Draw(t, "kind"),
			Name: rapid.SampledFrom([]string{"trap", "spam"}).Draw(t, "name"), Count: rapid.Int64Range(1, 3).Draw(t, "count"),
			Points: rapid.SampledFrom([]float64{0, 0.5, 12.1, 60}).Draw(t, "points"), Config: "c0ffee",
		}
	}), 0, 15).Draw(t, label)
}

// TestIncidentsAfterAnUpgrade has a database of the version before, with that version's partitions: it gets what is
// missing, programs of that version may go on using it, and down takes the incidents only.
func TestIncidentsAfterAnUpgrade(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	before := batchOf(1, time.Now(), 3)
	before.Incidents = nil
	old := open(t, dsn)
	awaitUp(t, old)
	write(t, old, before)
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	do(t, dsn, "DROP TABLE ip_reputation.incidents; DELETE FROM ip_reputation.goose_db_version WHERE version_id = 2")

	awaitResult(t, open(t, dsn, asIs), "schema") // may not migrate
	db := open(t, dsn)
	awaitUp(t, db)
	after := batchOf(2, time.Now(), 3)
	write(t, db, after)
	if got := ask[int64](t, dsn, storedEntries); got != entriesOf(before)+entriesOf(after) {
		t.Errorf("%d entries are stored", got)
	}
	if got := ask[int64](t, dsn, "SELECT max(oldest) FROM ip_reputation.compatible"); got != 1 {
		t.Errorf("only programs that know version %d may use the tables", got)
	}
	migrate(t, dsn, "down")
	if ask[bool](t, dsn, "SELECT to_regclass('ip_reputation.incidents') IS NOT NULL") ||
		ask[int64](t, dsn, "SELECT count(*) FROM ip_reputation.decisions") != 6 {
		t.Error("down has taken more or less than the incidents")
	}
}

// TestIncidentsOfAnAddress holds that a question about an address reads no more than its rows.
func TestIncidentsOfAnAddress(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	l.addIncidents(incidentsOf("1", readNow.Add(-time.Hour)))
	l.exec(`
INSERT INTO ip_reputation.incidents (minute, address, host, kind, name, count, points, seconds, categories, result, first_at, last_at,
	request_id, config)
SELECT timestamptz '2026-11-26 00:00Z' + g % 600 * interval '1 min', inet '203.0.0.0' + g, '', 'violation', 'trap', 1, 60, 0, '{}', '', now(), now(), '', ''
FROM generate_series(1, 10000) g`)
	l.exec("ANALYZE ip_reputation.incidents")
	q, err := l.prefixQuery(kindTimeline, history.Query{Prefix: netip.MustParsePrefix("198.51.100.7/32")})
	if err != nil {
		t.Fatal(err)
	}
	for relation, node := range scansOf(t, l, incidentsOfAddress, q.page()) {
		if node == "Seq Scan" && relation == partition("incidents", dayOf(readNow)) {
			t.Errorf("%s is read whole", relation)
		}
	}
	answer, err := l.Timeline(t.Context(), history.Query{Prefix: netip.MustParsePrefix("198.51.100.0/24")})
	if err != nil || len(answer.Entries) != 3 || answer.Entries[2].Incident.Points != 12.5 {
		t.Errorf("%+v, %v", answer, err)
	}
}
