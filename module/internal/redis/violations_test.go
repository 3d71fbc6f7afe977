package redis

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
)

var (
	offender    = netip.MustParseAddr("203.0.113.5")
	loginFailed = violation.Terms{Name: "login_failed", Points: 3, HalfLife: time.Hour, Free: 4, Most: 60}
	trapTouched = violation.Terms{Name: "trap", Points: 60, HalfLife: 7 * 24 * time.Hour, Most: 60}
)

// counter is an instance that counts violations.
type counter struct {
	*violation.Store
	end   context.CancelFunc
	ended chan struct{}
}

func count(tb testing.TB, c *Client) *counter {
	tb.Helper()
	n := &counter{Store: violation.Open("", violation.Options{})}
	n.Share()
	n.join(tb, c)
	tb.Cleanup(func() { _ = n.Close() })
	return n
}

func (n *counter) join(tb testing.TB, c *Client) {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	n.end, n.ended = cancel, make(chan struct{})
	go func() {
		defer close(n.ended)
		c.FollowViolations(ctx, n.Store, func(context.Context) {})
	}()
	tb.Cleanup(n.leave)
}

func (n *counter) leave() {
	n.end()
	<-n.ended
}

// has returns how many violations are remembered, and the points.
func (n *counter) has(addr netip.Addr, t *violation.Terms) (count int, points float64) {
	var s violation.Subject
	if !n.Find(addr, &s) {
		return 0, 0
	}
	slot := s.Find(violation.IDOf(t.Name))
	if slot == nil {
		return 0, 0
	}
	now := time.Now()
	return slot.CountAt(t, now), slot.PointsAt(t, now)
}

// amounts waits until all have counted as much.
func amounts(tb testing.TB, t *violation.Terms, count int, points float64, all ...*counter) {
	tb.Helper()
	for i, n := range all {
		eventually(tb, fmt.Sprintf("instance %d has %d violations and %v points", i, count, points), func() bool {
			c, p := n.has(offender, t)
			return c == count && math.Abs(p-points) < 0.2
		})
	}
}

func (n *counter) violate(t *violation.Terms, times int) {
	for range times {
		n.Add(t, violation.Act{Client: offender, Share: 1})
	}
}

// TestViolationsAreShared proves that what three instances count adds up on all, the free ones
// included, and that nothing is counted twice.
func TestViolationsAreShared(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	a, b, c := count(t, connect(t, server.Addr)), count(t, connect(t, server.Addr)), count(t, connect(t, server.Addr))
	a.violate(&loginFailed, 4)
	b.violate(&loginFailed, 3)
	c.violate(&loginFailed, 3)
	amounts(t, &loginFailed, 10, 18, a, b, c)
	a.violate(&trapTouched, 1)
	amounts(t, &trapTouched, 1, 60, a, b, c)
	late := count(t, connect(t, server.Addr))
	amounts(t, &loginFailed, 10, 18, late)
	amounts(t, &trapTouched, 1, 60, late)
}

// TestViolationsWithoutRedis proves that an instance which Redis is lost to goes on counting, and
// that all have the sum afterwards: also when an answer got lost, and when Redis lost everything.
func TestViolationsWithoutRedis(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	links := []*testenv.Link{testenv.Proxy(t, server.Addr), testenv.Proxy(t, server.Addr)}
	ca, cb := connect(t, links[0].Addr), connect(t, links[1].Addr)
	a, b := count(t, ca), count(t, cb)
	a.violate(&loginFailed, 5)
	amounts(t, &loginFailed, 5, 3, a, b)

	for _, link := range links {
		link.Down()
	}
	for _, c := range []*Client{ca, cb} {
		eventually(t, "redis is away", func() bool {
			_, _ = c.ForgetViolations(t.Context(), netip.MustParsePrefix("198.51.100.1/32"))
			return !c.Up()
		})
	}
	a.violate(&loginFailed, 2)
	b.violate(&loginFailed, 3)
	if n, _ := a.has(offender, &loginFailed); n != 7 {
		t.Errorf("alone: %d violations, want 7", n)
	}
	for _, link := range links {
		link.Heal()
	}
	amounts(t, &loginFailed, 10, 18, a, b)

	if err := ca.rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	b.violate(&loginFailed, 1)
	amounts(t, &loginFailed, 11, 21, a, b)
	late := count(t, connect(t, server.Addr))
	amounts(t, &loginFailed, 11, 21, late)
}

