package recorder

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// offender returns an address in 203.0.113.0/24.
func offender(low byte) netip.Addr { return netip.AddrFrom4([4]byte{203, 0, 113, low}) }

// violation returns a violation as the runtime records it.
func violation(name string, points float64) history.Incident {
	return history.Incident{
		First: start, Host: "App.example.com:443", Kind: history.KindViolation, Name: name, Points: points,
		RequestID: "0af7651916cd43dd8448eb211c80319c", Config: "1f8a",
	}
}

// incidents returns what is stored, as one window.
func (s *shelf) incidents() []history.Incident {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &window{}
	for _, b := range s.all {
		for i := range b.Incidents {
			w.addIncident(&b.Incidents[i])
		}
	}
	return w.incidents
}

// incident records incidents of an address, and lets the collector take them.
func (k *rig) incident(addr netip.Addr, list ...history.Incident) {
	for _, i := range list {
		k.RecordIncident(addr, i)
	}
	k.collector.take(false)
}

// TestIncidents holds that equal incidents of a minute are one row, and what of them is stored.
func TestIncidents(t *testing.T) {
	k := newRig(t, Options{Dir: t.TempDir()})
	k.incident(offender(7), violation("login_failed", 3))
	k.flush()
	again := violation("login_failed", 6)
	again.First, again.RequestID = start.Add(time.Second), "another"
	k.incident(offender(7), again, history.Incident{First: start, Kind: history.KindBan, Name: "violation trap", Seconds: 900, Host: "a"})
	k.flush()
	k.incident(offender(8), violation("login_failed", 3),
		history.Incident{First: start, Kind: history.KindReport, Name: "abuseipdb", Categories: []string{"bruteforce"}, Result: "accepted"})
	k.incident(netip.Addr{}, violation("login_failed", 3)) // nobody
	k.record(request(7))
	k.seal()

	var s shelf
	if err := k.sendAll(&s); err != nil {
		t.Fatal(err)
	}
	k.check(t, 6)
	minute := start.Truncate(time.Minute)
	want := []history.Incident{
		{
			Minute: minute, Address: netip.MustParsePrefix("203.0.113.7/32"), Host: "app.example.com", Kind: history.KindViolation, Name: "login_failed",
			Count: 2, Points: 6, First: start, Last: start.Add(time.Second), RequestID: "0af7651916cd43dd8448eb211c80319c", Config: "1f8a",
		},
		{
			Minute: minute, Address: netip.MustParsePrefix("203.0.113.7/32"), Host: "a", Kind: history.KindBan, Name: "violation trap",
			Count: 1, Seconds: 900, First: start, Last: start,
		},
		{
			Minute: minute, Address: netip.MustParsePrefix("203.0.113.8/32"), Host: "app.example.com", Kind: history.KindViolation, Name: "login_failed",
			Count: 1, Points: 3, First: start, Last: start, RequestID: "0af7651916cd43dd8448eb211c80319c", Config: "1f8a",
		},
		{
			Minute: minute, Address: netip.MustParsePrefix("203.0.113.8/32"), Kind: history.KindReport, Name: "abuseipdb",
			Count: 1, Categories: []string{"bruteforce"}, Result: "accepted", First: start, Last: start,
		},
	}
	if diff := cmp.Diff(want, s.incidents(), prefixes); diff != "" {
		t.Error(diff)
	}
	if n := len(s.merged().decisions); n != 1 {
		t.Errorf("%d decisions, want 1", n)
	}
}

// TestIncidentsSurviveAKill holds that what was flushed is adopted from the journal, and counted once.
func TestIncidentsSurviveAKill(t *testing.T) {
	dir := t.TempDir()
	k := newRig(t, Options{Dir: dir})
	k.incident(offender(7), violation("trap", 60))
	k.flush()
	k.incident(offender(7), violation("trap", 60), violation("trap", 60))
	k.flush()
	k.die()
	age(t, dir, time.Hour)

	next := newRig(t, Options{Dir: dir})
	next.spool.scan()
	var s shelf
	if err := next.sendAll(&s); err != nil {
		t.Fatal(err)
	}
	if got := s.incidents(); len(got) != 1 || got[0].Count != 3 || got[0].Points != 60 {
		t.Errorf("stored is %+v", got)
	}
	next.die()
}

