package recorder

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const room = numStripes * stripeRows

// TestHalfOfTheRoomIsFree holds that new clients find room while the collector writes what it took, however many clients the
// stripes know.
func TestHalfOfTheRoomIsFree(t *testing.T) {
	for _, known := range []int{0, room / 4, room / 2, numStripes * (crowdedRows - 100), room} {
		k := newRig(t, Options{})
		k.collector.take(false)
		for n := range known {
			k.Record(numbered(n))
		}
		k.collector.take(false)
		for n := range room / 2 {
			k.Record(numbered(known + n))
		}
		if c := k.Counts(); c.Dropped[DropQueue] != 0 {
			t.Errorf("after %d clients, %d of %d new ones are dropped", known, c.Dropped[DropQueue], room/2)
		}
		k.check(t, int64(known+room/2))
	}
}

// TestDropsAreLoggedSoon holds that the operator reads of dropped requests before a kill a few seconds later hides them.
func TestDropsAreLoggedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newRig(t, Options{Dir: t.TempDir()})
		for n := range 2 * room {
			k.Record(numbered(n))
		}
		k.Start()
		time.Sleep(time.Second)
		if log := k.log.String(); !strings.Contains(log, "requests are missing in the history") {
			t.Errorf("the log is:\n%s", log)
		}
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestAPanicMixesNoRows holds that after a panic of the collector, requests are counted in their own rows.
func TestAPanicMixesNoRows(t *testing.T) {
	k, broken := newRig(t, Options{}), true
	k.Use(Settings{Stored: func(addr netip.Addr) (netip.Prefix, bool) {
		if broken {
			broken = false
			panic("once")
		}
		return storedSubject(addr)
	}})
	for n := range byte(200) {
		k.Record(request(n))
		if n == 99 && !k.recovered("collecting", func() { k.collector.take(false) }) {
			t.Fatal("no panic")
		}
	}
	k.collector.take(false)
	lost := k.Counts().Dropped[DropQueue]
	if rows := k.collector.ledger.decisions; lost != 1 || len(rows) != 199 {
		t.Errorf("%d requests are lost, and the others have %d rows", lost, len(rows))
	}
	for _, d := range k.collector.ledger.decisions {
		if d.Count != 1 {
			t.Errorf("%s has %d requests", d.Address, d.Count)
		}
	}
}