// TestViolationsAfterAFailover proves that an instance misses nothing which has the revision of a change that it knew, and
// that the server which took over had lost.
func TestViolationsAfterAFailover(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	link := testenv.Proxy(t, server.Addr)
	ca, cb := connect(t, server.Addr), connect(t, link.Addr)
	a, b := count(t, ca), count(t, cb)
	a.Add(&trapTouched, violation.Act{Client: netip.MustParseAddr("198.51.100.7"), Share: 1})
	eventually(t, "the other knows it", func() bool { return b.Has(netip.MustParseAddr("198.51.100.7")) })
	link.Down()
	eventually(t, "redis is away", func() bool {
		_, _ = cb.ForgetViolations(t.Context(), netip.MustParsePrefix("198.51.100.1/32"))
		return !cb.Up()
	})
	server.CLI("HINCRBY", ca.violatorsKey(), revisionName, "-1") // it is lost
	a.violate(&loginFailed, 6)
	amounts(t, &loginFailed, 6, 6, a)
	eventually(t, "redis knows it", func() bool { return server.CLI("HEXISTS", ca.violatorsKey(), offender.String()+"/32") == "1" })
	link.Heal()
	amounts(t, &loginFailed, 6, 6, b)
}

// TestABatchIsAddedOnce proves that a batch whose answer was lost is not added again.
func TestABatchIsAddedOnce(t *testing.T) {
	t.Parallel()
	c := connect(t, testenv.Redis(t).Addr)
	f := &violationFollower{Client: c, store: violation.Open("", violation.Options{})}
	t.Cleanup(func() { _ = f.store.Close() })
	batch := violation.Batch{From: "a", Number: 1, Deltas: []violation.Delta{{
		Subject: netip.PrefixFrom(offender, 32), Terms: &loginFailed,
		Acts: 6, Added: violation.Amount{Points: 18, Count: 6},
	}}}
	for _, tc := range []struct {
		from          string
		number        uint64
		count, points float64
	}{{"a", 1, 6, 6}, {"a", 1, 6, 6}, {"a", 2, 12, 24}, {"b", 1, 18, 42}, {"b", 2, 24, 60}} {
		batch.From, batch.Number = tc.from, tc.number
		states, err := f.add(t.Context(), batch)
		if err != nil || len(states) != 1 {
			t.Fatal(states, err)
		}
		got := states[0].Amount
		if math.Abs(got.Count-tc.count) > 0.01 || math.Abs(got.Points-tc.points) > 0.01 {
			t.Errorf("batch %d of %s: %+v, want %v violations and %v points", tc.number, tc.from, got, tc.count, tc.points)
		}
	}
}

// TestViolationsDecayByTheClockOfRedis proves that what is added counts by its age, and that a
// stored state of the future is none.
func TestViolationsDecayByTheClockOfRedis(t *testing.T) {
	t.Parallel()
	c := connect(t, testenv.Redis(t).Addr)
	f := &violationFollower{Client: c}
	number := uint64(0)
	add := func(d violation.Delta) violation.Amount {
		t.Helper()
		d.Subject, d.Terms = netip.PrefixFrom(offender, 32), &loginFailed
		number++
		states, err := f.add(t.Context(), violation.Batch{From: "a", Number: number, Deltas: []violation.Delta{d}})
		if err != nil || len(states) != 1 {
			t.Fatal(states, err)
		}
		return states[0].Amount
	}
	known := violation.Amount{Points: 40, Count: 20, Age: time.Hour}
	got := add(violation.Delta{Base: known, Acts: 1, Added: violation.Amount{Points: 3, Count: 1, Age: 2 * time.Hour}})
	if math.Abs(got.Points-41.5) > 0.01 || math.Abs(got.Count-20.5) > 0.01 || got.Age < time.Hour {
		t.Errorf("an act from before: %+v", got)
	}
	got = add(violation.Delta{Acts: 1, Added: violation.Amount{Points: 3, Count: 1}})
	if math.Abs(got.Count-(20.5/2+1)) > 0.01 || math.Abs(got.Points-(41.5/2+3)) > 0.01 || got.Age > time.Second {
		t.Errorf("an hour later: %+v", got)
	}
	future := fmt.Sprintf(`{"login_failed":[60000,60000,%d,3600000]}`, time.Now().Add(time.Hour).UnixMilli())
	if err := c.rdb.HSet(t.Context(), c.violatorsKey(), "203.0.113.5/32", future).Err(); err != nil {
		t.Fatal(err)
	}
	if got = add(violation.Delta{Acts: 1, Added: violation.Amount{Points: 3, Count: 1}}); got.Count != 1 || got.Points != 0 {
		t.Errorf("after one of the future: %+v", got)
	}
}

