package runtime

import (
	"context"
	"os"
	goruntime "runtime"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history/recorder"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/memory"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/postgres"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// learn stores an answer of provider a.
func learn(m *Memory, keys ...record.Key) {
	now := time.Now()
	for _, key := range keys {
		m.Update(key, func(r *record.Record) {
			r.Set(record.Pack(record.IDOf("a"), reputation.Report{Severity: 1, Confidence: 1}, now, now.Add(time.Hour)))
		})
	}
}

// saved returns how many subjects a file has.
func saved(t *testing.T, path string) int {
	t.Helper()
	m := newMemory(memory.New(1000, 1), path)
	bare(t).loadMemory(m)
	return m.status().Records
}

// TestAConfigurationThatFailsChangesNothing proves that the configuration from before serves in every respect after one that got
// so far and failed: what is learnt later is saved, the history is recorded as it says, events are those of its providers; and
// nothing of the other one stays.
func TestAConfigurationThatFailsChangesNothing(t *testing.T) {
	for name, fail := range map[string]func(*Runtime){
		"it was only checked":               func(*Runtime) {},
		"another app could not start":       func(rt *Runtime) { rt.Start(); rt.Stop() },
		"Caddy could not finish its set-up": func(rt *Runtime) { rt.Start() },
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir() + "/memory.bin"
			r := recorder.Open(recorder.Options{})
			db, err := postgres.Open(postgres.Options{DSN: func() (string, bool) { return "", false }})
			if err != nil {
				t.Fatal(err)
			}
			with := func(provider string, subjects int, spool int64) *Runtime {
				rt := bare(t)
				rt.Memory = newMemory(memory.New(subjects, 1), path)
				rt.Memory.Attach()
				rt.Leases.Add(rt.Memory.close)
				rt.Providers = []Provider{{Name: provider, Guard: quota.New(provider, nil, quota.Terms{}, quota.NewBudget(), nil, quota.Options{})}}
				rt.Database, rt.Recorder, rt.Spool = &Database{DB: db}, r, spool
				started := make(chan struct{})
				close(started)
				rt.emitter.started = started
				return rt
			}
			serving := with("a", 1000, 1<<20)
			serving.emitter.started = nil // so that the test takes the events
			serving.Start()
			Events.Fails("a", "timeout", time.Now().Add(time.Minute))
			<-Events.Events()
			learn(serving.Memory, 1)

			table := func() weak.Pointer[memory.Table] {
				failed := with("b", 2000, 2<<20)
				table := weak.Make(failed.Memory.table.Load())
				fail(failed)
				if failed.stop != nil {
					time.Sleep(10 * time.Millisecond) // its emitter begins
				}
				if err := failed.Close(); err != nil {
					t.Error(err)
				}
				return table
			}()

			if Serving() != serving {
				t.Error("the configuration from before does not serve")
			}
			if limit := r.Status().Spool.Limit; limit != 1<<20 {
				t.Errorf("the spool may have %d bytes", limit)
			}
			time.Sleep(time.Millisecond)
			Events.Answers("a", time.Now())
			select {
			case <-Events.Events():
			default:
				t.Error("what was known of the provider that failed is forgotten")
			}
			for deadline := time.Now().Add(10 * time.Second); table.Value() != nil; goruntime.GC() {
				if time.Now().After(deadline) {
					t.Fatal("the table of the configuration that failed is still referred to")
				}
			}
			learn(serving.Memory, 2)
			serving.Stop()
			if err := serving.Close(); err != nil {
				t.Error(err)
			}
			if n := saved(t, path); n != 2 {
				t.Errorf("%d subjects are saved, want 2", n)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestMemoryIsSavedNowAndThen proves that a process which is killed loses no more than ten minutes of what it learnt, and that
// nothing is written where nothing was learnt.
func TestMemoryIsSavedNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := t.TempDir() + "/memory.bin"
		rt := bare(t)
		rt.Memory = newMemory(memory.New(1000, 1), path)
		rt.Memory.Attach()
		rt.attach()
		defer rt.detach()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go process.Every(saveInterval, func(context.Context, time.Time) { rt.saveMemory() })(ctx)
		written := func(after time.Duration) bool {
			time.Sleep(after)
			synctest.Wait()
			return os.Remove(path) == nil
		}
		for _, step := range []struct {
			name  string
			do    func()
			after time.Duration
			want  bool
		}{
			{"nothing was learnt", func() {}, time.Hour, false},
			{"an answer came", func() { learn(rt.Memory, 1) }, saveInterval, true},
			{"nothing more was learnt", func() {}, time.Hour, false},
			{"it was forgotten", func() { rt.Memory.Delete(1) }, saveInterval, true},
			{"the disk was full", func() { learn(rt.Memory, 1); _ = os.MkdirAll(path+"/x", 0o700) }, saveInterval, false},
			{"there is room again", func() { _ = os.RemoveAll(path) }, saveInterval, true},
		} {
			step.do()
			if written(step.after) != step.want {
				t.Errorf("%s: written %t", step.name, !step.want)
			}
		}
	})
}