// TestAnEarlierVersionLeavesIncidents holds that a file is of an earlier version until there is an incident in it.
func TestAnEarlierVersionLeavesIncidents(t *testing.T) {
	k := newRig(t, Options{Dir: t.TempDir()})
	versions := func() (list []int) {
		text, err := os.ReadFile(k.collector.journal.path)
		if err != nil {
			t.Fatal(err)
		}
		for l := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n") {
			if l, ok := parseLine([]byte(l)); ok && l.Header != nil {
				list = append(list, l.Header.Version)
			}
		}
		return list
	}
	k.record(request(7))
	k.flush()
	if got := versions(); !cmp.Equal(got, []int{journalVersion}) {
		t.Errorf("without incidents, a journal is of versions %v", got)
	}
	for range 2 {
		k.incident(offender(7), violation("trap", 60))
		k.flush()
	}
	if got := versions(); !cmp.Equal(got, []int{journalVersion, incidentVersion}) {
		t.Errorf("with incidents, a journal is of versions %v", got)
	}
	k.die()

	for _, tc := range []struct {
		batch history.Batch
		want  int
	}{
		{history.Batch{}, formatVersion},
		{history.Batch{Incidents: []history.Incident{violation("trap", 60)}}, incidentVersion},
	} {
		var text bytes.Buffer
		if err := writeBatch(&text, &tc.batch); err != nil {
			t.Fatal(err)
		}
		if h, err := readHeader(&text); err != nil || h.Version != tc.want {
			t.Errorf("a batch of %d incidents is of version %d, %v", len(tc.batch.Incidents), h.Version, err)
		}
	}
}

