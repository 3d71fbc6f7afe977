package recorder

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// TestLimit holds that the oldest batches make room, that the one that is being sent does not, and that this is said.
func TestLimit(t *testing.T) {
	dir := t.TempDir()
	k := newRig(t, Options{Dir: dir})
	k.Use(Settings{Limit: 200_000})
	n := 0
	fill := func(rows int) {
		for range rows {
			k.record(numbered(n))
			n++
		}
		k.seal()
		k.check(t, int64(n))
	}
	fill(100)
	oldest := k.spool.next(false) // is being sent
	for range 20 {
		fill(100)
	}
	s := k.Status()
	if s.Spool.Bytes > 200_000 || s.Spool.Batches != len(names(t, dir, batchSuffix)) || s.Dropped["spool"] == 0 || s.Spool.Entries != s.Waiting {
		t.Errorf("the status is %+v", s)
	}
	size := int64(0)
	for _, name := range names(t, dir, "") {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		size += diskUsage(info.Size())
	}
	if size != s.Spool.Bytes {
		t.Errorf("%d bytes are on disk, the status says %d", size, s.Spool.Bytes)
	}
	if k.spool.list[0] != oldest {
		t.Error("the batch that is being sent was dropped")
	}
	if log := k.log.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, "level=ERROR msg=\"the spool of the history is full: the oldest entries are dropped\" dropped=100 cure=") {
		t.Errorf("the log is:\n%s", log)
	}
	k.Use(Settings{Limit: 1})
	if err := k.attempt(t.Context(), &answering{answer: func(int) (history.Stored, error) { return history.Stored{}, history.ErrUnavailable }}, oldest); err == nil {
		t.Error("a failure is none")
	}
	if left := names(t, dir, ""); len(left) > 0 {
		t.Errorf("left on disk: %v", left)
	}
	k.check(t, int64(n))
}

