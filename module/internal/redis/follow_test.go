package redis

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// member is an instance's side of a map: of two entries it keeps the newer one.
type member struct {
	name    string
	mu      sync.Mutex
	entries map[string]replica.Entry
	merges  int
	changed replica.Signal
	end     context.CancelFunc
	ended   chan struct{}
}

// follow lets a new member follow the map until the test ends, or leave.
func follow(tb testing.TB, c *Client, known ...replica.Entry) *member {
	tb.Helper()
	return followMap(tb, c, "bans", known...)
}

func followMap(tb testing.TB, c *Client, name string, known ...replica.Entry) *member {
	tb.Helper()
	m := &member{name: name, entries: map[string]replica.Entry{}}
	for _, n := range known {
		m.entries[n.Name] = n
	}
	m.join(tb, c)
	return m
}

func (m *member) join(tb testing.TB, c *Client) {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	m.end, m.ended = cancel, make(chan struct{})
	go func() {
		defer close(m.ended)
		c.Follow(ctx, m.name, m)
	}()
	tb.Cleanup(m.leave)
}

func (m *member) leave() {
	m.end()
	<-m.ended
}

func (m *member) Entries() (list []replica.Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range m.entries {
		list = append(list, n)
	}
	return list
}

func (m *member) Merge(entries []replica.Entry) (better bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.merges++
	for _, n := range entries {
		old, known := m.entries[n.Name]
		better = better || known && old.Newer(n)
		if !known || n.Newer(old) {
			m.entries[n.Name] = n
		}
	}
	return better
}

func (m *member) merged() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.merges
}

func (m *member) Changed() <-chan struct{} { return m.changed.Changed() }

// set changes an entry here.
func (m *member) set(n replica.Entry) {
	m.mu.Lock()
	m.entries[n.Name] = n
	m.mu.Unlock()
	m.changed.Notify()
}

func (m *member) knows() map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[string]string{}
	for name, n := range m.entries {
		all[name] = fmt.Sprint(n.Version, " ", string(n.Value))
	}
	return all
}

func entry(name string, version int64, value string) replica.Entry {
	return replica.Entry{Name: name, Version: version, Value: []byte(`"` + value + `"`)}
}

