package recorder

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// left returns a folder in which the death of a process left a journal of five requests, and where that is.
func left(t *testing.T) (dir, journal string) {
	t.Helper()
	dir = t.TempDir()
	k := newRig(t, Options{Dir: dir})
	for n := range 5 {
		k.record(request(byte(n)))
		k.flush()
	}
	k.die()
	return dir, filepath.Join(dir, names(t, dir, journalSuffix)[0])
}

// TestAdopt holds what becomes of what a process leaves.
func TestAdopt(t *testing.T) {
	tests := map[string]struct {
		change     func(t *testing.T, journal string) // nil: nothing
		young      bool
		requests   int64
		unreadable int64
		left       bool
	}{
		"as it is":               {requests: 5},
		"written to a while ago": {young: true, left: true},
		"within a line": {change: func(t *testing.T, journal string) {
			edit(t, journal, func(text []byte) []byte { return text[:len(text)-10] })
		}, requests: 4},
		"a bit has changed": {change: func(t *testing.T, journal string) {
			edit(t, journal, func(text []byte) []byte {
				return bytes.Replace(text, []byte("203.0.113.2/32"), []byte("203.0.113.6/32"), 1)
			})
		}, requests: 4, unreadable: 1},
		"zeros in the middle": {change: func(t *testing.T, journal string) {
			edit(t, journal, func(text []byte) []byte {
				lines := bytes.SplitAfter(text, []byte("\n"))
				copy(lines[2], make([]byte, len(lines[2])-1))
				return bytes.Join(lines, nil)
			})
		}, requests: 4, unreadable: 1},
		"a long line": {change: func(t *testing.T, journal string) {
			edit(t, journal, func(text []byte) []byte {
				return append(append(bytes.Repeat([]byte("x"), 3*maxLine), '\n'), text...)
			})
		}, requests: 5, unreadable: 1},
		"no header": {change: func(t *testing.T, journal string) {
			edit(t, journal, func(text []byte) []byte { return text[bytes.IndexByte(text, '\n')+1:] })
		}, requests: 5},
		"empty": {change: func(t *testing.T, journal string) { edit(t, journal, func([]byte) []byte { return nil }) }},
		"of a later version": {change: func(t *testing.T, journal string) {
			edit(t, journal, func(text []byte) []byte {
				return append(appendLine(nil, line{Header: &header{Version: incidentVersion + 1}}), text...)
			})
		}, left: true},
		"it had been adopted halfway": {change: func(t *testing.T, journal string) {
			if err := os.Rename(journal, strings.TrimSuffix(journal, journalSuffix)+adoptingSuffix); err != nil {
				t.Fatal(err)
			}
		}, requests: 5},
		"a folder": {change: func(t *testing.T, journal string) {
			if err := errors.Join(os.Remove(journal), os.Mkdir(journal, 0o700)); err != nil {
				t.Fatal(err)
			}
		}, left: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir, journal := left(t)
			if test.change != nil {
				test.change(t, journal)
			}
			if !test.young {
				age(t, dir, time.Hour)
			}
			k, store := newRig(t, Options{Dir: dir}), &shelf{}
			k.spool.scan()
			if err := k.sendAll(store); err != nil {
				t.Fatal(err)
			}
			if c := k.Counts(); c.Written != test.requests || c.Dropped[DropUnreadable] != test.unreadable || c.Waiting != 0 {
				t.Errorf("%+v are counted", c)
			}
			if on := names(t, dir, ""); len(on) > 0 != test.left {
				t.Errorf("on disk are %v", on)
			}
		})
	}
}

// edit changes a file.
func edit(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, change(text), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestABatchAndItsJournal holds that a process which died after its batch was written, and before its journal was removed, does
// not leave the same twice, even when the batch is sent already.
func TestABatchAndItsJournal(t *testing.T) {
	for name, sent := range map[string]bool{"waiting": false, "sent": true} {
		t.Run(name, func(t *testing.T) {
			dir, store := t.TempDir(), &shelf{}
			k := newRig(t, Options{Dir: dir})
			k.record(request(1), request(2))
			k.flush()
			journal := k.collector.journal.path
			text, err := os.ReadFile(journal)
			if err != nil {
				t.Fatal(err)
			}
			k.seal()
			if sent {
				if err := k.sendAll(store); err != nil {
					t.Fatal(err)
				}
			}
			k.die()
			if err := os.WriteFile(journal, text, 0o600); err != nil {
				t.Fatal(err)
			}
			age(t, dir, time.Hour)
			next := newRig(t, Options{Dir: dir})
			for range 2 {
				next.spool.scan()
				if err := next.sendAll(store); err != nil {
					t.Fatal(err)
				}
			}
			if got := store.merged(); got.entries != 2 || next.Counts().Written != 2 || len(names(t, dir, "")) > 0 {
				t.Errorf("%d requests are stored, on disk are %v, %+v are counted", got.entries, names(t, dir, ""), next.Counts())
			}
		})
	}
}

// TestALivingJournal holds that a process which was stopped for long, and goes on, neither loses nor doubles anything: where
// its journal is locked, because nobody adopts it, and where files cannot be locked, because it begins another.
func TestALivingJournal(t *testing.T) {
	for name, locked := range map[string]bool{"locked": true, "not locked": false} {
		for what, seal := range map[string]bool{"flush": false, "seal": true} {
			t.Run(name+", "+what, func(t *testing.T) {
				dir, store := t.TempDir(), &shelf{}
				k := newRig(t, Options{Dir: dir})
				if !locked {
					k.spool.files.create = createUnlocked
					k.collector.journal = k.spool.newJournal()
				}
				k.record(request(1))
				k.flush()
				age(t, dir, time.Hour)

				other := newRig(t, Options{Dir: dir})
				other.spool.scan()
				if err := other.sendAll(store); err != nil {
					t.Fatal(err)
				}
				if got := len(store.all) > 0; got == locked {
					t.Fatalf("adopted: %t", got)
				}
				k.record(request(2))
				if !seal {
					k.flush()
				}
				k.seal()
				if err := k.sendAll(store); err != nil {
					t.Fatal(err)
				}
				if got := store.perAddress(); len(got) != 2 || store.merged().entries != 2 || len(names(t, dir, "")) > 0 {
					t.Errorf("stored are %v, on disk are %v", got, names(t, dir, ""))
				}
				k.die()
			})
		}
	}
}

func createUnlocked(path string) (appendable, bool, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	return f, false, err
}

// TestTheJournalIsRemoved holds that somebody who empties the folder costs nothing of what is in memory.
func TestTheJournalIsRemoved(t *testing.T) {
	dir, store := filepath.Join(t.TempDir(), "spool"), &shelf{}
	k := newRig(t, Options{Dir: dir})
	k.record(request(1))
	k.flush()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	k.record(request(2))
	k.flush()
	k.die() // it is all there again
	age(t, dir, time.Hour)
	next := newRig(t, Options{Dir: dir})
	next.spool.scan()
	if err := next.sendAll(store); err != nil {
		t.Fatal(err)
	}
	if got := store.perAddress(); len(got) != 2 {
		t.Errorf("stored are %v", got)
	}
}
