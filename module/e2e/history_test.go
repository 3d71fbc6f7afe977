package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// remember lets the configuration keep a history in the database of a DSN, which is in a variable of the environment.
func (c *config) remember(t *testing.T, dsn string, options object) {
	t.Helper()
	t.Setenv("TEST_DATABASE", dsn)
	settings := object{"database": object{"value": "{env.TEST_DATABASE}"}}
	for name, value := range options {
		settings[name] = value
	}
	c.app["history"] = settings
}

// awaitHistory waits until the instance says that its database is up, or away.
func (r *running) awaitHistory(tb testing.TB, up float64) {
	tb.Helper()
	eventually(tb, fmt.Sprintf("history_up is %v", up), func() bool { return r.metric(tb, "history_up") == up })
}

// recorded waits until the database has all that the instance has recorded.
func (r *running) recorded(tb testing.TB) {
	tb.Helper()
	eventually(tb, "all is in the database", func() bool {
		r.ask(tb, http.MethodGet, "history/192.0.2.255?parts=0", "") // who asks does not want to wait
		return r.metric(tb, "history_queued") == 0 && r.metric(tb, "history_up") == 1
	})
}

// spooled returns how many requests of the clients the files count that the instance keeps for the database. The pattern
// matches the last number of their addresses.
func (c *config) spooled(tb testing.TB, clients string) (requests int) {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(c.dataDir, "caddy", "ip_reputation", "history", "*"))
	if err != nil {
		tb.Fatal(err)
	}
	row := regexp.MustCompile(`"address":"203\.0\.113\.` + clients + `/32".*"count":(\d+).*?(?:"n":(\d+))?}$`)
	again := regexp.MustCompile(`"again":{"n":(\d+),"count":(\d+)`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it is in the database by now
		}
		rows := map[string]bool{} // of the clients, by their numbers in a journal
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSuffix(line, "\n")
			if m := row.FindStringSubmatch(line); m != nil {
				n, _ := strconv.Atoi(m[1])
				requests, rows[m[2]] = requests+n, true
			}
			if m := again.FindStringSubmatch(line); m != nil && rows[m[1]] {
				n, _ := strconv.Atoi(m[2])
				requests += n
			}
		}
	}
	return requests
}

// counted returns how many requests were counted since the process began, of which none was exempt.
func (r *running) counted(tb testing.TB) (requests float64) {
	tb.Helper()
	for line := range strings.SplitSeq(send(tb, http.MethodGet, r.admin+"/metrics", "", nil).body, "\n") {
		if strings.HasPrefix(line, "caddy_ip_reputation_requests_total{") && !strings.Contains(line, `"exempt"`) {
			n, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
			if err != nil {
				tb.Fatal(err)
			}
			requests += n
		}
	}
	return requests
}

// loginOf returns a DSN with another user and password. The server trusts everybody, so that the password can be any.
func loginOf(t *testing.T, dsn, user, password string) string {
	t.Helper()
	address, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	address.User = url.UserPassword(user, password)
	return address.String()
}

