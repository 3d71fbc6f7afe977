package recorder

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// neighbour returns an event of the n-th /64 of 2001:db8:1::/48.
func neighbour(n int) history.Event {
	e := request(0)
	e.Address = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 1, byte(n >> 8), byte(n), 15: byte(n)})
	return e
}

// stored records events, and returns how many requests and rows there are of each prefix.
func stored(t *testing.T, k *rig, events ...history.Event) (requests, rows map[string]int64) {
	t.Helper()
	k.record(events...)
	k.seal()
	store := &shelf{}
	if err := k.sendAll(store); err != nil {
		t.Fatal(err)
	}
	requests, rows = map[string]int64{}, map[string]int64{}
	for _, b := range store.all {
		for _, d := range b.Decisions {
			requests[d.Address.String()] += d.Count
			rows[d.Address.String()]++
		}
	}
	return requests, rows
}

// TestOneRowSpeaksForANetwork holds that whoever has a /48 or a /24 makes no more rows in a minute than a few dozen clients,
// whatever the batches, hosts and verdicts; that no request is missing; and that each minute begins anew.
func TestOneRowSpeaksForANetwork(t *testing.T) {
	v4 := func(n int) history.Event { return request(byte(n)) }
	for name, tc := range map[string]struct {
		event   func(int) history.Event
		clients int
		network string
	}{
		"a /48": {neighbour, 5000, "2001:db8:1::/48"},
		"a /24": {v4, 256, "203.0.113.0/24"},
	} {
		t.Run(name, func(t *testing.T) {
			k := newRig(t, Options{})
			k.collector.fold.subjects.most = maxSubjects
			var events []history.Event
			for n := range tc.clients {
				e := tc.event(n)
				e.Host = fmt.Sprint(n % 100)
				events = append(events, e)
			}
			requests, rows := stored(t, k, events...)
			if len(requests) != maxSubjects+1 || rows[tc.network] != maxHosts+1 || requests[tc.network] != int64(tc.clients-maxSubjects) {
				t.Errorf("%d prefixes, %d rows and %d requests of the network", len(requests), rows[tc.network], requests[tc.network])
			}
			if c := k.Counts(); c.Folded != int64(tc.clients-maxSubjects) || c.Written != int64(tc.clients) {
				t.Errorf("%+v are counted", c)
			}
			later := tc.event(tc.clients - 1)
			later.At = later.At.Add(time.Minute)
			if requests, _ := stored(t, k, later); len(requests) != 1 || requests[tc.network] != 0 {
				t.Errorf("in the next minute there are %v", requests)
			}
		})
	}
}

// TestVerdictsOfANetwork holds that a network of listed clients that rotate records no more verdicts than rows.
func TestVerdictsOfANetwork(t *testing.T) {
	k, store := newRig(t, Options{}), &shelf{}
	k.collector.fold.subjects.most = maxSubjects
	for n := range 2000 {
		e := neighbour(n)
		e.Verdict = scored(1, 90, "deny").Verdict
		k.record(e)
	}
	k.seal()
	if err := k.sendAll(store); err != nil {
		t.Fatal(err)
	}
	of := map[string]int{}
	for _, c := range store.merged().changes {
		of[c.Subject.String()]++
	}
	if len(of) != maxSubjects+1 || of["2001:db8:1::/48"] != 1 {
		t.Errorf("%d subjects have verdicts, the network %d", len(of), of["2001:db8:1::/48"])
	}
}

