package recorder

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// TestUnsaved holds that a request is unsaved from its coming until it is in the journal, while the collector takes it, too.
func TestUnsaved(t *testing.T) {
	k, want := newRig(t, Options{Dir: t.TempDir()}), int64(0)
	k.Use(Settings{Stored: func(addr netip.Addr) (netip.Prefix, bool) {
		if got := k.Status().Unsaved; got != want {
			t.Errorf("%d requests are unsaved while they are taken, want %d", got, want)
		}
		return storedSubject(addr)
	}})
	for first := range byte(3) {
		for n := range byte(20) {
			k.Record(request(20*first + n))
		}
		want = 20
		k.flush()
		if got := k.Status().Unsaved; got != 0 {
			t.Errorf("%d requests are unsaved after they were written", got)
		}
	}
}

// TestUnsavedWithoutAFolder holds that nothing is saved where there is no folder.
func TestUnsavedWithoutAFolder(t *testing.T) {
	k := newRig(t, Options{})
	k.Record(request(1))
	for what, do := range map[string]func(){"flush": k.flush, "seal": k.seal} {
		if do(); k.Status().Unsaved != 1 {
			t.Errorf("after a %s, %+v", what, k.Status())
		}
	}
}

// TestACrowdDelaysNoJournal holds that a request is in the journal in time, however often the collector empties full stripes.
func TestACrowdDelaysNoJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		k := newRig(t, Options{Dir: dir})
		k.Start()
		for n := range byte(4) {
			k.Record(request(n))
			signal(k.stripes.crowded)
			time.Sleep(100 * time.Millisecond)
		}
		if len(names(t, dir, journalSuffix)) != 1 {
			t.Error("nothing is in the journal after 400 ms")
		}
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
}