// TestFormatOfIncidents holds the format.
func TestFormatOfIncidents(t *testing.T) {
	i := history.Incident{
		Minute: start.Truncate(time.Minute), Address: netip.MustParsePrefix("203.0.113.7/32"), Host: "a.example.com", Kind: history.KindViolation,
		Name: "trap", Count: 2, Points: 60, First: start, Last: start, RequestID: "0af7", Config: "1f8a",
	}
	want := `{"incident":{"minute":"2026-11-24T17:16:00Z","address":"203.0.113.7/32","host":"a.example.com","kind":"violation","name":"trap",` +
		`"count":2,"points":60,"first":"2026-11-24T17:16:23Z","last":"2026-11-24T17:16:23Z","request_id":"0af7","config":"1f8a"}}` + "\n"
	text := appendLine(nil, line{Incident: &i})
	if string(text[sumSize:]) != want {
		t.Errorf("it is written as\n%s", text)
	}
	for _, change := range []func(*history.Incident){
		func(i *history.Incident) { i.Kind = "theft" },
		func(i *history.Incident) { i.Address = netip.Prefix{} },
		func(i *history.Incident) { i.Count = 0 },
		func(i *history.Incident) { i.Points = -1 },
		func(i *history.Incident) { i.Seconds = -1 },
		func(i *history.Incident) { i.Categories = make([]string, maxNamed+1) },
		func(i *history.Incident) { i.Last = time.Date(12345, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		wrong := i
		change(&wrong)
		if validIncident(&wrong) {
			t.Errorf("it is valid: %+v", wrong)
		}
	}
}

// TestIncidentsAreBounded holds that neither a network nor many hosts nor many clients make unlimited rows, and that
// nothing waits when nobody takes them.
func TestIncidentsAreBounded(t *testing.T) {
	t.Run("network", func(t *testing.T) {
		k := newRig(t, Options{})
		k.collector.fold.subjects = newDistinct(maxSubjects)
		for low := range 200 {
			k.incident(offender(byte(low)), violation("trap", 60))
		}
		k.seal()
		var s shelf
		if err := k.sendAll(&s); err != nil {
			t.Fatal(err)
		}
		total, wide := int64(0), int64(0)
		for _, i := range s.incidents() {
			if total += i.Count; i.Address == netip.MustParsePrefix("203.0.113.0/24") {
				wide = i.Count
			}
		}
		if n := len(s.incidents()); n != maxSubjects+1 || total != 200 || wide != 200-maxSubjects {
			t.Errorf("%d rows of %d incidents, %d of them of the network", n, total, wide)
		}
	})
	t.Run("rows and hosts", func(t *testing.T) {
		k := newRig(t, Options{})
		k.Use(Settings{Rows: 10})
		for n := range 500 {
			i := violation("trap", 60)
			i.Host = fmt.Sprintf("%d.example.com", n)
			k.incident(netip.AddrFrom4([4]byte{198, 51, byte(n % 50), 1}), i)
		}
		if n := len(k.collector.ledger.incidents); n > 10+maxHosts+1 {
			t.Errorf("%d rows", n)
		}
		k.check(t, 500)
	})
	t.Run("queue", func(t *testing.T) {
		k := newRig(t, Options{})
		for range maxIncidents + 5 {
			k.RecordIncident(offender(7), violation("trap", 60))
		}
		if c := k.Counts(); c.Dropped[DropQueue] != 5 || c.Waiting != maxIncidents {
			t.Errorf("%+v", c)
		}
		k.collector.take(false)
		k.check(t, maxIncidents+5)
	})
}

// TestIncidentsWithoutAKey holds that an address that privacy cannot hide yet is not stored.
func TestIncidentsWithoutAKey(t *testing.T) {
	k := newRig(t, Options{})
	k.Use(Settings{Stored: func(netip.Addr) (netip.Prefix, bool) { return netip.Prefix{}, false }})
	k.incident(offender(7), violation("trap", 60))
	if c := k.Counts(); c.Dropped[DropHidden] != 1 || k.collector.ledger.rows() != 0 {
		t.Errorf("%+v", c)
	}
	k.Use(Settings{Stored: func(a netip.Addr) (netip.Prefix, bool) { return reputation.Network(a), true }})
	k.incident(offender(7), violation("trap", 60))
	if got := k.collector.ledger.incidents; len(got) != 1 || got[0].Address.String() != "203.0.113.0/24" {
		t.Errorf("stored is %+v", got)
	}
}

// TestIncidentsAreNotLost holds that all is stored after the store has failed, after the journal was deleted, and when
// the Recorder is closed.
func TestIncidentsAreNotLost(t *testing.T) {
	var s shelf
	s.answers(func(*history.Batch) error { return errors.New("the connection broke") })
	k := newRig(t, Options{Dir: t.TempDir()})
	k.Use(Settings{Store: &s})
	k.incident(offender(7), violation("trap", 60))
	k.flush()
	if err := os.Remove(k.collector.journal.path); err != nil {
		t.Fatal(err)
	}
	k.incident(offender(7), violation("trap", 60))
	k.flush() // notices, and writes everything again
	k.seal()
	if err := k.sendAll(&s); err == nil {
		t.Fatal("the store has not failed")
	}
	s.answers(nil)
	if err := k.sendAll(&s); err != nil {
		t.Fatal(err)
	}
	k.RecordIncident(offender(7), violation("trap", 60))
	k.Start()
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	k.RecordIncident(offender(7), violation("trap", 60)) // too late
	k.check(t, 4)
	if got := s.incidents(); len(got) != 1 || got[0].Count != 3 {
		t.Errorf("stored is %+v", got)
	}
}

// TestTheRestHasUnsavedIncidents holds what a ledger hands on if another process has adopted its journal.
func TestTheRestHasUnsavedIncidents(t *testing.T) {
	var l ledger
	trap, spam := violation("trap", 60), violation("spam", 15)
	clean(&trap)
	clean(&spam)
	l.addIncident(&trap)
	l.addIncident(&spam)
	l.setSaved()
	l.addIncident(&trap)
	l.addIncident(&trap)
	r := l.rest()
	if len(r.incidents) != 1 || r.incidents[0].Name != "trap" || r.incidents[0].Count != 2 || r.unsaved() != 2 {
		t.Errorf("the rest has %+v, %d of it unsaved", r.incidents, r.unsaved())
	}
	if l.setSaved(); len(l.rest().incidents) != 0 {
		t.Error("what was saved is handed on")
	}
	if l.setUnsaved(); len(l.rest().incidents) != 2 {
		t.Errorf("%+v", l.rest().incidents)
	}
}

func TestRecordingAnIncidentAllocatesNothing(t *testing.T) {
	k := newRig(t, Options{})
	i := violation("trap", 60)
	if n := testing.AllocsPerRun(100, func() { k.RecordIncident(offender(7), i) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