// TestDamagedBatches holds that what can be read of a batch is sent, and that the rest is counted, by its header.
func TestDamagedBatches(t *testing.T) {
	dir, store := t.TempDir(), &shelf{}
	k := newRig(t, Options{Dir: dir})
	for range 10 {
		k.record(request(1))
	}
	k.record(request(2), request(3))
	k.seal()
	k.die()
	path := filepath.Join(dir, names(t, dir, batchSuffix)[0])
	edit(t, path, func(text []byte) []byte { return bytes.Replace(text, []byte(`"count":10`), []byte(`"count":99`), 1) })
	for _, name := range []string{"notes.txt", "1-2.batch", "0000000000000000001-" + strings.Repeat("A", 32) + ".batch", "x.journal"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("not ours"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	age(t, dir, time.Hour)

	next := newRig(t, Options{Dir: dir})
	next.spool.scan()
	if c := next.Counts(); c.Waiting != 12 {
		t.Errorf("%+v are counted", c)
	}
	if err := next.sendAll(store); err != nil {
		t.Fatal(err)
	}
	if c := next.Counts(); c.Written != 2 || c.Dropped[DropUnreadable] != 10 || c.Waiting != 0 {
		t.Errorf("%+v are counted", c)
	}
	if log := next.log.String(); !strings.Contains(log, "level=WARN msg=\"damaged lines in the spool of the history are left out\" file="+filepath.Base(path)+" lines=1\n") {
		t.Errorf("the log is:\n%s", log)
	}
	if on := names(t, dir, ""); len(on) != 4 {
		t.Errorf("on disk are %v", on)
	}
}

// TestOrderAfterARestart holds that batches are sent in the order in which they were made, by whomever.
func TestOrderAfterARestart(t *testing.T) {
	dir, store := t.TempDir(), &shelf{}
	var want []netip.Prefix
	for n := range 6 {
		k := newRig(t, Options{Dir: dir})
		k.record(request(byte(n)))
		if n%2 == 0 {
			k.seal()
		} else {
			k.flush()
		}
		k.die()
		want = append(want, netip.PrefixFrom(request(byte(n)).Address, 32))
	}
	next := newRig(t, Options{Dir: dir})
	next.spool.orphanAge = 0
	next.spool.scan()
	if err := next.sendAll(store); err != nil {
		t.Fatal(err)
	}
	var got []netip.Prefix
	for _, b := range store.all {
		got = append(got, b.Decisions[0].Address)
	}
	if !slices.Equal(got, want) {
		t.Errorf("sent were %v", got)
	}
}

// TestAFileThatCannotBeRemoved holds that it is not sent again and again.
func TestAFileThatCannotBeRemoved(t *testing.T) {
	dir := t.TempDir()
	k := newRig(t, Options{Dir: dir})
	name := "0000000000000000001-" + strings.Repeat("ab", 16) + batchSuffix
	if err := os.MkdirAll(filepath.Join(dir, name, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	k.spool.removeFile(name)
	k.spool.scan()
	if s := k.Status(); s.Spool.Batches != 0 || !k.spool.unremoved[name] {
		t.Errorf("the status is %+v", s)
	}
	if err := os.Remove(filepath.Join(dir, name, "in the way")); err != nil {
		t.Fatal(err)
	}
	k.spool.scan()
	if len(k.spool.unremoved) > 0 || len(names(t, dir, "")) > 0 {
		t.Errorf("on disk are %v", names(t, dir, ""))
	}
}

// TestUnreadableFile holds that a file which cannot be read is said, and does not hold up the others.
func TestUnreadableFile(t *testing.T) {
	dir, store := t.TempDir(), &shelf{}
	k := newRig(t, Options{Dir: dir})
	k.record(request(1))
	k.seal()
	k.record(request(2))
	k.seal()
	path := filepath.Join(dir, names(t, dir, batchSuffix)[0])
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := k.sendAll(store); err != nil {
		t.Fatal(err)
	}
	if got := store.perAddress(); len(got) != 1 || !strings.Contains(k.log.String(), "level=ERROR msg=\"a part of the spool of the history cannot be read, and is not sent\" file="+filepath.Base(path)) {
		t.Errorf("stored are %v, log:\n%s", got, &k.log)
	}
}

// TestAnotherSentIt holds that batches whose files are gone are forgotten.
func TestAnotherSentIt(t *testing.T) {
	dir, store := t.TempDir(), &shelf{}
	k := newRig(t, Options{Dir: dir})
	for n := range 4 {
		k.record(request(byte(n)))
		k.seal()
	}
	for _, name := range names(t, dir, batchSuffix)[:2] {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if w := k.spool.next(false); k.attempt(t.Context(), store, w) != nil || len(store.all) > 0 {
		t.Errorf("sent were %v", store.all)
	}
	k.spool.scan()
	if s := k.Status(); s.Spool.Batches != 2 || s.Waiting != 2 || k.log.String() != "" {
		t.Errorf("the status is %+v, log:\n%s", s, &k.log)
	}
}

// TestSentWhileItIsWritten holds that a batch which is sent from memory, while it is being written to disk, is not left there.
func TestSentWhileItIsWritten(t *testing.T) {
	dir, store := t.TempDir(), &shelf{}
	k := newRig(t, Options{Dir: dir})
	k.spool.files.replace = func(path string, write func(io.Writer) error) error {
		return errors.Join(replaceFast(path, write), k.sendAll(store))
	}
	k.record(request(1))
	k.seal()
	k.check(t, 1)
	if len(store.all) != 1 || len(names(t, dir, "")) > 0 || k.spool.bytes != 0 || k.spool.rows != 0 {
		t.Errorf("%d batches are stored, on disk are %v, %d bytes, in memory %d rows", len(store.all), names(t, dir, ""), k.spool.bytes, k.spool.rows)
	}
}

func TestNames(t *testing.T) {
	for at, want := range map[int64]string{0: "0000000000000000000-", 1_764_004_583_000_000_000: "1764004583000000000-", 1<<63 - 1: "9223372036854775807-"} {
		w := &pending{at: at, id: history.ID{15: 1}}
		if got := w.name(); got != want+fmt.Sprintf("%032x", 1)+".batch" {
			t.Errorf("the name is %s", got)
		}
		if got, ok := parseName(w.name()); !ok || got.at != at || got.id != w.id {
			t.Errorf("%s is read as %+v, %t", w.name(), got, ok)
		}
	}
}

// TestTidy holds that what a process left that was killed while it wrote a batch does not fill the disk.
func TestTidy(t *testing.T) {
	k := newRig(t, Options{Dir: t.TempDir()})
	for name, age := range map[string]time.Duration{"a.batch.1.tmp": 2 * time.Minute, "a.batch.2.tmp": time.Second, "notes": time.Hour} {
		path := filepath.Join(k.spool.dir, name)
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		then := time.Now().Add(-age)
		if err := os.Chtimes(path, then, then); err != nil {
			t.Fatal(err)
		}
	}
	k.spool.scan()
	if got := strings.Join(names(t, k.spool.dir, ""), " "); got != "a.batch.2.tmp notes" {
		t.Errorf("%s are left", got)
	}
}
