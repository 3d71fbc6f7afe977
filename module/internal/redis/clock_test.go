package redis

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const year = 365 * 24 * time.Hour

// wrongClock is an instance whose clock is off.
type wrongClock struct {
	*Client
	off atomic.Int64
}

func connectWrong(tb testing.TB, addr string, off time.Duration) *wrongClock {
	tb.Helper()
	c, err := Open(Options{Addresses: []string{addr}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	w := &wrongClock{Client: c}
	w.off.Store(int64(off))
	c.now = func() time.Time { return time.Now().Round(0).Add(time.Duration(w.off.Load())) }
	tb.Cleanup(func() { _ = c.Close() })
	c.Start()
	awaitUp(tb, c, true)
	return w
}

// Instances whose clocks are a year apart know the same, each in its own time.
func TestWrongClocks(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	fleet := []*wrongClock{
		connectWrong(t, server.Addr, 0), connectWrong(t, server.Addr, year), connectWrong(t, server.Addr, -year),
	}
	if ahead := fleet[1].Status().Ahead; ahead > -364*24*3600 || fleet[0].Status().Ahead != 0 {
		t.Errorf("redis is ahead by %d and %d", fleet[0].Status().Ahead, ahead)
	}
	for i, writer := range fleet {
		name := fmt.Sprint("source", i)
		at := writer.now()
		if err := writer.Store(t.Context(), key4, name, bad, at, at.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		for j, reader := range fleet {
			rec, mine, err := reader.Claim(t.Context(), key4, []string{name}, time.Minute)
			if err != nil || len(mine) > 0 {
				t.Fatalf("%d of %d: to ask %v, %v", j, i, mine, err)
			}
			loaded, err := reader.load(t.Context(), key4, []string{name})
			if err != nil || loaded != rec {
				t.Errorf("%d of %d: %v, loads %+v, claims %+v", j, i, err, loaded, rec)
			}
			a, now := rec.Find(record.IDOf(name)), int64(record.Seconds(reader.now()))
			if a == nil || now-int64(a.Fetched) > 30 || now-int64(a.Fetched) < -1 || int64(a.Due)-int64(a.Fetched) != 3600 {
				t.Errorf("%d of %d, at %d: %+v", j, i, now, a)
			}
		}
	}
}

// What lies in the future in Redis is absent: one instance is to ask, and its answer takes the place.
func TestRecordsOfTheFuture(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	a, b := connect(t, server.Addr), connect(t, server.Addr)
	now := time.Now().Truncate(time.Second)
	for name, text := range map[string]string{
		"fetched in a year": `{"severity":1,"confidence":1,"fetched":"` + readable(now.Add(year)) + `","due":"` + readable(now.Add(year+time.Hour)) + `"}`,
		"due in 9999":       `{"severity":1,"confidence":1,"fetched":"` + readable(now) + `","due":"9999-12-31T23:59:59Z"}`,
		"all in 9999":       `{"severity":1,"confidence":1,"fetched":"9999-12-31T23:59:59Z","due":"9999-12-31T23:59:59Z"}`,
		"too long": `{"severity":1,"confidence":1,"fetched":"` + readable(now.Add(-time.Minute)) + `","due":"` + readable(now.Add(time.Hour)) +
			`","as_name":"` + strings.Repeat("x", maxReport) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			server.CLI("FLUSHALL")
			server.CLI("HSET", "iprep:v1:{203.0.113.7/32}:record", "abuseipdb", text)
			if rec, err := a.load(t.Context(), key4, []string{"abuseipdb"}); err != nil || !rec.Empty() {
				t.Errorf("loaded %+v, %v", rec.Answers[0], err)
			}
			if rec, mine, err := a.Claim(t.Context(), key4, []string{"abuseipdb"}, time.Minute); err != nil || len(mine) != 1 || !rec.Empty() {
				t.Errorf("claimed %v, %+v, %v", mine, rec.Answers[0], err)
			}
			if _, mine, err := b.Claim(t.Context(), key4, []string{"abuseipdb"}, time.Minute); err != nil || len(mine) != 0 {
				t.Errorf("the second claims %v, %v", mine, err)
			}
			if err := a.Store(t.Context(), key4, "abuseipdb", bad, now, now.Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			rec, err := b.load(t.Context(), key4, []string{"abuseipdb"})
			if got := rec.Find(record.IDOf("abuseipdb")); err != nil || got == nil || got.Severity != 90 {
				t.Errorf("afterwards %+v, %v", got, err)
			}
		})
	}
}

// A failure in Redis keeps nobody from asking longer than a pause lasts.
func TestLongFailure(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	c := connect(t, server.Addr)
	server.CLI("SET", "iprep:v1:{203.0.113.7/32}:asking:abuseipdb", "failed", "EX", "99999999")
	rec, _, err := c.Claim(t.Context(), key4, []string{"abuseipdb"}, time.Minute)
	a := rec.Find(record.IDOf("abuseipdb"))
	if err != nil || a == nil || a.Due > record.Seconds(time.Now().Add(record.MaxPause)) {
		t.Errorf("%+v, %v", a, err)
	}
}

// However the clocks of a fleet were wrong, once they are right the next answer is what all know, or one from as little ahead
// as is believed.
func TestClocksConverge(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	var fleet []*wrongClock
	for range 3 {
		fleet = append(fleet, connectWrong(t, server.Addr, 0))
	}
	rapid.Check(t, func(rt *rapid.T) {
		if _, err := fleet[0].Forget(t.Context(), key6, nil); err != nil {
			rt.Fatal(err)
		}
		for range rapid.IntRange(1, 8).Draw(rt, "answers") {
			c := fleet[rapid.IntRange(0, 2).Draw(rt, "instance")]
			step := time.Duration(rapid.Int64Range(-1e8, 1e8).Draw(rt, "clock")) * time.Second
			at := c.now()
			if rapid.Bool().Draw(rt, "steps while it asks") {
				c.off.Store(int64(step))
			} else {
				c.off.Store(int64(step))
				at = c.now()
			}
			ttl := time.Duration(rapid.Int64Range(1, 1e8).Draw(rt, "ttl")) * time.Second
			if err := c.Store(t.Context(), key6, "a", reputation.Report{Severity: 1}, at, at.Add(ttl)); err != nil {
				rt.Fatal(err)
			}
		}
		for _, c := range fleet {
			c.off.Store(0)
			rec, err := c.load(t.Context(), key6, []string{"a"})
			if a := rec.Find(record.IDOf("a")); err != nil || a != nil &&
				(a.Fetched > record.Seconds(time.Now().Add(record.Ahead)) || a.Due > record.Seconds(time.Now().Add(record.Ahead+record.MaxTTL))) {
				rt.Fatalf("%+v, %v", a, err)
			}
		}
		at := time.Now()
		if err := fleet[0].Store(t.Context(), key6, "a", reputation.Report{Severity: -1}, at, at.Add(time.Hour)); err != nil {
			rt.Fatal(err)
		}
		for _, c := range fleet {
			rec, err := c.load(t.Context(), key6, []string{"a"})
			if a := rec.Find(record.IDOf("a")); err != nil || a == nil || a.Severity != -100 && a.Fetched <= record.Seconds(at) {
				rt.Fatalf("%+v, %v", a, err)
			}
		}
	})
}

// An instance whose clock is wrong does not begin the windows of the others anew.
func TestQuotaWithAWrongClock(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	c, wrong := connect(t, server.Addr), connectWrong(t, server.Addr, year)
	count := func(c *Client, w ledger.WindowCount) (ledger.Counted, error) {
		return c.Count(t.Context(), ledger.Count{Account: "a", N: 2, Windows: []ledger.WindowCount{w}})
	}
	if _, err := count(c, today(3)); err != nil {
		t.Fatal(err)
	}
	next := today(3)
	next.Start, next.End = next.Start.Add(year), next.End.Add(year)
	if counted, err := count(wrong.Client, next); err == nil || !strings.Contains(err.Error(), "clock") || !wrong.Up() {
		t.Errorf("%+v, %v, up %v", counted, err, wrong.Up())
	}
	if counted, err := count(c, today(3)); err != nil || counted.Granted || counted.Windows[0].Used != 2 {
		t.Errorf("%+v, %v", counted, err)
	}
}

// An instance whose clock is ahead does not delete what is not over.
func TestAWrongClockDeletesNothing(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	e := entry("x", time.Now().UnixMilli(), "for an hour")
	e.Expires = time.Now().Add(time.Hour)
	follow(t, connect(t, server.Addr), e)
	exists := func() bool { return server.CLI("HEXISTS", "iprep:v1:{bans}:notes", "x") == "1" }
	eventually(t, "it is posted", exists)
	ahead := follow(t, connectWrong(t, server.Addr, year).Client)
	eventually(t, "it is read", func() bool { return len(ahead.knows()) == 1 })
	if !exists() {
		t.Error("it is deleted")
	}
}

// Of a map that others fill, no more is read than a bound, valid or not.
func TestTooManyEntries(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	const many = 5000
	args := []string{"HSET", "iprep:v1:{bans}:notes", "long", strings.Repeat("x", 2*maxText)}
	for i := range many {
		args = append(args, fmt.Sprint("x", i), "not an entry")
	}
	server.CLI(args...)
	c := connect(t, server.Addr)
	c.maxEntries = 500
	f := &follower{Client: c, name: "bans", peer: &member{entries: map[string]replica.Entry{}}, seen: map[string]mark{}}
	if err := f.pull(t.Context()); err != nil {
		t.Fatal(err)
	}
	var left int
	if _, err := fmt.Sscan(server.CLI("HLEN", "iprep:v1:{bans}:notes"), &left); err != nil || left < many-1000 || left > many-500 {
		t.Errorf("%d of %d are left, %v", left, many, err)
	}
	if server.CLI("HEXISTS", "iprep:v1:{bans}:notes", "long") != "1" {
		t.Error("what may be of a later release is deleted")
	}
}

// A huge value in a record is not sent here.
func TestHugeFieldsStayInRedis(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	c := connect(t, server.Addr)
	now := time.Now()
	if err := c.Store(t.Context(), key4, "a", bad, now, now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"iprep:v1:{203.0.113.7/32}:record", "iprep:v1:{bans}:notes"} {
		server.CLI("EVAL", "return redis.call('HSET', KEYS[1], 'b', string.rep('x', 4*1024*1024))", "1", key)
	}
	sent := func() (n int) {
		_, rest, _ := strings.Cut(server.CLI("INFO", "stats"), "total_net_output_bytes:")
		_, _ = fmt.Sscan(strings.Fields(rest)[0], &n)
		return n
	}
	before := sent()
	rec, err := c.load(t.Context(), key4, []string{"a", "b"})
	if err != nil || rec.Find(record.IDOf("a")) == nil || rec.Find(record.IDOf("b")) != nil {
		t.Errorf("%+v, %v", rec.Answers[:2], err)
	}
	_, mine, err := c.Claim(t.Context(), key4, []string{"a", "b"}, time.Minute)
	if err != nil || !slices.Equal(mine, []string{"b"}) {
		t.Errorf("%v, %v", mine, err)
	}
	f := &follower{Client: c, name: "bans", peer: &member{entries: map[string]replica.Entry{}}, seen: map[string]mark{}}
	if err := f.pull(t.Context()); err != nil {
		t.Error(err)
	}
	if n := sent() - before; n > 1<<20 {
		t.Errorf("%d bytes were sent", n)
	}
}