// agree waits until all know the same.
func agree(tb testing.TB, want map[string]string, members ...*member) {
	tb.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for _, m := range members {
		for !maps.Equal(m.knows(), want) {
			if time.Now().After(deadline) {
				tb.Fatalf("they do not agree (-want +got):\n%s", cmp.Diff(want, m.knows()))
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// TestFollow proves that what one instance changes all know, that newer beats older wherever it was made, and that neither
// messages that get lost nor a server that loses everything nor an instance that was off keep them apart.
func TestFollow(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	links := []*testenv.Link{testenv.Proxy(t, server.Addr), testenv.Proxy(t, server.Addr)}
	ca, cb := connect(t, links[0].Addr), connect(t, links[1].Addr)
	a := follow(t, ca, entry("x", 5, "of a"), entry("y", 2, "of a"))
	b := follow(t, cb, entry("x", 3, "of b"), entry("y", 4, "of b"), entry("z", 1, "of b"))
	want := map[string]string{"x": `5 "of a"`, "y": `4 "of b"`, "z": `1 "of b"`}
	agree(t, want, a, b)

	a.set(entry("z", 2, "changed"))
	want["z"] = `2 "changed"`
	agree(t, want, a, b)

	a.set(entry("same", 7, "aaa"))
	b.set(entry("same", 7, "bbb"))
	want["same"] = `7 "bbb"`
	agree(t, want, a, b)

	server.CLI("FLUSHALL")
	b.set(entry("after", 1, "the flush"))
	want["after"] = `1 "the flush"`
	agree(t, want, a, b)
	late := follow(t, ca)
	agree(t, want, late)

	links[0].BlackHole()
	a.set(entry("y", 9, "said alone"))
	b.set(entry("z", 9, "said meanwhile"))
	awaitUp(t, ca, false)
	links[0].Heal()
	want["y"], want["z"] = `9 "said alone"`, `9 "said meanwhile"`
	agree(t, want, a, b, late)

	late.leave()
	b.set(entry("x", 10, "while it was off"))
	want["x"] = `10 "while it was off"`
	agree(t, want, a, b)
	late.join(t, ca)
	agree(t, want, late)

	server.Stop()
	server.Start() // with nothing
	agree(t, want, a, b, late)

	late.leave()
	b.set(entry("x", 11, "undone"))
	want["x"] = `11 "undone"`
	agree(t, want, a, b)
	server.CLI("DEL", "iprep:v1:{bans}:notes")
	eventually(t, "the map is filled again", func() bool { return server.CLI("HEXISTS", "iprep:v1:{bans}:notes", "z") == "1" })
	server.CLI("FLUSHALL") // and who comes back brings what was undone
	late.join(t, ca)
	agree(t, want, a, b, late)
	eventually(t, "the map is filled again", func() bool { return server.CLI("HLEN", "iprep:v1:{bans}:notes") == fmt.Sprint(len(want)+1) })
}

// TestALostMessage proves that what no message was sent of is found all the same.
func TestALostMessage(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	server.ACL("deaf", "s3cret", "+@all", "-subscribe", "~*", "&*")
	var log logtest.Log
	c := open(t, Options{
		Addresses: []string{server.Addr}, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Credentials: func() (string, string, error) { return "deaf", "s3cret", nil },
	})
	awaitUp(t, c, true)
	deaf, other := follow(t, c), follow(t, connect(t, server.Addr))
	eventually(t, "it is said", func() bool { return strings.Contains(c.Status().Deaf, "NOPERM") })
	if n := strings.Count(log.String(), "heard of late"); n != 1 {
		t.Errorf("the log says it %d times:\n%s", n, log.String())
	}
	other.set(entry("x", 1, "unheard"))
	agree(t, map[string]string{"x": `1 "unheard"`}, deaf, other)
	server.CLI("ACL", "SETUSER", "deaf", "+subscribe")
	eventually(t, "it listens again", func() bool { return c.Status().Deaf == "" })
}

// TestMany proves that a long map is read and written in parts, and that what is over is deleted.
func TestMany(t *testing.T) {
	t.Parallel()
	const many = 5000
	server := testenv.Redis(t)
	c := connect(t, server.Addr)
	var entries []replica.Entry
	want := map[string]string{}
	for i := range many {
		e := entry(fmt.Sprint("ban 203.0.113.", i), int64(i+1), "scanning")
		entries = append(entries, e)
		want[e.Name] = fmt.Sprint(e.Version, " ", string(e.Value))
	}
	a := follow(t, c, entries...)
	b := follow(t, c)
	agree(t, want, b)
	if n, m := a.merged(), b.merged(); n > many/10 || m > many/10 {
		t.Errorf("%d entries took %d and %d merges", many, n, m)
	}
	over := entry("over", 1, "soon")
	over.Expires = time.Now().Add(time.Second)
	a.set(over)
	want["over"] = `1 "soon"`
	agree(t, want, b)
	eventually(t, "it is over", func() bool { return time.Now().After(over.Expires) })
	follow(t, c)
	eventually(t, "what is over is deleted", func() bool { return server.CLI("HEXISTS", "iprep:v1:{bans}:notes", "over") == "0" })
}

// TestForeignEntries proves that what somebody else writes to the map or the channel does no harm.
func TestForeignEntries(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	server.CLI("HSET", "iprep:v1:{bans}:notes", "x", "no JSON", "y", "[]", "z", `{"version":"a"}`, "w", "null")
	server.CLI("HSET", "iprep:v1:{bans}:notes", "#", "7")
	c := connect(t, server.Addr)
	a := follow(t, c)
	eventually(t, "it listens", func() bool { return strings.HasSuffix(server.CLI("PUBSUB", "NUMSUB", "iprep:v1:bans"), "1") })
	for _, payload := range []string{"", "null", "{}", `{"revision":"x"}`, `{"revision":"99","name":"v","note":"{"}`} {
		server.CLI("PUBLISH", "iprep:v1:bans", payload)
	}
	follow(t, c, entry("x", 1, "ours"), entry("y", 1, "ours"), entry("z", 1, "ours"), entry("w", 1, "ours"))
	a.set(entry("v", 1, "ours"))
	eventually(t, "our own entries take their places", func() bool {
		got := a.knows()
		for _, name := range []string{"v", "w", "x", "y", "z"} {
			if got[name] != `1 "ours"` {
				return false
			}
		}
		return true
	})
}

// TestDatabasesAreApart proves that two fleets which share a server, each in its own database, do not obey each other: channels
// are the server's.
func TestDatabasesAreApart(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	other := open(t, Options{Addresses: []string{server.Addr}, Database: 3})
	awaitUp(t, other, true)
	production, staging := follow(t, connect(t, server.Addr)), follow(t, other)
	eventually(t, "both listen", func() bool { return len(strings.Fields(server.CLI("PUBSUB", "CHANNELS"))) == 2 })
	production.set(entry("x", 1, "ours"))
	eventually(t, "it is posted", func() bool { return server.CLI("HEXISTS", "iprep:v1:{bans}:notes", "x") == "1" })
	staging.set(entry("y", 1, "theirs"))
	eventually(t, "it is posted, too", func() bool { return server.CLI("-n", "3", "HEXISTS", "iprep:v1:{bans}:notes", "y") == "1" })
	agree(t, map[string]string{"x": `1 "ours"`}, production)
	agree(t, map[string]string{"y": `1 "theirs"`}, staging)
}

// TestABrokenClock proves that an entry of an instance whose clock is far ahead does not hold for ever.
func TestABrokenClock(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	c := connect(t, server.Addr)
	a := follow(t, c, entry("x", time.Now().Add(48*time.Hour).UnixMilli(), "of tomorrow"))
	a.set(entry("y", time.Now().Add(time.Hour).UnixMilli(), "ahead by an hour"))
	eventually(t, "the other entry is posted", func() bool { return server.CLI("HEXISTS", "iprep:v1:{bans}:notes", "y") == "1" })
	if server.CLI("HEXISTS", "iprep:v1:{bans}:notes", "x") == "1" {
		t.Error("an entry of tomorrow is in the map")
	}
}

// FuzzEntry proves that whatever stands in a map is read without panic, and that what is written is read back.
func FuzzEntry(f *testing.F) {
	for _, s := range []string{`{"version":5,"value":{"kind":"ban"}}`, `{"version":5,"expires":"2026-11-24T13:00:00Z","value":1}`, `null`, `[]`, ``} {
		f.Add("ban 203.0.113.0/24", s)
	}
	f.Fuzz(func(t *testing.T, name, text string) {
		n, err := read(name, text)
		if err != nil {
			return
		}
		again, err := write(n)
		if err != nil {
			return
		}
		if m, err := read(name, again); err != nil || m.Version != n.Version || !m.Expires.Equal(n.Expires) {
			t.Errorf("%q is read as %+v and then as %+v, %v", text, n, m, err)
		}
	})
}

// TestEqualVersions proves that two instances which hold different entries of the same version come to hold the larger
// one, whichever of them is there first.
func TestEqualVersions(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	for name, values := range map[string][2]string{ // the smaller one first
		"letters":   {"a", "b"},
		"length":    {"", "x"},
		"markup":    {"<", "="}, // larger when it is escaped
		"case":      {"Z", "a"},
		"beyond":    {"z", "\u00e4"},
		"emphasis":  {"a & b", "a . b"},
		"expires":   {"a", "b"}, // of which only the larger one expires
		"expires 2": {"a", "b"}, // of which only the smaller one expires
	} {
		for _, largerFirst := range []bool{false, true} {
			t.Run(fmt.Sprint(name, largerFirst), func(t *testing.T) {
				t.Parallel()
				c := connect(t, server.Addr)
				name := fmt.Sprint("x ", name, largerFirst)
				small, large := entry(name, 7, values[0]), entry(name, 7, values[1])
				switch {
				case strings.HasPrefix(name, "x expires 2"):
					small.Expires = time.Now().Add(time.Hour)
				case strings.HasPrefix(name, "x expires"):
					large.Expires = time.Now().Add(time.Hour)
				}
				first, second := small, large
				if largerFirst {
					first, second = large, small
				}
				a := followMap(t, c, name, first)
				eventually(t, "it is posted", func() bool { return server.CLI("HEXISTS", "iprep:v1:{"+name+"}:notes", name) == "1" })
				b := followMap(t, c, name, second)
				want := map[string]string{name: fmt.Sprint("7 ", string(large.Value))}
				agree(t, want, a, b)
				late := followMap(t, c, name)
				agree(t, want, late)
			})
		}
	}
}

// TestTwoFollowers proves that followers of the same instance, as during a reload, do not take its changes from each
// other: here each has a server of its own.
func TestTwoFollowers(t *testing.T) {
	t.Parallel()
	before, after := testenv.Redis(t), testenv.Redis(t)
	m := follow(t, connect(t, before.Addr))
	var second sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	c := connect(t, after.Addr)
	second.Go(func() { c.Follow(ctx, m.name, m) })
	defer second.Wait()
	defer cancel()
	others := []*member{follow(t, connect(t, before.Addr)), follow(t, connect(t, after.Addr))}
	want := map[string]string{}
	for i := range 20 {
		e := entry(fmt.Sprint("x", i), 1, "of a reload")
		m.set(e)
		want[e.Name] = `1 "of a reload"`
		agree(t, want, others...)
	}
}

// TestBounds proves that entries which are too large, too many or of tomorrow are ignored, which is logged once, and do
// not keep others of their name out of Redis.
func TestBounds(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	const key = "iprep:v1:{bans}:notes"
	text := func(version int64, value string) string {
		return fmt.Sprintf(`{"version":%d,"value":%q}`, version, value)
	}
	server.CLI("HSET", key, "long", text(5, strings.Repeat("x", replica.MaxValue)))
	server.CLI("HSET", key, "longer", text(5, strings.Repeat("x", 10*replica.MaxValue)))
	server.CLI("HSET", key, strings.Repeat("n", replica.MaxName+1), text(5, "a long name"))
	server.CLI("HSET", key, "tomorrow", text(time.Now().Add(48*time.Hour).UnixMilli(), "far ahead"))
	server.CLI("HSET", key, "good", text(5, "good"))
	var log logtest.Log
	c := open(t, Options{Addresses: []string{server.Addr}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	awaitUp(t, c, true)
	a := follow(t, c, entry("longer", 4, "ours"), entry("tomorrow", 4, "ours"))
	want := map[string]string{"good": `5 "good"`, "longer": `4 "ours"`, "tomorrow": `4 "ours"`}
	agree(t, want, a)
	eventually(t, "ours take the places", func() bool {
		return server.CLI("HGET", key, "longer") == text(4, "ours") && server.CLI("HGET", key, "tomorrow") == text(4, "ours")
	})
	agree(t, want, a, follow(t, connect(t, server.Addr)))
	if n := strings.Count(log.String(), "entries in redis are ignored"); n != 1 {
		t.Errorf("the log has it %d times:\n%s", n, log.String())
	}

	log.Take()
	for i := range 1000 { // fewer would be one page, and are one step for the server
		server.CLI("HSET", key, fmt.Sprint("many", i), text(1, strings.Repeat("many", 20)))
	}
	few := open(t, Options{Addresses: []string{server.Addr}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	few.maxEntries = 10
	awaitUp(t, few, true)
	b := follow(t, few)
	eventually(t, "some are known", func() bool { return len(b.knows()) >= 10 })
	eventually(t, "it is logged", func() bool { return strings.Contains(log.String(), "there are more than 10") })
	if n := len(b.knows()); n > 10+2*atOnce {
		t.Errorf("%d entries are known", n)
	}
}

// TestFormats proves that what stood in Redis before there was package replica is read, and that what is written now can
// be read by older instances: the same members, in the same order.
func TestFormats(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		entry      replica.Entry
	}{
		{
			name:  "ban 203.0.113.0/24",
			text:  `{"version":1767268800000,"expires":"2026-01-01T15:00:00Z","value":{"prefix":"203.0.113.0/24","kind":"ban","reason":"test","created":"2026-01-01T10:00:00Z","expires":"2026-01-01T15:00:00Z","version":1767268800000,"removed":true}}`,
			entry: replica.Entry{Version: 1767268800000, Expires: time.Date(2026, 1, 1, 15, 0, 0, 0, time.UTC), Value: []byte(`{"prefix":"203.0.113.0/24","kind":"ban","reason":"test","created":"2026-01-01T10:00:00Z","expires":"2026-01-01T15:00:00Z","version":1767268800000,"removed":true}`)},
		},
		{
			name:  "exemption 2001:db8::/64",
			text:  `{"version":1767265200000,"value":{"prefix":"2001:db8::/64","kind":"exemption","created":"2026-01-01T11:00:00Z","version":1767265200000}}`,
			entry: replica.Entry{Version: 1767265200000, Value: []byte(`{"prefix":"2001:db8::/64","kind":"exemption","created":"2026-01-01T11:00:00Z","version":1767265200000}`)},
		},
		{
			name:  "203.0.113.7/32",
			text:  `{"version":1767268800123,"expires":"2026-01-02T12:00:00Z","value":{"subject":"203.0.113.7/32","forgotten":"2026-01-01T12:00:00Z","version":1767268800123}}`,
			entry: replica.Entry{Version: 1767268800123, Expires: time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC), Value: []byte(`{"subject":"203.0.113.7/32","forgotten":"2026-01-01T12:00:00Z","version":1767268800123}`)},
		},
		{ // older instances escape what HTML cares about
			name:  "markup",
			text:  `{"version":5,"value":{"reason":"\u003coffice\u003e \u0026 home"}}`,
			entry: replica.Entry{Version: 5, Value: []byte(`{"reason":"\u003coffice\u003e \u0026 home"}`)},
		},
		{
			name:  "unescaped",
			text:  `{"version":5,"value":{"reason":"<office> & home"}}`,
			entry: replica.Entry{Version: 5, Value: []byte(`{"reason":"<office> & home"}`)},
		},
	} {
		tc.entry.Name = tc.name
		got, err := read(tc.name, tc.text)
		if diff := cmp.Diff(tc.entry, got); diff != "" || err != nil {
			t.Errorf("%s: %v, %s", tc.name, err, diff)
		}
		if text, err := write(got); err != nil || text != tc.text {
			t.Errorf("%s: written as %s, %v", tc.name, text, err)
		}
	}
}
