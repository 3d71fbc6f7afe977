package redis

import (
	"encoding/json"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

var (
	key4 = record.KeyOf(netip.MustParseAddr("203.0.113.7"))
	key6 = record.KeyOf(netip.MustParseAddr("2001:db8:1:2::3"))
)

// bad is a report with something in every field that is shared.
var bad = reputation.Report{
	Severity: 0.9, Confidence: 0.75,
	Categories: reputation.CategoriesOf(reputation.Scanner, reputation.BruteForce),
	Facts: reputation.Facts{
		Country: "NL", ASN: 64500, ASName: "Example Hosting", Network: netip.MustParsePrefix("203.0.113.0/24"),
		Nature: reputation.Nature{}.With(reputation.NatureHosting, true).With(reputation.NatureTor, false),
	},
	LastSeen: time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC),
}

// keepsRecords looks whether what one instance learns another knows.
func keepsRecords(tb testing.TB, c *Client) {
	tb.Helper()
	ctx, now := tb.Context(), time.Now().Truncate(time.Second)
	for _, key := range []record.Key{key4, key6} {
		if _, err := c.Forget(ctx, key, nil); err != nil {
			tb.Fatal(err)
		}
		rec, mine, err := c.Claim(ctx, key, []string{"abuseipdb", "dronebl"}, time.Minute)
		if err != nil || rec != (record.Record{}) || !slices.Equal(mine, []string{"abuseipdb", "dronebl"}) {
			tb.Fatalf("claim of the unknown: %+v, %v, %v", rec, mine, err)
		}
		if err := c.Store(ctx, key, "abuseipdb", bad, now, now.Add(time.Hour)); err != nil {
			tb.Fatal(err)
		}
		if err := c.Fail(ctx, key, "dronebl", 0); err != nil {
			tb.Fatal(err)
		}
		var want record.Record
		want.Learn(record.Pack(record.IDOf("abuseipdb"), bad, now, now.Add(time.Hour)), bad.Facts)
		rec, err = c.load(ctx, key, []string{"abuseipdb", "dronebl"})
		if diff := cmp.Diff(want, rec, cmp.AllowUnexported(reputation.Nature{})); diff != "" || err != nil {
			tb.Errorf("loaded (-want +got):\n%s%v", diff, err)
		}
		if found, err := c.Forget(ctx, key, nil); !found || err != nil {
			tb.Errorf("forget: %v, %v", found, err)
		}
	}
}

// A service that sends a name of any length must not keep its answer from being shared.
func TestALongNameIsLeftOut(t *testing.T) {
	long := bad
	long.Facts.ASName = strings.Repeat("\x00", maxReport)
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	text, err := json.Marshal(storedOf(long, now, now.Add(time.Hour)))
	if err != nil || len(text) > maxReport {
		t.Errorf("the report has %d bytes, %v", len(text), err)
	}
	if got := storedOf(bad, now, now).ASName; got != "Example Hosting" {
		t.Errorf("a usual name became %q", got)
	}
}