// TestHistory proves what is in the database after requests: how many of whom were decided how, by which rule and
// configuration, the ID of the first, and each change of a verdict with its evidence; and that what is exempt is not in it.
func TestHistory(t *testing.T) {
	s := startStandIn(t)
	s.know(badClient, 100, 60)
	server := testenv.PostgreSQL(t)
	c := newConfig(t)
	c.ask(s)
	c.app["exempt"] = []any{"198.51.100.99"}
	c.remember(t, loginOf(t, server.DSN, "postgres", "password-of-postgres"), nil)
	r := startCaddy(t, c)
	r.awaitHistory(t, 1)
	first := r.visit(t, badClient).header.Get("X-Request-Id")
	for range 4 {
		r.visit(t, badClient)
	}
	for range 3 {
		r.visit(t, cleanClient)
	}
	r.visit(t, "2001:db8::7")
	r.visit(t, "198.51.100.99") // exempt
	r.recorded(t)

	host, _, _ := strings.Cut(c.siteAddr, ":")
	want := strings.Join([]string{
		badClient + "|" + host + "|block score 85|block|enforce|5|88|fresh|t",
		cleanClient + "|" + host + "||pass|enforce|3|1|fresh|t",
		"2001:db8::/64|" + host + "||pass|enforce|1|1|fresh|t",
	}, "\n")
	got := server.SQL(`SELECT address, host, rule, action, mode, sum(count), max(score), max(status), bool_and(config ~ '^[0-9a-f]{12}$')
		FROM ip_reputation.decisions GROUP BY 1, 2, 3, 4, 5 ORDER BY 6 DESC`)
	if got != want {
		t.Errorf("the decisions are\n%s\nwant\n%s", got, want)
	}
	if got := server.SQL(`SELECT request_id FROM ip_reputation.decisions WHERE address = '` + badClient + `' ORDER BY first_at LIMIT 1`); got != first {
		t.Errorf("the first request is %q, want %q", got, first)
	}
	got = server.SQL(`SELECT subject, score, status, categories, jsonb_array_length(evidence), evidence->0->>'source', (evidence->0->>'points')::float > 28
		FROM ip_reputation.verdicts`)
	if want := badClient + "|88|fresh|{abuse}|1|abuseipdb|t"; got != want {
		t.Errorf("the verdicts are\n%s\nwant\n%s", got, want)
	}
	if got := r.metric(t, "history_written_total"); got != 10 { // nine requests and one verdict
		t.Errorf("%v entries are written, want 10", got)
	}
}

// TestHistoryIsNeverInTheWay proves promise 1 for the history: whatever becomes of the database, each visitor is answered as
// before, reloads go on, and in the end the database has each request exactly once.
func TestHistoryIsNeverInTheWay(t *testing.T) {
	s := startStandIn(t)
	s.know(badClient, 100, 60)
	server := testenv.PostgreSQL(t)
	link := testenv.Proxy(t, server.Addr)
	c := newConfig(t)
	c.ask(s)
	c.app["wait"] = "25ms"
	provider := c.app["providers"].([]any)[0].(object)
	provider["concurrency"], provider["quota"] = 50, []any{"1000000/day"}
	c.remember(t, strings.Replace(server.DSN, server.Addr, link.Addr, 1), nil)
	link.Down() // at the start, too
	r := startCaddy(t, c)
	before := r.counted(t)
	eventually(t, "the bad client is known", func() bool { return r.visit(t, badClient).status == http.StatusForbidden })
	v := r.visitors(t)
	for _, f := range []struct {
		name       string
		begin, end func()
	}{
		{"down at the start", func() {}, link.Heal},
		{"killed", server.Stop, server.Start},
		{"stopped dead", server.Pause, server.Resume},
		{"black hole", link.BlackHole, link.Heal},
		{"slow", func() { link.Latency(2 * time.Second) }, link.Heal},
		{"connections reset", link.Reset, link.Heal},
	} {
		f.begin()
		came := v.visits.Load()
		eventually(t, "visitors come", func() bool { return v.visits.Load() > came+300 })
		r.reload(t)
		v.report(t, f.name)
		f.end()
		r.awaitHistory(t, 1)
	}
	v.rest()
	r.recorded(t)
	counted := r.counted(t) - before
	total, err := strconv.ParseFloat(server.SQL("SELECT sum(count) FROM ip_reputation.decisions"), 64)
	if err != nil || total != counted {
		t.Errorf("the database has %v requests, %v were counted: %v", total, counted, err)
	}
}

