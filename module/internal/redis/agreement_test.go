package redis

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

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
	if n := len(b.knows()); n > 10+2*maxBatch {
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
