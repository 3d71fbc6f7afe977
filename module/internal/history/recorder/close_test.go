package recorder

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// TestTheEndSends holds that the end sends what waits, in memory and on disk, while the store answers, so that a folder that
// goes with its container loses nothing.
func TestTheEndSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		left := newRig(t, Options{Dir: dir}) // of a run before
		left.record(request(1))
		left.seal()
		left.die()

		k, store := newRig(t, Options{Dir: dir}), &shelf{}
		k.Use(Settings{Store: store})
		k.Start()
		synctest.Wait() // has sent what was left, and knows that the store answers
		for n := range 500 {
			k.Record(numbered(n))
		}
		before := time.Now()
		if err := k.Close(); err != nil || !time.Now().Equal(before) {
			t.Errorf("closed with %v after %s", err, time.Since(before))
		}
		if c := k.Counts(); c.Written != 501 || c.Waiting != 0 || len(names(t, dir, "")) > 0 {
			t.Errorf("%+v are counted, on disk are %v", c, names(t, dir, ""))
		}
	})
}

// slowStore takes a second for each batch.
type slowStore struct{ shelf }

func (s *slowStore) Write(ctx context.Context, b *history.Batch) (history.Stored, error) {
	select {
	case <-time.After(time.Second):
		return s.shelf.Write(ctx, b)
	case <-ctx.Done():
		return history.Stored{}, ctx.Err()
	}
}

// TestTheEndIsShort holds that a store which is slow delays the end by two seconds at most, and that the rest is on disk.
func TestTheEndIsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		k, store := newRig(t, Options{Dir: dir}), &slowStore{}
		k.Use(Settings{Store: store})
		k.Start()
		k.Record(request(0))
		time.Sleep(time.Minute)
		for n := range 5 {
			k.Record(request(byte(n)))
			k.Sync(canceled())
		}
		synctest.Wait()
		for n := range 5 { // batches that wait
			k.spool.add(&history.Batch{ID: history.ID{byte(n + 1)}, Decisions: []history.Decision{plainDecision()}}, 1, k.spool.newJournal(), false)
		}
		before := time.Now()
		err := k.Close()
		if took := time.Since(before); err != nil || took > closeTimeout {
			t.Errorf("closed with %v after %s", err, took)
		}
		c := k.Counts()
		if left := names(t, dir, batchSuffix); c.Waiting == 0 || len(left) == 0 || len(names(t, dir, "")) != len(left) {
			t.Errorf("%+v are counted, on disk are %v", c, names(t, dir, ""))
		}
	})
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func plainDecision() history.Decision {
	e := request(9)
	d := decisionOf(&e)
	d.Address, d.Count = mustStored(e), 1
	return d
}

// TestADeadDisk holds that a disk which does not answer delays neither the making of a Recorder nor requests, and its end by
// three seconds at most; and that it is said.
func TestADeadDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan struct{})
		k := newRig(t, Options{Dir: filepath.Join(t.TempDir(), "spool"), files: files{
			create: func(string) (appendable, bool, error) {
				<-answer
				return nil, false, syscall.EIO
			},
			replace: func(string, func(io.Writer) error) error { <-answer; return syscall.EIO },
		}})
		k.Start()
		k.Record(request(1))
		time.Sleep(time.Minute)
		for n := range 1000 {
			k.Record(numbered(n))
		}
		k.check(t, 1001)
		if s := k.Status(); s.Disk == nil || !strings.HasPrefix(s.Disk.Error, "the disk has not answered for ") || s.Disk.Cure == "" || s.Unsaved != 1001 {
			t.Errorf("the status is %+v, %+v", s, s.Disk)
		}
		before := time.Now()
		err := k.Close()
		if took := time.Since(before); took > closeTimeout+closeGrace || err == nil || !strings.Contains(err.Error(), "1001 entries of the history are lost: the disk") {
			t.Errorf("closed with %v after %s", err, took)
		}
		if log := k.log.String(); !strings.Contains(log, "level=ERROR msg=\"a part of the history is lost: the disk of the data folder does not answer\" entries=1001") {
			t.Errorf("the log is:\n%s", log)
		}
		close(answer)
	})
}

