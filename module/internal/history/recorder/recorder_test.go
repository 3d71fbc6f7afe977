package recorder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// hasty is a pace at which much happens in a test. Any journal that is not locked is taken for an orphan: the times of files are
// not those of a bubble.
var hasty = timing{
	flush: 5 * time.Millisecond, seal: 50 * time.Millisecond, sealRows: 2500, subjects: 0, scan: 100 * time.Millisecond,
	orphanAge: math.MinInt64, retryFirst: time.Millisecond, retryMax: 20 * time.Millisecond, writeTimeout: time.Second,
}

// numbered returns an event of the address with a number.
func numbered(n int) history.Event {
	e := request(0)
	e.Address = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
	return e
}

// TestMillion sends a million requests, from four sides at once, through a store that fails, or says so after storing.
func TestMillion(t *testing.T) {
	const producers, each, addresses = 4, 250_000, 250
	synctest.Test(t, func(t *testing.T) {
		dir, log := t.TempDir(), logtest.Log{}
		store := &shelf{}
		store.answers(func(b *history.Batch) error {
			switch store.calls % 4 {
			case 0:
				return history.ErrUnavailable
			case 1:
				store.put(b)
				return errors.New("the connection broke")
			}
			return nil
		})
		r := Open(Options{Dir: dir, Logger: log.Logger(), timing: hasty, files: files{replace: replaceFast}})
		r.Use(Settings{Store: store, Rows: 1 << 30})
		r.Start()
		want := make(map[netip.Prefix]int64)
		var group sync.WaitGroup
		for p := range producers {
			group.Go(func() {
				for i := range each {
					if i%1000 == 0 {
						time.Sleep(time.Millisecond)
					}
					e := numbered((i*producers + p) % addresses)
					e.Action = reputation.Action(rand.IntN(reputation.NumActions))
					e.At = e.At.Add(time.Duration(i/5000) * time.Minute)
					r.Record(e)
				}
			})
		}
		for n := range addresses {
			want[reputation.Subject(numbered(n).Address)] = producers * each / addresses
		}
		group.Wait()
		for r.Counts().Waiting > 0 {
			time.Sleep(10 * time.Millisecond)
		}
		c := r.Counts()
		if err := r.Close(); err != nil || c.Written != producers*each {
			t.Errorf("%+v are counted, closed with %v", c, err)
		}
		checkCounts(t, "a million requests", store.perAddress(), want)
		if left := names(t, dir, ""); len(left) > 0 {
			t.Errorf("left on disk: %v", left)
		}
		t.Logf("%d batches in %d calls", len(store.all), store.called())
	})
}

// TestTwoOnOneFolder lets two processes, as it were, use one folder: what one writes the other may send, nothing is lost or
// doubled, and what lives is not adopted.
func TestTwoOnOneFolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, log := t.TempDir(), logtest.Log{}
		store := &shelf{}
		var both [2]*Recorder
		for i := range both {
			both[i] = Open(Options{Dir: dir, Logger: log.Logger(), timing: hasty, files: files{replace: replaceFast}})
			both[i].Use(Settings{Rows: 1 << 30})
			both[i].Start()
		}
		both[1].Use(Settings{Store: store, Rows: 1 << 30}) // the other's never has one
		want := make(map[netip.Prefix]int64)
		for n := range 20_000 {
			e := numbered(n % 7001)
			both[n%2].Record(e)
			want[reputation.Subject(e.Address)]++
			if n%100 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		if err := both[0].Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if c := both[1].Counts(); c.Waiting != 0 || c.Written != 20_000 {
			t.Errorf("%+v are counted", c)
		}
		if err := both[1].Close(); err != nil {
			t.Error(err)
		}
		checkCounts(t, "two on one folder", store.perAddress(), want)
		if left := names(t, dir, ""); len(left) > 0 || log.String() != "" {
			t.Errorf("left on disk: %v, log:\n%s", left, &log)
		}
	})
}

// hanging is a Store that does not answer.
type hanging struct{ asked chan struct{} }

func (h *hanging) Write(ctx context.Context, _ *history.Batch) (history.Stored, error) {
	close(h.asked)
	<-ctx.Done()
	return history.Stored{}, ctx.Err()
}

// TestCloseDuringAnOutage holds that the end does not wait for a store that does not answer, and that the next Recorder sends.
func TestCloseDuringAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		k := newRig(t, Options{Dir: dir})
		h := &hanging{make(chan struct{})}
		k.Use(Settings{Store: h})
		k.Start()
		k.Record(request(1))
		<-h.asked
		for range 100 {
			k.Record(request(2))
		}
		before := time.Now()
		if err := k.Close(); err != nil || !time.Now().Equal(before) {
			t.Errorf("closed with %v after %s", err, time.Since(before))
		}
		if left := names(t, dir, ""); len(left) != 2 || len(names(t, dir, batchSuffix)) != 2 {
			t.Errorf("left on disk: %v", left)
		}
		if k.log.String() != "" {
			t.Errorf("the log is:\n%s", &k.log)
		}
		k.Record(request(3))
		if c := k.Counts(); c.Dropped[DropQueue] != 1 || c.Waiting != 101 {
			t.Errorf("after the end %+v are counted", c)
		}

		store := &shelf{}
		next := newRig(t, Options{Dir: dir})
		next.Use(Settings{Store: store})
		next.Start()
		synctest.Wait()
		if c := next.Counts(); c.Written != 101 || c.Waiting != 0 {
			t.Errorf("after a restart %+v are counted", c)
		}
		if err := next.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestCloseWithoutADisk holds that what cannot be written is sent at the end, or that its loss is an error.