// TestViolatorsAreBounded proves that Redis holds a bounded number of subjects, and that those
// which end first go.
func TestViolatorsAreBounded(t *testing.T) {
	t.Parallel()
	c := connect(t, testenv.Redis(t).Addr)
	keys := []string{c.violatorsKey(), c.changesKey(), c.endsKey(), c.key("{violations}:batch:a")}
	for i := range 30 {
		terms := []any{"trap", 7 * 24 * 3600_000, 0, 60000}
		if i%3 != 0 {
			terms = []any{"not_found", 600_000, 0, 10000}
		}
		args := append([]any{"channel", i + 1, 60_000, 10, 6, maxStates, fmt.Sprintf("203.0.113.%d/32", i)}, terms...)
		args = append(args, 0, 0, 0, 1, 500, 1000, 0)
		if _, err := c.run(t.Context(), addingViolations, keys, args...); err != nil {
			t.Fatal(err)
		}
	}
	left, err := c.rdb.HGetAll(t.Context(), c.violatorsKey()).Result()
	if err != nil || len(left) != 11 { // and the revision
		t.Fatalf("%d fields: %v, %v", len(left), left, err)
	}
	for subject, text := range left {
		if subject != revisionName && !strings.Contains(text, "trap") {
			t.Errorf("%s has %s, and a trap was dropped", subject, text)
		}
	}
	for _, key := range keys {
		if ttl := c.rdb.TTL(t.Context(), key).Val(); ttl <= 0 {
			t.Errorf("%s has no end", key)
		}
	}
}

// TestForeignViolations proves that what others write to Redis does no harm.
func TestForeignViolations(t *testing.T) {
	t.Parallel()
	c := connect(t, testenv.Redis(t).Addr)
	a := count(t, c)
	a.violate(&trapTouched, 1)
	eventually(t, "it is in redis", func() bool { return c.rdb.HLen(t.Context(), c.violatorsKey()).Val() == 2 })
	for i, text := range []string{
		"", "null", "7", "[]", `{"trap":7}`, `{"trap":[1,2,3]}`, `{"trap":[1e999,1,1,1000]}`, `{"trap":["x",1,1,1000]}`,
		`{"` + strings.Repeat("x", 2*maxStates) + `":[1,1,1,1000]}`, strings.Repeat("[", 1500),
	} {
		subject := fmt.Sprintf("198.51.100.%d/32", i)
		c.rdb.HSet(t.Context(), c.violatorsKey(), subject, text)
		c.rdb.ZAdd(t.Context(), c.changesKey(), goredis.Z{Score: 1e15, Member: subject})
	}
	for _, subject := range []string{"x", "198.51.100.0/24", "127.0.0.1/32", "2001:db8::1/64", "2001:db8::/32"} {
		text := fmt.Sprintf(`{"trap":[60000,1000,%d,3600000]}`, time.Now().UnixMilli())
		c.rdb.HSet(t.Context(), c.violatorsKey(), subject, text)
		c.rdb.ZAdd(t.Context(), c.changesKey(), goredis.Z{Score: 1e15, Member: subject})
	}
	c.rdb.HSet(t.Context(), c.violatorsKey(), revisionName, "garbage")
	for _, text := range []string{
		"", "x", `{"revision":"9","states":{}}`, `{"revision":"-1","states":[]}`, `{"revision":"9","states":[[1,2]]}`,
	} {
		c.rdb.Publish(t.Context(), c.channel("violations"), text)
	}
	late := count(t, c)
	a.violate(&loginFailed, 5)
	amounts(t, &loginFailed, 5, 3, a, late)
	amounts(t, &trapTouched, 1, 60, a, late) // what was there before is not hidden by the rest
	if got := late.Status().Clients; got != 1 {
		t.Errorf("%d clients are taken over, want 1", got)
	}
}

// TestRevisionOfOthers proves that a revision which others wrote, and which cannot be counted on exactly, begins anew.
func TestRevisionOfOthers(t *testing.T) {
	t.Parallel()
	c := connect(t, testenv.Redis(t).Addr)
	a, b := count(t, c), count(t, c)
	for _, text := range []string{"9999999999999999", "9007199254740993", "-5", "1e3", "99999999999999999999"} {
		c.rdb.HSet(t.Context(), c.violatorsKey(), revisionName, text)
		a.violate(&loginFailed, 1)
		eventually(t, "the revision is usable after "+text, func() bool {
			n, err := c.rdb.HGet(t.Context(), c.violatorsKey(), revisionName).Int64()
			return err == nil && n > 1e15 && n < 9e15
		})
	}
	amounts(t, &loginFailed, 5, 3, a, b)
}