// TestSentFromMemory holds that while the store answers, no batch is written to disk or read from there, that its journal
// saves it until it is sent, and that when the store fails, it becomes a file.
func TestSentFromMemory(t *testing.T) {
	dir := t.TempDir()
	written := 0
	k, store := newRig(t, Options{Dir: dir, files: files{replace: func(path string, write func(io.Writer) error) error {
		written++
		return replaceFast(path, write)
	}}}), &shelf{}
	k.Use(Settings{Store: store})
	next := func(n int) {
		k.record(request(byte(n)))
		k.seal()
	}
	next(0) // nobody knows yet whether the store answers
	if err := k.sendAll(store); err != nil || written != 1 {
		t.Fatalf("%d files are written, %v", written, err)
	}
	for n := range 5 {
		next(n)
		if s := k.Status(); s.Unsaved != 0 || s.Spool.Batches != 1 || s.Spool.Bytes == 0 {
			t.Errorf("the status is %+v", s)
		}
		if n == 3 { // journals are not read either
			for _, name := range names(t, dir, journalSuffix) {
				edit(t, filepath.Join(dir, name), func([]byte) []byte { return nil })
			}
		}
		if err := k.sendAll(store); err != nil {
			t.Fatal(err)
		}
	}
	if left := names(t, dir, ""); written != 1 || len(left) > 0 || k.Counts().Written != 6 {
		t.Errorf("%d files are written, on disk are %v, %+v are counted", written, left, k.Counts())
	}
	next(6)
	store.answers(func(*history.Batch) error { return history.ErrUnavailable })
	if err := k.sendAll(store); err == nil || len(names(t, dir, batchSuffix)) != 1 || len(names(t, dir, "")) != 1 {
		t.Errorf("after %v, on disk are %v", err, names(t, dir, ""))
	}
	k.check(t, 7)
	k.die()
}

// TestKilledBeforeItIsSent holds that a batch in memory survives its process.
func TestKilledBeforeItIsSent(t *testing.T) {
	dir, store := t.TempDir(), &shelf{}
	k := newRig(t, Options{Dir: dir})
	k.spool.answering.Store(true)
	k.record(request(1), request(1), request(2))
	k.flush()
	k.record(request(1))
	k.seal()
	if on := names(t, dir, ""); len(on) != 1 || !strings.HasSuffix(on[0], journalSuffix) {
		t.Fatalf("on disk are %v", on)
	}
	k.die()
	age(t, dir, time.Hour)
	next := newRig(t, Options{Dir: dir})
	next.spool.scan()
	if err := next.sendAll(store); err != nil {
		t.Fatal(err)
	}
	if got := store.perAddress(); got[mustStored(request(1))] != 3 || got[mustStored(request(2))] != 1 || next.log.String() != "" {
		t.Errorf("stored are %v, log:\n%s", got, &next.log)
	}
}

// TestLocksOfNFS holds that the journal of a process that lives is not adopted where the server refuses locks of files that
// are open for reading only, as NFS does.
func TestLocksOfNFS(t *testing.T) {
	dir := t.TempDir()
	k := newRig(t, Options{Dir: dir})
	k.record(request(1))
	k.flush()
	age(t, dir, time.Hour) // it waits for its disk
	other := newRig(t, Options{Dir: dir, files: files{lock: func(f *os.File) (bool, error) {
		if _, err := f.Write(nil); err == nil {
			return lock(f)
		}
		return false, nil // it is open for reading only
	}}})
	other.spool.scan()
	if on := names(t, dir, journalSuffix); len(on) != 1 || other.Counts().Waiting != 0 {
		t.Errorf("on disk are %v, adopted were %+v", names(t, dir, ""), other.Counts())
	}
	k.die()
}

// TestJournalsOfOtherMachines holds that a journal of another machine, whose locks may not be seen here, is left alone for a
// minute, and that a process whose journal was adopted all the same writes nothing twice.
func TestJournalsOfOtherMachines(t *testing.T) {
	dir, store := t.TempDir(), &shelf{}
	k := newRig(t, Options{Dir: dir})
	k.record(request(1))
	k.flush()
	journal := filepath.Join(dir, names(t, dir, journalSuffix)[0])
	edit(t, journal, func(text []byte) []byte {
		elsewhere := appendLine(nil, line{Header: &header{Version: journalVersion, ID: k.collector.journal.id.String(), Machine: "elsewhere"}})
		return append(elsewhere, text[strings.IndexByte(string(text), '\n')+1:]...)
	})
	unseen := files{lock: func(*os.File) (bool, error) { return true, nil }}
	other := newRig(t, Options{Dir: dir, files: unseen})
	age(t, dir, 30*time.Second)
	if other.spool.scan(); other.Counts().Waiting != 0 {
		t.Errorf("it was adopted at once, %v", names(t, dir, ""))
	}
	age(t, dir, time.Minute)
	if other.spool.scan(); other.Counts().Waiting != 1 {
		t.Errorf("it was not adopted, %v", names(t, dir, ""))
	}
	k.record(request(1), request(2)) // it lives
	k.flush()
	k.seal()
	for _, r := range []*rig{other, k} {
		if err := r.sendAll(store); err != nil {
			t.Fatal(err)
		}
	}
	if got := store.perAddress(); got[mustStored(request(1))] != 2 || got[mustStored(request(2))] != 1 {
		t.Errorf("stored are %v", got)
	}
	k.die()
}