// TestRowsHaveALimit holds that beyond the limit everybody is counted in rows of all, that those who pass without a score go
// first, that no request is missing, and that it is said.
func TestRowsHaveALimit(t *testing.T) {
	k := newRig(t, Options{})
	k.Use(Settings{Rows: 1000})
	var events []history.Event
	for n := range 3000 {
		pass := numbered(n)
		pass.Action = reputation.Pass
		events = append(events, pass)
	}
	for n := range 3000 {
		events = append(events, numbered(10_000+n)) // blocked
	}
	listed := numbered(50_000)
	listed.Verdict = scored(1, 90, "deny").Verdict
	requests, rows := stored(t, k, append(events, listed)...)
	if len(requests) > 1001 || len(requests) < 990 || requests["::/0"] < 4990 || rows["::/0"] > 4 {
		t.Errorf("%d prefixes, %d requests of all in %d rows", len(requests), requests["::/0"], rows["::/0"])
	}
	passed := 0
	for prefix := range requests {
		p := netip.MustParsePrefix(prefix)
		if n := numberOf(p); p.Bits() > 0 && n < 10_000 {
			passed++
		}
	}
	if passed != 500 {
		t.Errorf("%d clients that passed have rows, want half of the limit", passed)
	}
	if c := k.Counts(); c.Written != 6001 || c.Folded != requests["::/0"] {
		t.Errorf("%+v are counted", c)
	}
	if log := k.log.String(); strings.Count(log, "level=WARN") != 1 || !strings.Contains(log, "the history counts further clients of this minute together") {
		t.Errorf("the log is:\n%s", log)
	}
	listed.At = listed.At.Add(time.Minute) // its verdict waited for room
	k.record(listed)
	if len(k.collector.ledger.changes) != 1 {
		t.Errorf("of the next minute the verdicts are %v", k.collector.ledger.changes)
	}
}

// TestWidened holds what speaks for a network, whatever privacy makes of addresses.
func TestWidened(t *testing.T) {
	for _, tc := range []struct{ stored, subject, want string }{
		{"203.0.113.7/32", "203.0.113.7/32", "203.0.113.0/24"},
		{"203.0.113.0/24", "203.0.113.7/32", "203.0.113.0/24"},
		{"203.0.0.0/16", "203.0.113.7/32", "203.0.0.0/16"},
		{"2001:db8:1:2::/64", "2001:db8:1:2::/64", "2001:db8:1::/48"},
		{"2001:db8::/32", "2001:db8:1:2::/64", "2001:db8::/32"},
		{"100::1:2:3:4/128", "2001:db8:1:2::/64", "100::/64"},
		{"100::1:2:3:4/128", "203.0.113.7/32", "100::/64"},
	} {
		if got := widened(netip.MustParsePrefix(tc.stored), netip.MustParsePrefix(tc.subject)); got.String() != tc.want {
			t.Errorf("%s of %s becomes %s, want %s", tc.stored, tc.subject, got, tc.want)
		}
	}
}

// TestVerdictsAreRecordedOnceAMinute holds that subjects which cycle, more than the table has places for, are recorded once
// a minute each at most, and that their number is bounded by the table.
func TestVerdictsAreRecordedOnceAMinute(t *testing.T) {
	const places, subjects = 800, 3000
	v := newVerdicts(places)
	verdict := scored(1, 90, "deny").Verdict
	for minute := range int64(3) {
		recorded := map[int]int{}
		for range 5 {
			for n := range subjects {
				if v.changed(reputation.Subject(numbered(n).Address), &verdict, 1, minute) {
					recorded[n]++
				}
			}
		}
		if len(recorded) > places {
			t.Errorf("%d subjects are recorded in a minute", len(recorded))
		}
		for n, times := range recorded {
			if times > 1 {
				t.Fatalf("subject %d is recorded %d times in a minute", n, times)
			}
		}
	}
}

// TestAChangeWaitsForTheNextMinute holds that a verdict which changes back and forth is recorded once a minute, and that
// what it is in the end is not forgotten.
func TestAChangeWaitsForTheNextMinute(t *testing.T) {
	k := newRig(t, Options{})
	for n := range 20 {
		e := scored(7, uint8(20+60*(n%2)), "deny")
		k.record(e)
	}
	if got := k.collector.ledger.changes; len(got) != 1 || got[0].Score != 20 {
		t.Errorf("the verdicts are %v", got)
	}
	e := scored(7, 80, "deny")
	e.At = e.At.Add(time.Minute)
	k.record(e, e)
	if got := k.collector.ledger.changes; len(got) != 2 || got[1].Score != 80 {
		t.Errorf("in the next minute the verdicts are %v", got)
	}
}