// TestHistoryOutlivesKills proves that when the process is killed in mid-traffic, again and again, with the database killed
// too, no request that was answered a moment before is missing in the end, and none is there twice.
func TestHistoryOutlivesKills(t *testing.T) {
	server := testenv.PostgreSQL(t)
	c := newConfig(t)
	c.app["feeds"] = []any{object{"name": "listed", "sources": []any{"203.0.113.0/24"}, "category": []any{"scanner"}}}
	c.remember(t, server.DSN, nil)
	settled, sent := 0, 0 // what must be there, and what may
	for round := range 3 {
		p := startProcess(t, c)
		if round == 1 {
			server.Stop()
		}
		client := func(i int) string { return fmt.Sprintf("203.0.113.%d%d", round+1, i%10) }
		for i := range 500 {
			p.visit(t, client(i))
			sent++
		}
		eventually(t, "the disk has what was recorded", func() bool { return c.spooled(t, fmt.Sprintf(`%d\d`, round+1)) >= 500 })
		settled += 500
		for i := range 20 { // these may get lost
			p.visit(t, client(i))
			sent++
		}
		p.end(syscall.SIGKILL)
		if round == 1 {
			server.Start()
		}
	}
	p := startProcess(t, c)
	eventually(t, "what the killed ones left is in the database", func() bool {
		left, err := filepath.Glob(filepath.Join(p.dataDir, "caddy", "ip_reputation", "history", "*"))
		return err == nil && len(left) == 0
	})
	p.recorded(t)
	got, err := strconv.Atoi(server.SQL("SELECT sum(count) FROM ip_reputation.decisions"))
	if err != nil || got < settled || got > sent {
		t.Errorf("the database has %d requests, want %d to %d: %v", got, settled, sent, err)
	}
}

// TestAStopSendsTheHistory proves that a stop leaves nothing in a data folder that may go with its container, while the
// database answers, and that a reload which ends the history does so, too.
func TestAStopSendsTheHistory(t *testing.T) {
	server := testenv.PostgreSQL(t)
	c := newConfig(t)
	c.remember(t, server.DSN, nil)
	stored := func() string { return server.SQL("SELECT sum(count) FROM ip_reputation.decisions") }
	p := startProcess(t, c)
	p.awaitHistory(t, 1)
	for i := range 300 {
		p.visit(t, fmt.Sprintf("203.0.113.%d", i%20))
	}
	p.end(syscall.SIGTERM)
	if got := stored(); got != "300" {
		t.Errorf("after a stop the database has %s requests, want 300", got)
	}
	if left, err := filepath.Glob(filepath.Join(c.dataDir, "caddy", "ip_reputation", "history", "*")); err != nil || len(left) > 0 {
		t.Errorf("on disk are %v, %v", left, err)
	}

	r := startCaddy(t, c)
	r.awaitHistory(t, 1)
	for i := range 50 {
		r.visit(t, fmt.Sprintf("203.0.113.%d", i%20))
	}
	delete(c.app, "history")
	r.reload(t)
	eventually(t, "the database has the rest", func() bool { return stored() == "350" })
}