func TestCloseWithoutADisk(t *testing.T) {
	for name, store := range map[string]history.Store{"a store": &shelf{}, "none": nil, "one that hangs": &hanging{make(chan struct{})}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "file")
				if err := os.WriteFile(dir, nil, 0o600); err != nil {
					t.Fatal(err)
				}
				if h, ok := store.(*hanging); ok {
					h.asked = make(chan struct{}) // of this bubble
				}
				k := newRig(t, Options{Dir: dir})
				k.Use(Settings{Store: store})
				k.Start()
				k.Record(request(1))
				synctest.Wait()
				if log := k.log.Take(); !strings.Contains(log, "the history cannot be written to disk, and waits in memory") {
					t.Errorf("the log is:\n%s", log)
				}
				before := time.Now()
				err := k.Close()
				if _, ok := store.(*shelf); ok {
					if err != nil || k.Counts().Written != 1 {
						t.Errorf("closed with %v, %+v", err, k.Counts())
					}
				} else if err == nil || k.Counts().Dropped[DropSpool] != 1 || !strings.HasPrefix(err.Error(), "1 entries of the history are lost: ") {
					t.Errorf("closed with %v, %+v", err, k.Counts())
				}
				if took := time.Since(before); took > closeTimeout {
					t.Errorf("the end took %s", took)
				}
			})
		})
	}
}

// TestRecordWhileClosing holds that each request is counted, whenever it comes.
func TestRecordWhileClosing(t *testing.T) {
	for range 20 {
		k := newRig(t, Options{})
		k.Start()
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				for range 100 {
					k.Record(request(1))
				}
			})
		}
		group.Go(func() { _ = k.Close() }) // without a folder or a store all is lost
		group.Wait()
		_ = k.Close()
		k.check(t, 400)
	}
}

func TestOpenAndClose(t *testing.T) {
	k := newRig(t, Options{Dir: filepath.Join(t.TempDir(), "a", "b")})
	k.Record(request(1))
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	k.Start()
	if c := k.Counts(); c.Dropped[DropQueue] != 1 || c.Waiting != 0 {
		t.Errorf("of one that was never started %+v are counted", c)
	}
}

// TestRecordNeverWaits holds that a full queue drops, that it is said, and that what is no history is not.
func TestRecordNeverWaits(t *testing.T) {
	k := newRig(t, Options{})
	exempt := request(1)
	exempt.Verdict.Status = reputation.Exempt
	for n := range 2 * room {
		k.Record(numbered(n))
		k.Record(exempt)
		k.Record(history.Event{})
	}
	k.check(t, 2*room)
	c := k.Counts()
	if c.Waiting != room {
		t.Errorf("%+v are counted, there is room for %d", c, room)
	}
	k.Record(numbered(0)) // is known, and needs no room
	if again := k.Counts(); again.Waiting != c.Waiting+1 {
		t.Errorf("%+v are counted, then %+v", c, again)
	}
	for range 2 {
		k.collector.droppedBefore = k.tally.queueFull(k.collector.droppedBefore)
	}
	want := fmt.Sprintf("level=WARN msg=\"requests are missing in the history: they came faster than it could be written\" dropped=%d\n", c.Dropped[DropQueue])
	if log := k.log.String(); strings.Count(log, want) != 1 {
		t.Errorf("the log is:\n%s", log)
	}
}

func TestRecordDoesNotAllocate(t *testing.T) {
	k := newRig(t, Options{})
	e := scored(1, 90, "deny")
	if n := testing.AllocsPerRun(1000, func() { k.Record(e) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestAPanicDoesNotEndTheWork holds that the collector goes on after an event that it cannot take.
func TestAPanicDoesNotEndTheWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newRig(t, Options{Dir: t.TempDir()})
		store := &shelf{}
		k.Use(Settings{Store: store, Stored: func(addr netip.Addr) (kept netip.Prefix, ok bool) {
			if addr == request(1).Address {
				panic("no key")
			}
			return storedSubject(addr)
		}})
		k.Start()
		k.Record(request(1))
		k.Record(request(2))
		time.Sleep(time.Minute)
		if c := k.Counts(); c.Written != 1 {
			t.Errorf("%+v are counted", c)
		}
		if log := k.log.String(); !strings.Contains(log, `level=ERROR msg="background work panicked and begins again; this is a bug" work="collecting the history" panic="no key"`) {
			t.Errorf("the log is:\n%s", log)
		}
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestStatusIsJSON(t *testing.T) {
	k := newRig(t, Options{Dir: t.TempDir()})
	k.record(request(1))
	k.Record(request(2))
	s := k.Status()
	if s.Oldest == nil {
		t.Fatal("nothing waits")
	}
	s.Oldest = &start
	text, err := json.Marshal(s)
	want := `{"waiting":2,"queued":1,"unsaved":2,"oldest":"2026-11-24T17:16:23Z","spool":{"batches":0,"entries":0,"bytes":0,"limit":268435456},` +
		`"written":0,"dropped":{"expired":0,"hidden":0,"queue":0,"rejected":0,"spool":0,"unreadable":0},"folded":0}`
	if err != nil || string(text) != want {
		t.Errorf("got  %s, %v\nwant %s", text, err, want)
	}
}
