package recorder

import (
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/atomicfile"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// badFiles fails in every way that a full disk has, one after the other: a file cannot be made; it can, and takes a part of
// what is written; that part cannot be cut off.
func badFiles(string) files {
	n := 0
	return files{
		lock: lock,
		create: func(path string) (appendable, bool, error) {
			if n++; n%3 == 0 {
				return nil, false, syscall.ENOSPC
			}
			f, locked, err := createFile(path)
			return &fullFile{appendable: f, stubborn: n%3 == 1}, locked, err
		},
		replace: func(path string, write func(io.Writer) error) error {
			return replaceFast(path, func(w io.Writer) error { return write(&fullWriter{w, 100}) })
		},
	}
}

// fullFile is a file on a disk that is full.
type fullFile struct {
	appendable
	stubborn bool
}

func (f *fullFile) Write(p []byte) (int, error) { return (&fullWriter{f.appendable, 100}).Write(p) }

func (f *fullFile) Truncate(size int64) error {
	if f.stubborn {
		return errors.New("input/output error")
	}
	return f.appendable.Truncate(size)
}

func (f *fullFile) Stat() (fs.FileInfo, error) { return f.appendable.Stat() }

// fullWriter takes some bytes more.
type fullWriter struct {
	w    io.Writer
	left int
}

func (f *fullWriter) Write(p []byte) (int, error) {
	if len(p) <= f.left {
		f.left -= len(p)
		return f.w.Write(p)
	}
	n, _ := f.w.Write(p[:f.left])
	f.left = 0
	return n, syscall.ENOSPC
}

// TestFullDisk holds that with a full disk and a database that works nothing is lost; that when the disk works again, what
// still waits is written to it; and that both are said.
func TestFullDisk(t *testing.T) {
	for name, sent := range map[string]bool{"sent from memory": true, "written later": false} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			k := newRig(t, Options{Dir: dir})
			k.record(request(1))
			k.flush() // is on disk in time
			good := k.spool.files
			k.spool.files = badFiles(dir)
			for n := range 5 {
				k.record(request(2), request(byte(n)))
				k.flush()
				k.flush()
				k.record(request(3))
				k.seal()
				k.check(t, int64(4+3*n))
			}
			if s := k.Status(); s.Disk == nil || s.Disk.Cure == "" || !strings.Contains(s.Disk.Error, "no space left on device") {
				t.Errorf("the status is %+v", s.Disk)
			}
			if log := k.log.Take(); strings.Count(log, "level=ERROR") != 1 || !strings.Contains(log, "msg=\"the history cannot be written to disk, and waits in memory\" error=\"") {
				t.Errorf("the log is:\n%s", log)
			}
			store := &shelf{}
			if sent {
				if err := k.sendAll(store); err != nil {
					t.Fatal(err)
				}
			}
			k.spool.files = good
			k.seal()
			if s := k.Status(); s.Disk != nil != sent || len(k.spool.list) != len(names(t, dir, batchSuffix)) || len(names(t, dir, journalSuffix)) > 0 {
				t.Errorf("the status is %+v, on disk are %v", s, names(t, dir, ""))
			}
			if log := k.log.Take(); !sent && log != "" && !strings.Contains(log, "level=INFO msg=\"the history is written to disk again\"") {
				t.Errorf("the log is:\n%s", log)
			}
			if err := k.sendAll(store); err != nil {
				t.Fatal(err)
			}
			want := map[netip.Prefix]int64{}
			for low, n := range []int64{1, 2, 6, 6, 1} {
				want[netip.PrefixFrom(request(byte(low)).Address, 32)] = n
			}
			checkCounts(t, "a full disk", store.perAddress(), want)
			k.check(t, 16)
			if left := names(t, dir, ""); len(left) > 0 || k.Counts().Written != 16 {
				t.Errorf("left on disk: %v, %+v", left, k.Counts())
			}
			k.die()
		})
	}
}

