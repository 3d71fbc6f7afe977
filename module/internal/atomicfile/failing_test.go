package atomicfile

import (
	"io"
	"path/filepath"
	"testing"
	"time"
)

// TestFailing holds that a file which cannot be written is named until it can be, or until nobody writes it any more.
func TestFailing(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, "sub", "file"), filepath.Join(dir, "other")
	bad := func(io.Writer) error { return errWriter }
	for range 2 {
		if Write(path, bad) == nil {
			t.Fatal("a failure is none")
		}
	}
	_ = Write(other, bad)
	_ = WriteNew(filepath.Join(dir, "new"), bad)
	got := Failing(dir)
	if len(got) != 2 || got[0].Path != path || got[1].Path != other || got[0].Err == nil || got[0].Since.After(got[1].Since) {
		t.Errorf("failing are %v", got)
	}
	if got := Failing(filepath.Join(dir, "su")); len(got) > 0 {
		t.Errorf("of another folder, failing are %v", got)
	}
	if err := WriteBytes(path, nil); err != nil {
		t.Fatal(err)
	}
	if got := Failing(dir); len(got) != 1 || got[0].Path != other {
		t.Errorf("when one can be written, failing are %v", got)
	}
	if got := failingAt(dir, time.Now().Add(forgotten+time.Minute)); len(got) > 0 {
		t.Errorf("after a day, failing are %v", got)
	}
}