// TestOneAsks proves that of instances that want to know the same, one is told to ask, and the others get its answer, or
// its leave to ask, or are told that there is nothing to be had for a while.
func TestOneAsks(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	a, b := connect(t, server.Addr), connect(t, server.Addr)
	ctx, sources, now := t.Context(), []string{"abuseipdb"}, time.Now().Truncate(time.Second)
	id := record.IDOf("abuseipdb")
	claim := func(c *Client, lease time.Duration) (record.Answer, bool) {
		t.Helper()
		rec, mine, err := c.Claim(ctx, key4, sources, lease)
		if err != nil {
			t.Fatal(err)
		}
		if answer := rec.Find(id); answer != nil {
			return *answer, len(mine) > 0
		}
		return record.Answer{}, len(mine) > 0
	}
	start := func() {
		t.Helper()
		server.CLI("FLUSHALL")
		if _, mine := claim(a, time.Minute); !mine {
			t.Fatal("the first is not to ask")
		}
		if answer, mine := claim(b, time.Minute); mine || answer != (record.Answer{}) {
			t.Fatalf("the second is to ask: %v, or knows something: %+v", mine, answer)
		}
		if _, mine := claim(a, time.Minute); !mine {
			t.Fatal("the first, whose answer may have been lost, is not told again")
		}
	}

	t.Run("answered", func(t *testing.T) {
		start()
		if err := a.Store(ctx, key4, "abuseipdb", bad, now, now.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if answer, mine := claim(b, time.Minute); mine || answer != record.Pack(id, bad, now, now.Add(time.Hour)) {
			t.Errorf("%+v, to ask: %v", answer, mine)
		}
		if left := server.CLI("EXISTS", "iprep:v1:{203.0.113.7/32}:asking:abuseipdb"); left != "0" {
			t.Error("the mark is still up")
		}
	})
	t.Run("past its time", func(t *testing.T) {
		start()
		if err := a.Store(ctx, key4, "abuseipdb", bad, now.Add(-time.Hour), now.Add(-time.Minute)); err != nil {
			t.Fatal(err)
		}
		if answer, mine := claim(b, time.Minute); !mine || answer.Fetched == 0 {
			t.Errorf("%+v, to ask: %v", answer, mine)
		}
	})
	t.Run("failed", func(t *testing.T) {
		start()
		if err := b.Fail(ctx, key4, "abuseipdb", time.Minute); err != nil { // not its claim
			t.Fatal(err)
		}
		if answer, mine := claim(b, time.Minute); mine || answer.Failed {
			t.Fatalf("it gave up what another has: %+v, to ask: %v", answer, mine)
		}
		if err := a.Fail(ctx, key4, "abuseipdb", time.Minute); err != nil {
			t.Fatal(err)
		}
		answer, mine := claim(b, time.Minute)
		if in := time.Until(time.Unix(int64(answer.Due), 0)); mine || !answer.Failed || in < 50*time.Second || in > time.Minute {
			t.Errorf("%+v, due in %s, to ask: %v", answer, in, mine)
		}
		// somebody who was told to ask anew all the same has an answer that counts
		if err := b.Store(ctx, key4, "abuseipdb", bad, now, now.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if answer, mine := claim(a, time.Minute); mine || answer.Failed || !answer.Answered() {
			t.Errorf("%+v, to ask: %v", answer, mine)
		}
	})
	t.Run("not to be read", func(t *testing.T) {
		server.CLI("FLUSHALL")
		server.CLI("HSET", "iprep:v1:{203.0.113.7/32}:record", "abuseipdb", `{"due":"2099-01-01T00:00:00Z"}`)
		if answer, mine := claim(a, time.Minute); !mine || answer != (record.Answer{}) {
			t.Errorf("%+v, to ask: %v", answer, mine)
		}
	})
	t.Run("forgotten", func(t *testing.T) {
		start()
		if err := a.Fail(ctx, key4, "abuseipdb", time.Minute); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Forget(ctx, key4, sources); err != nil {
			t.Fatal(err)
		}
		if answer, mine := claim(b, time.Minute); !mine || answer.Failed {
			t.Errorf("%+v, to ask: %v", answer, mine)
		}
	})
	t.Run("no number", func(t *testing.T) {
		start()
		if err := a.Store(ctx, key4, "abuseipdb", reputation.Report{Severity: math.NaN(), Confidence: math.Inf(1)}, now, now.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if answer, _ := claim(b, time.Minute); answer.Severity != 0 || answer.Confidence != 100 {
			t.Errorf("%+v", answer)
		}
	})
	t.Run("given up", func(t *testing.T) {
		start()
		if err := a.Fail(ctx, key4, "abuseipdb", 0); err != nil {
			t.Fatal(err)
		}
		if _, mine := claim(b, time.Minute); !mine {
			t.Error("the next is not to ask")
		}
	})
	t.Run("dead", func(t *testing.T) {
		server.CLI("FLUSHALL")
		claim(a, 50*time.Millisecond)
		eventually(t, "the lease of the dead ends", func() bool { _, mine := claim(b, time.Minute); return mine })
	})
}

// TestNothingOlderReplaces proves that the order in which answers arrive does not matter, and that sources do not touch each
// other.
func TestNothingOlderReplaces(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	c := connect(t, server.Addr)
	ctx, now := t.Context(), time.Now().Truncate(time.Second)
	older := reputation.Report{Severity: -1, Confidence: 1}
	for _, order := range [][]time.Duration{{0, -time.Minute}, {-time.Minute, 0}} {
		server.CLI("FLUSHALL")
		for _, ago := range order {
			r := bad
			if ago != 0 {
				r = older
			}
			if err := c.Store(ctx, key6, "abuseipdb", r, now.Add(ago), now.Add(ago+time.Hour)); err != nil {
				t.Fatal(err)
			}
			if err := c.Store(ctx, key6, "other", older, now.Add(ago), now.Add(ago+time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		rec, err := c.load(ctx, key6, []string{"abuseipdb", "other", "unheard"})
		if err != nil {
			t.Fatal(err)
		}
		if a := rec.Find(record.IDOf("abuseipdb")); a == nil || *a != record.Pack(a.Source, bad, now, now.Add(time.Hour)) {
			t.Errorf("order %v: %+v", order, a)
		}
		if a := rec.Find(record.IDOf("other")); a == nil || a.Severity != -100 {
			t.Errorf("order %v, other source: %+v", order, a)
		}
		if rec.Find(record.IDOf("unheard")) != nil {
			t.Error("something is known of a source that said nothing")
		}
	}
}

// TestAPersonCanReadIt proves what the README says of the keys and values, and that they do not stay for ever.
func TestAPersonCanReadIt(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	c := connect(t, server.Addr)
	now := time.Now()
	if err := c.Store(t.Context(), key4, "abuseipdb", bad, now, now.Add(6*time.Hour)); err != nil {
		t.Fatal(err)
	}
	const key = "iprep:v1:{203.0.113.7/32}:record"
	want := `{"severity":0.9,"confidence":0.75,"categories":["scanner","bruteforce"],"country":"NL","asn":64500,` +
		`"as_name":"Example Hosting","network":"203.0.113.0/24","nature":{"tor":false,"hosting":true},` +
		`"seen":"2026-11-20T10:00:00Z","fetched":"` + now.UTC().Format("2006-01-02T15:04:05Z") + `",` +
		`"due":"` + now.Add(6*time.Hour).UTC().Format("2006-01-02T15:04:05Z") + `"}`
	if got := server.CLI("HGET", key, "abuseipdb"); got != want {
		t.Errorf("the value is\n%s, want\n%s", got, want)
	}
	if ttl := server.CLI("PTTL", key); ttl == "-1" || ttl == "-2" {
		t.Errorf("its time to live is %s", ttl)
	}
	t.Logf("%s bytes a subject with one source", server.CLI("MEMORY", "USAGE", key))
}

// FuzzRestore proves that whatever stands in Redis is read without panic, into a record in range.
func FuzzRestore(f *testing.F) {
	for _, s := range []string{
		`{"severity":0.9,"confidence":0.75,"categories":["scanner"],"fetched":"2026-11-24T13:00:00Z","due":"2026-11-24T19:00:00Z"}`,
		`{"severity":1e308,"confidence":-5,"country":"nl","asn":4294967295,"fetched":"2026-11-24T13:00:00Z","due":"9999-12-31T23:59:59Z"}`,
		`{"fetched":"0001-01-01T00:00:00Z","due":""}`, `[]`, `null`, `{"nature":{"tor":1}}`, ``,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var rec record.Record
		(&Client{now: time.Now}).restore(&rec, "abuseipdb", text)
		for _, a := range rec.Answers {
			if a.Severity < -100 || a.Severity > 100 || a.Confidence > 100 || a.Source != 0 && !a.Answered() {
				t.Errorf("%q becomes %+v", text, a)
			}
		}
	})
}

// A mark without an end, which no instance has put up, keeps nobody from asking.
func TestForeignMark(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	c := connect(t, server.Addr)
	for _, holder := range []string{"letters", "failed"} {
		server.CLI("SET", "iprep:v1:{203.0.113.7/32}:asking:abuseipdb", holder)
		_, mine, err := c.Claim(t.Context(), key4, []string{"abuseipdb"}, time.Minute)
		if err != nil || len(mine) != 1 {
			t.Errorf("with a mark of %q: %v, %v", holder, mine, err)
		}
	}
}