// TestTheDatabaseChanges proves that another password, and another database, are used without a restart and without a loss.
func TestTheDatabaseChanges(t *testing.T) {
	server := testenv.PostgreSQL(t)
	other := server.Database()
	file := filepath.Join(t.TempDir(), "database")
	write := func(dsn string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(dsn+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(strings.Replace(server.DSN, "postgres@", "nobody:password-of-nobody@", 1))
	c := newConfig(t)
	c.app["history"] = object{"database": object{"value": "{file." + file + "}", "refresh": "1s"}}
	r := startCaddy(t, c)
	r.visit(t, cleanClient)
	eventually(t, "the log says what is wrong", func() bool { return strings.Contains(r.logs(t), "the database of the history cannot be used") })
	write(server.DSN)
	r.awaitHistory(t, 1)
	r.recorded(t)
	if got := server.SQL("SELECT sum(count) FROM ip_reputation.decisions"); got != "1" {
		t.Errorf("%s requests are in the database, want 1", got)
	}
	write(other)
	c.app["history"] = object{"database": object{"value": "{file." + file + "}"}, "retention": "30d"}
	r.reload(t)
	r.visit(t, cleanClient)
	r.visit(t, cleanClient)
	r.recorded(t)
	if got := server.SQL("SELECT sum(count) FROM ip_reputation.decisions"); got != "1" {
		t.Errorf("%s requests are in the old database, want 1", got)
	}
}

// TestHistoryAfterAFailedReload proves that a configuration that began and was taken back leaves nothing behind: what is decided goes
// to the database of the one that serves, as that one's privacy has it.
func TestHistoryAfterAFailedReload(t *testing.T) {
	server := testenv.PostgreSQL(t)
	other := server.Database()
	c := newConfig(t)
	c.app["privacy"] = object{"mode": "truncate"}
	c.remember(t, server.DSN, nil)
	r := startCaddy(t, c)
	r.awaitHistory(t, 1)
	taken := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(taken.Close)
	t.Setenv("TEST_OTHER_DATABASE", other)
	c.app = object{"history": object{"database": object{"value": "{env.TEST_OTHER_DATABASE}"}, "retention": "30d"}}
	c.apps = object{"http": object{"servers": object{
		"site": object{"listen": []any{c.siteAddr}}, "taken": object{"listen": []any{taken.Listener.Addr().String()}},
	}}}
	for range 10 { // in which of them ours begins before the one that fails is left to chance
		if err := r.tryReload(t); err == nil {
			t.Fatal("the reload did not fail")
		}
	}
	for i := range 5 {
		r.visit(t, fmt.Sprintf("203.0.113.%d", i))
	}
	eventually(t, "all is in the database", func() bool {
		r.ask(t, http.MethodGet, "history/192.0.2.255?parts=0", "")
		return r.metric(t, "history_queued") == 0
	})
	if got := server.SQL("SELECT address, sum(count) FROM ip_reputation.decisions GROUP BY 1"); got != "203.0.113.0/24|5" {
		t.Errorf("the database of the configuration that serves has %q", got)
	}
}

// TestHistoryKeepsPrivacy proves that what privacy says of addresses is so in the database and on disk, and that the history of
// an address is found nevertheless.
func TestHistoryKeepsPrivacy(t *testing.T) {
	server := testenv.PostgreSQL(t)
	for name, tc := range map[string]struct {
		settings object
		want     string // a pattern of the address that is kept
	}{
		"truncate": {object{"mode": "truncate"}, "203.0.113.0/24"},
		"hash":     {object{"mode": "hash", "key": object{"value": "{env.TEST_PRIVACY}"}}, "100::%"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TEST_PRIVACY", "key-of-pseudonyms")
			s := startStandIn(t)
			s.know(badClient, 100, 60)
			c := newConfig(t)
			c.ask(s)
			c.app["privacy"] = tc.settings
			dsn := server.DatabaseFor(t)
			c.remember(t, dsn, nil)
			r := startCaddy(t, c)
			r.visit(t, badClient)
			var onDisk strings.Builder
			eventually(t, "it is on disk", func() bool {
				files, _ := filepath.Glob(filepath.Join(c.dataDir, "caddy", "ip_reputation", "history", "*"))
				for _, file := range files {
					text, _ := os.ReadFile(file)
					onDisk.Write(text)
				}
				return strings.Contains(onDisk.String(), "block score 85") || r.metric(t, "history_written_total") > 0
			})
			wantNone(t, "the disk", onDisk.String(), badClient)
			r.recorded(t)
			for _, column := range []string{"address FROM ip_reputation.decisions", "subject FROM ip_reputation.verdicts"} {
				if got := server.SQLIn(dsn, "SELECT count(*) FILTER (WHERE a::text LIKE '"+tc.want+"') = count(*) AND count(*) > 0 FROM (SELECT "+
					strings.Replace(column, " FROM", " AS a FROM", 1)+") x"); got != "t" {
					t.Errorf("%s: %s", column, server.SQLIn(dsn, "SELECT "+column))
				}
			}
			asked := badClient
			if name == "truncate" { // the visitors of a network are stored as one
				asked = tc.want
				got := r.ask(t, http.MethodGet, "history/"+badClient, "")
				if got.status != http.StatusBadRequest || !strings.Contains(got.body, "ask for "+tc.want) {
					t.Errorf("the history of the client is %d %s", got.status, got.body)
				}
			}
			got := r.ask(t, http.MethodGet, "history/"+asked, "")
			if got.status != http.StatusOK || !strings.Contains(got.body, `"requests":1`) {
				t.Errorf("the history of the client is %d %s", got.status, got.body)
			}
			for _, path := range []string{"history/203.0.113.0/24", "history?by=network"} {
				status := http.StatusOK
				if name == "hash" { // of pseudonyms, all visitors are in one network
					status = http.StatusBadRequest
				}
				if got := r.ask(t, http.MethodGet, path, ""); got.status != status {
					t.Errorf("%s is answered with %d %s", path, got.status, got.body)
				}
			}
		})
	}
}
