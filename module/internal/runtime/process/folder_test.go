package process

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
)

// file is a store that notes whether it may write.
type file struct{ writes bool }

func (f *file) Attach() { f.writes = true }
func (f *file) Detach() { f.writes = false }

// TestStoresWriteWithTheFolder proves that stores write from the start of a configuration on, never before, and of two processes
// those of one only; and that those of the other one do when the first has ended.
func TestStoresWriteWithTheFolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		logger := slog.New(slog.DiscardHandler)
		first, second := newFolder(dir, logger), newFolder(dir, logger)
		var before, later, theirs, closed file
		remove := first.add(&before)
		first.add(&closed)()
		second.add(&theirs)
		if before.writes {
			t.Error("a store writes for a configuration that is only checked")
		}
		first.Start()
		first.add(&later)
		second.Start()
		if !before.writes || !later.writes || closed.writes || theirs.writes {
			t.Errorf("before %v, later %v, closed %v, of the second process %v", before, later, closed, theirs)
		}
		if s := first.State(); s.Owner+s.Problem != "" {
			t.Errorf("the state of the first is %+v", s)
		}
		if s := second.State(); s.Owner == "" || s.Path != dir {
			t.Errorf("the state of the second is %+v", s)
		}
		time.Sleep(time.Minute)
		remove()
		if err := first.lock.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if s := second.State(); !theirs.writes || s.Owner != "" || s == (health.Folder{}) {
			t.Errorf("of the second process %v, its state is %+v", theirs, s)
		}
		if err := second.lock.Close(); err != nil {
			t.Error(err)
		}
	})
}
