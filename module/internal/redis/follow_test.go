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
