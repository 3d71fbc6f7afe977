package folderlock

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// process is one that wants the folder.
type process struct {
	*Lock
	killed bool
}

func start(dir, host string, flock func(*os.File) error) *process {
	p := &process{Lock: New(dir, slog.New(slog.DiscardHandler), func(Status) {})}
	p.self.Host = host
	if flock != nil {
		p.flock = flock
	}
	p.Start()
	return p
}

// kill ends the process as SIGKILL does: its files are closed, and nothing is written.
func (p *process) kill() {
	p.killed = true
	close(p.stop)
	<-p.done
	if p.file != nil {
		_ = p.release()
	}
}

func (p *process) end(tb testing.TB) {
	tb.Helper()
	if err := p.Close(); err != nil {
		tb.Error(err)
	}
}

func unsupported(*os.File) error { return errors.New("this file system has no locks") }

// always grants every lock, as a file system does that locks on each machine by itself.
func always(*os.File) error { return nil }

// TestOneProcessHasTheFolder proves that the second process does not get it, knows who has it, and gets it as soon as the
// first has ended, however it ends.
func TestOneProcessHasTheFolder(t *testing.T) {
	for name, end := range map[string]func(*process){
		"the first ends":      func(p *process) { p.end(t) },
		"the first is killed": (*process).kill,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir() + "/new"
				first := start(dir, "web1", nil)
				second := start(dir, "web1", nil)
				defer second.end(t)
				if !first.Status().Held || second.Status().Held {
					t.Fatalf("the first has %+v, the second %+v", first.Status(), second.Status())
				}
				if got := second.Status().Owner.String(); got != fmt.Sprintf("process %d on web1", os.Getpid()) {
					t.Errorf("the second says that it is %s", got)
				}
				time.Sleep(time.Hour)
				if !first.Status().Held || second.Status().Held {
					t.Fatalf("after an hour the first has %+v, the second %+v", first.Status(), second.Status())
				}
				end(first)
				time.Sleep(2 * retry)
				if !second.Status().Held {
					t.Errorf("the second has %+v", second.Status())
				}
			})
		})
	}
}

// TestWithoutLocks proves that the beat decides where locks do not work or are granted on every machine: who is there stays,
// and one that was killed is waited for, for a minute.
func TestWithoutLocks(t *testing.T) {
	for name, flock := range map[string]func(*os.File) error{"refused": unsupported, "granted to all": always} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				first := start(dir, "web1", flock)
				second := start(dir, "web2", flock)
				time.Sleep(time.Hour)
				if !first.Status().Held || second.Status().Held {
					t.Fatalf("the first has %+v, the second %+v", first.Status(), second.Status())
				}
				first.kill()
				time.Sleep(silence / 2)
				if second.Status().Held {
					t.Error("the second has not waited for the first")
				}
				time.Sleep(silence)
				if !second.Status().Held {
					t.Errorf("the second has %+v", second.Status())
				}
				third := start(dir, "web3", flock)
				second.end(t)
				time.Sleep(2 * retry)
				if !third.Status().Held {
					t.Errorf("the second has left, the third has %+v", third.Status())
				}
				third.end(t)
			})
		})
	}
}

// TestAFolderThatCannotBeLocked proves that the process goes on as if it were the only one, says why, and notices when the
// folder can be locked.
func TestAFolderThatCannotBeLocked(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"no folder can be made": func(dir string) error { return os.WriteFile(dir, nil, 0o600) },
		"a folder in its place": func(dir string) error { return os.MkdirAll(filepath.Join(dir, FileName), 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "data")
				if err := spoil(dir); err != nil {
					t.Fatal(err)
				}
				p := start(dir, "web1", nil)
				defer p.end(t)
				if s := p.Status(); !s.Held || s.Err == nil {
					t.Errorf("the status is %+v", s)
				}
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * retry)
				if s := p.Status(); !s.Held || s.Err != nil {
					t.Errorf("the status is %+v", s)
				}
				second := start(dir, "web1", nil)
				defer second.end(t)
				if second.Status().Held {
					t.Error("two have the folder")
				}
			})
		})
	}
}

// TestARemovedFolder proves that the owner takes the folder anew when it was removed under it.
func TestARemovedFolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "data")
		first := start(dir, "web1", nil)
		defer first.end(t)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2*beatEvery + time.Second)
		second := start(dir, "web1", nil)
		defer second.end(t)
		if !first.Status().Held || second.Status().Held {
			t.Errorf("the first has %+v, the second %+v", first.Status(), second.Status())
		}
	})
}

// TestANamedPipeInItsPlace proves that a pipe in place of the file, which nobody writes to, does not hold the end up.
func TestANamedPipeInItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		p := start(dir, "web1", nil)
		path := filepath.Join(dir, FileName)
		if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2*beatEvery + time.Second)
		if !p.Status().Held {
			t.Errorf("nobody else can have the folder, but the process has let go of it: %+v", p.Status())
		}
		p.end(t)
	})
}

// TestChangesAreTold proves that each change is told once, also that a lock which seemed to be held is another's.
func TestChangesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		var told []bool
		l := New(dir, slog.New(slog.DiscardHandler), func(s Status) { told = append(told, s.Held) })
		l.flock = always
		l.Start()
		l.Start()
		time.Sleep(time.Minute + time.Second) // not at a beat, which may write last
		if err := os.WriteFile(l.path, []byte(`{"id":"other","host":"web2","pid":1,"beat":7}`), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * silence)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if fmt.Sprint(told) != "[true false true]" {
			t.Errorf("told %v", told)
		}
	})
}

// TestNeverTwoOwners proves that of any number of processes of one machine, which come, go and are killed at any time, at most
// one has the folder, and soon one has it; and that on machines which do not see each other's locks, soon exactly one has it.
func TestNeverTwoOwners(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "folder")
		if err != nil {
			t.Fatal(err)
		}
		apart := rapid.Bool().Draw(rt, "on machines of their own")
		steps := rapid.SliceOfN(rapid.IntRange(0, 9), 1, 30).Draw(rt, "steps")
		synctest.Test(t, func(t *testing.T) {
			var all []*process
			defer func() {
				for _, p := range all {
					p.end(t)
				}
			}()
			for i, step := range steps {
				switch {
				case step < 3 || len(all) == 0:
					if apart {
						all = append(all, start(dir, fmt.Sprint("web", i), always))
					} else {
						all = append(all, start(dir, "web", nil))
					}
				case step < 5:
					p := all[step%len(all)]
					all = append(all[:step%len(all)], all[step%len(all)+1:]...)
					if step == 3 {
						p.kill()
					} else {
						p.end(t)
					}
				default:
					time.Sleep(time.Duration(step-4) * 7 * time.Second)
				}
				if n := owners(all); !apart && n > 1 {
					rt.Fatalf("after step %d of %v, %d have the folder", i, steps, n)
				}
			}
			time.Sleep(2 * silence)
			if n := owners(all); len(all) > 0 && n != 1 {
				rt.Fatalf("in the end %d of %d have the folder", n, len(all))
			}
		})
	})
}

func owners(all []*process) (n int) {
	for _, p := range all {
		if p.Status().Held {
			n++
		}
	}
	return n
}
