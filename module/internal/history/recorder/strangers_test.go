//go:build unix

package recorder

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestStrangersInTheSpool: what stands in place of a batch or a journal is left alone, and what is real is sent.
func TestStrangersInTheSpool(t *testing.T) {
	dir := t.TempDir()
	old := time.Now().Add(-time.Hour)
	for i, name := range []string{"a.batch", "a.journal", "a.adopting"} {
		id := strings.Repeat(string(rune('a'+i)), 32)
		if suffix := filepath.Ext(name); suffix == batchSuffix {
			name = "0000000000000000001-" + id + suffix
		} else {
			name = id + suffix
		}
		path := filepath.Join(dir, name)
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	huge := filepath.Join(dir, "0000000000000000002-"+strings.Repeat("d", 32)+batchSuffix)
	if err := os.WriteFile(huge, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, 6<<30); err != nil {
		t.Fatal(err)
	}
	k := newRig(t, Options{Dir: dir})
	k.spool.scan()
	k.record(numbered(1))
	k.seal()
	if s := k.Status(); s.Spool.Batches != 1 || s.Waiting != 1 {
		t.Errorf("the status is %+v", s)
	}
	if log := k.log.String(); !strings.Contains(log, "cannot be read") {
		t.Errorf("the log is:\n%s", log)
	}
}