// TestDiskFillsAndEmpties kills a process that had a full disk for a while: what was flushed is there, and no line is torn.
func TestDiskFillsAndEmpties(t *testing.T) {
	dir := t.TempDir()
	k := newRig(t, Options{Dir: dir})
	full := false
	k.spool.files.create = func(path string) (appendable, bool, error) {
		f, locked, err := createFile(path)
		return &sometimesFull{f, &full}, locked, err
	}
	k.collector.journal = k.spool.newJournal()
	for n := range 30 {
		full = n%3 == 1
		k.record(request(byte(n)))
		k.flush()
	}
	full = false
	k.flush()
	k.record(request(99)) // is lost
	k.die()
	age(t, dir, time.Hour)

	next, store := newRig(t, Options{Dir: dir}), &shelf{}
	next.spool.scan()
	if err := next.sendAll(store); err != nil {
		t.Fatal(err)
	}
	if got := store.perAddress(); len(got) != 30 || next.Counts().Dropped != [NumDrops]int64{} || next.log.String() != "" {
		t.Errorf("%d addresses, %+v, log:\n%s", len(got), next.Counts(), &next.log)
	}
}

type sometimesFull struct {
	appendable
	full *bool
}

func (f *sometimesFull) Write(p []byte) (int, error) {
	if *f.full {
		return (&fullWriter{f.appendable, len(p) - 7}).Write(p)
	}
	return f.appendable.Write(p)
}

// TestMemoryIsBounded holds that without a disk and a store the oldest are dropped, and that this is said.
func TestMemoryIsBounded(t *testing.T) {
	k := newRig(t, Options{Dir: filepath.Join(t.TempDir(), "no\x00folder")})
	const rows = memoryRows + 3*20_000
	for n := range rows {
		k.record(numbered(n))
	}
	k.seal()
	k.check(t, rows)
	if c := k.Counts(); c.Waiting > memoryRows || c.Waiting < memoryRows-20_000 || k.spool.rows != int(c.Waiting) {
		t.Errorf("%+v are counted, %d rows", c, k.spool.rows)
	}
	if log := k.log.String(); strings.Count(log, "level=ERROR msg=\"the spool of the history is full: the oldest entries are dropped\"") != 1 {
		t.Errorf("the log is:\n%s", log)
	}
	store := &shelf{}
	if err := k.sendAll(store); err != nil {
		t.Fatal(err)
	}
	if got := store.perAddress(); got[reputation.Subject(numbered(rows-1).Address)] != 1 {
		t.Error("the latest is lost")
	}
	k.check(t, rows)
}

// TestRealFullDisk fills a file system of 256 KiB.
func TestRealFullDisk(t *testing.T) {
	dir := t.TempDir()
	mount(t, dir, "256k")
	k := newRig(t, Options{Dir: filepath.Join(dir, "spool"), files: files{replace: atomicfile.Write}})
	store, want := &shelf{}, make(map[netip.Prefix]int64)
	n := 0
	fill := func(rows int) {
		for range rows {
			e := numbered(n)
			want[reputation.Subject(e.Address)]++
			k.record(e)
			if n++; n%100 == 0 {
				k.flush()
			}
		}
		k.seal()
	}
	for range 6 {
		fill(500)
	}
	if k.Status().Disk == nil {
		t.Fatal("the disk is not full")
	}
	k.check(t, int64(n))
	if err := k.sendAll(store); err != nil {
		t.Fatal(err)
	}
	fill(300)
	if s := k.Status(); s.Disk != nil || s.Spool.Batches != 1 {
		t.Errorf("with room again the status is %+v, %+v", s, s.Disk)
	}
	if err := k.sendAll(store); err != nil {
		t.Fatal(err)
	}
	checkCounts(t, "a disk that was full", store.perAddress(), want)
	if left := names(t, filepath.Join(dir, "spool"), ""); len(left) > 0 {
		t.Errorf("left on disk: %v", left)
	}
	k.die()
}