// TestAFloodOfViolations proves that many violators make few exchanges, and that all instances know
// them.
func TestAFloodOfViolations(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	var seen outcomes
	c := open(t, Options{Addresses: []string{server.Addr}, Observe: seen.observe})
	awaitUp(t, c, true)
	a, b := count(t, c), count(t, connect(t, server.Addr))
	const n = 3000
	before := seen.of(OK)
	for i := range uint32(n) {
		addr := netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, byte(i >> 8), byte(i), 15: 1})
		a.Add(&trapTouched, violation.Act{Client: addr, Share: 1})
		a.Add(&trapTouched, violation.Act{Client: addr, Share: 1})
	}
	eventually(t, "the other has all", func() bool { return b.Status().Clients == a.Status().Clients })
	if got := seen.of(OK) - before; got > n/10 {
		t.Errorf("%d violators made %d exchanges", n, got)
	}
	t.Logf("%d violators, %d exchanges, %s + %s + %s bytes in redis", a.Status().Clients, seen.of(OK)-before,
		server.CLI("MEMORY", "USAGE", c.violatorsKey()), server.CLI("MEMORY", "USAGE", c.changesKey()),
		server.CLI("MEMORY", "USAGE", c.endsKey()))
	text := server.CLI("HGET", c.violatorsKey(), "2001:db8:101::/64")
	if !regexp.MustCompile(`^\{"trap":\[60000,2000,\d{13},604800000\]\}$`).MatchString(text) {
		t.Errorf("redis has %s", text)
	}
}

// TestForgettingViolations proves that a subject is gone from Redis.
func TestForgettingViolations(t *testing.T) {
	t.Parallel()
	c := connect(t, testenv.Redis(t).Addr)
	a := count(t, c)
	a.violate(&trapTouched, 1)
	subject := netip.PrefixFrom(offender, 32)
	eventually(t, "it is in redis", func() bool { return c.rdb.HExists(t.Context(), c.violatorsKey(), subject.String()).Val() })
	a.Forget(offender)
	if found, err := c.ForgetViolations(t.Context(), subject); !found || err != nil {
		t.Error(found, err)
	}
	if found, err := c.ForgetViolations(t.Context(), subject); found || err != nil {
		t.Error(found, err)
	}
	late := count(t, c)
	late.violate(&loginFailed, 1)
	amounts(t, &loginFailed, 1, 0, a, late)
	if n, _ := late.has(offender, &trapTouched); n != 0 {
		t.Errorf("%d are back", n)
	}
}

// TestViolationsInACluster proves that a batch is on one server.
func TestViolationsInACluster(t *testing.T) {
	t.Parallel()
	cluster := testenv.RedisCluster(t)
	c := open(t, Options{Addresses: cluster.Addrs, Cluster: true})
	awaitUp(t, c, true)
	a, b := count(t, c), count(t, c)
	for i := range 50 {
		a.Add(&trapTouched, violation.Act{Client: netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), Share: 1})
	}
	eventually(t, "the other has all", func() bool { return b.Status().Clients == 50 })
	amounts(t, &trapTouched, 1, 60, b)
}

func FuzzReadViolationMessage(f *testing.F) {
	f.Add(`{"revision":"7","states":[["203.0.113.5/32","trap",60000,1000,12,604800000]]}`)
	f.Add(`{"revision":"7","states":[["2001:db8::/64","x",1e15,1e15,1e15,1e15],["",null,-1,0,0,0]]}`)
	store := violation.Open("", violation.Options{Subjects: 1})
	f.Cleanup(func() { _ = store.Close() })
	f.Fuzz(func(t *testing.T, text string) {
		m, ok := readViolationMessage(text)
		if !ok {
			return
		}
		if m.revision < 0 {
			t.Error(m.revision)
		}
		store.Merge(m.states)
		store.Each(func(addr netip.Addr, s *violation.Subject) {
			for i := range s.Slots {
				p := s.Slots[i].PointsAt(&trapTouched, time.Now())
				if !(p >= 0 && p <= 60) {
					t.Errorf("%s has %v points", addr, p)
				}
			}
		})
	})
}
