package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/atomicfile"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/memory"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/regularfile"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
)

// Memory is the records of one size of table, and the file that they are saved to.
type Memory struct {
	table   atomic.Pointer[memory.Table] // nil when no configuration uses it any more
	path    string
	started atomic.Bool // false: its configuration was only checked
	changed atomic.Bool // since it was saved

	attached atomic.Bool // the file is this process's
	read     fs.FileInfo // of the file, when it was read last; nil: there was none
}

func newMemory(table *memory.Table, path string) *Memory {
	m := &Memory{path: path}
	m.table.Store(table)
	return m
}

// OpenMemory finds or makes the table for so many subjects and providers. A new one begins with what another
// configuration remembers, or with what was saved last.
func (rt *Runtime) OpenMemory(subjects, providers int) (err error) {
	if providers == 0 {
		return nil
	}
	path := filepath.Join(process.DataFolder(), "memory.bin")
	key := fmt.Sprintf("memory %s %d %d", path, subjects, providers)
	rt.Memory, err = process.Share(&rt.Leases, key, func() (*Memory, func() error, error) {
		m := newMemory(memory.New(subjects, providers), path)
		if !m.inherit(rt) {
			rt.loadMemory(m)
		}
		return m, rt.Folder.Closing(m, m.close), nil
	})
	return err
}

// Attach implements attached. What another process has saved meanwhile is added.
func (m *Memory) Attach() {
	if rt := lastServing(); rt != nil && rt.Memory == m && !m.attached.Load() && m.savedByOther() {
		rt.loadMemory(m)
	}
	m.attached.Store(true)
}

// Detach implements attached.
func (m *Memory) Detach() { m.attached.Store(false) }

// savedByOther reports whether the file is not the one that was read.
func (m *Memory) savedByOther() bool {
	now, err := os.Stat(m.path)
	if err != nil {
		return false
	}
	return m.read == nil || !os.SameFile(now, m.read) || !now.ModTime().Equal(m.read.ModTime())
}

// engineMemory returns the memory of an engine: none for a configuration without providers.
func (m *Memory) engineMemory() lookup.Memory {
	if m == nil {
		return nil
	}
	return m
}

// Get implements lookup.Memory.
func (m *Memory) Get(key record.Key, into *record.Record) bool {
	if table := m.table.Load(); table != nil {
		return table.Get(key, into)
	}
	*into = record.Record{}
	return false
}

// Update implements lookup.Memory.
func (m *Memory) Update(key record.Key, change func(*record.Record)) {
	if table := m.table.Load(); table != nil {
		table.Update(key, change)
		m.markChanged()
		return
	}
	change(new(record.Record))
}

// Delete implements lookup.Memory.
func (m *Memory) Delete(key record.Key) bool {
	table := m.table.Load()
	if table == nil || !table.Delete(key) {
		return false
	}
	m.markChanged()
	return true
}

// markChanged writes only once: many processors share the line.
func (m *Memory) markChanged() {
	if !m.changed.Load() {
		m.changed.Store(true)
	}
}

// status is what the memory holds.
func (m *Memory) status() health.Memory {
	table := m.table.Load()
	if table == nil {
		return health.Memory{}
	}
	return health.Memory{Records: table.Len(), Capacity: table.Cap(), Evictions: table.Evictions()}
}

// close runs when no configuration uses the table any more. One that was replaced leaves what it knows to the one that
// serves; one whose configuration was only checked knows nothing. The table is then let go of, since Caddy may hold an
// ended configuration for minutes.
func (m *Memory) close() error {
	defer m.table.Store(nil)
	if serving := lastServing(); serving != nil && serving.Memory != nil && serving.Memory != m {
		serving.Memory.inheritFrom(m, serving.sources())
		return nil
	}
	if !m.started.Load() {
		return nil
	}
	return m.save()
}

// saving is held while a table is written: of two tables of one file, the one that serves is written last.
var saving sync.Mutex

// save writes the table to disk if it has changed since the last time, unless another one serves by now.
func (m *Memory) save() error {
	saving.Lock()
	defer saving.Unlock()
	table, serving := m.table.Load(), lastServing()
	replaced := serving != nil && serving.Memory != nil && serving.Memory != m
	if table == nil || !m.attached.Load() || replaced || !m.changed.Swap(false) {
		return nil
	}
	if err := atomicfile.Write(m.path, table.Save); err != nil {
		m.changed.Store(true)
		return fmt.Errorf("saving what is remembered of addresses: %w", err)
	}
	return nil
}

// saveInterval is how often the memory is saved. Of a process that is killed, so much is lost.
const saveInterval = 10 * time.Minute

// startSaving begins to save what is remembered.
func (rt *Runtime) startSaving(ctx context.Context) {
	if rt.Memory == nil {
		return
	}
	process.Background.Keep(ctx, rt.Logger, "saving what is remembered",
		process.Every(saveInterval, func(context.Context, time.Time) { rt.saveMemory() }))
}

// saveMemory saves what this configuration remembers.
func (rt *Runtime) saveMemory() {
	if err := rt.Memory.save(); err != nil {
		rt.Logger.Error("what is remembered of addresses is not on disk: a restart would ask the providers again",
			slog.Any("error", err))
	}
}

// stopping runs at the first sign that this configuration ends, while requests are still served. After them Caddy may be
// killed, since it waits for connections without limit unless there is a grace period.
func (rt *Runtime) stopping() {
	if Serving() != rt || rt.Memory == nil && rt.Conduct.Store() == nil {
		return
	}
	process.Background.Go(func(context.Context) {
		defer func() {
			if r := recover(); r != nil {
				rt.Logger.Error("saving what is remembered panicked; this is a bug", slog.Any("panic", r))
			}
		}()
		if store := rt.Conduct.Store(); store != nil {
			store.Save()
		}
		if rt.Memory != nil {
			rt.saveMemory()
		}
	})
}

// sources are the providers of this configuration, in the order that records have them.
func (rt *Runtime) sources() []record.SourceID {
	sources := make([]record.SourceID, len(rt.Providers))
	for i, p := range rt.Providers {
		sources[i] = record.IDOf(p.Name)
	}
	return sources
}

// inherit copies for rt what the table of the configuration that serves remembers, unless it is known here already.
func (m *Memory) inherit(rt *Runtime) bool {
	serving := Serving()
	if serving == nil || serving.Memory == nil || serving.Memory.path != m.path {
		return false
	}
	m.inheritFrom(serving.Memory, rt.sources())
	return true
}

// inheritFrom copies what another table of the same file knows of these sources and this one does not. The
// table has no room for the answers of others: they would take the place of those that count.
func (m *Memory) inheritFrom(other *Memory, sources []record.SourceID) {
	if m == other || m.path != other.path {
		return
	}
	table := other.table.Load()
	if table == nil {
		return
	}
	table.Range(func(key record.Key, rec *record.Record) bool {
		rec.Retain(sources)
		m.Update(key, func(known *record.Record) {
			if known.Empty() {
				*known = *rec
			}
		})
		return true
	})
}

// start copies once more what was learnt since the configuration was read.
func (m *Memory) start(rt *Runtime) {
	if m != nil {
		m.inherit(rt)
		m.started.Store(true)
	}
}

// learnNetworks lets the engine know what the memory has of networks. It takes 0.1 s for a million answers.
func (rt *Runtime) learnNetworks() {
	if rt.Memory == nil || rt.Engine == nil {
		return
	}
	process.Background.Go(func(context.Context) {
		defer func() {
			if r := recover(); r != nil {
				rt.Logger.Error("learning of networks from the memory panicked; this is a bug", slog.Any("panic", r))
			}
		}()
		if table := rt.Memory.table.Load(); table != nil {
			rt.Engine.LearnNetworks(table.Range)
		}
	})
}

func (rt *Runtime) loadMemory(m *Memory) {
	file, _, err := regularfile.Open(m.path, math.MaxInt64) // its blocks are bounded and checked one by one
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		defer file.Close()
		m.read, _ = file.Stat()
		_, err = m.table.Load().Load(file, time.Now(), rt.sources()...)
	}
	if err != nil {
		m.changed.Store(true) // so that the file is replaced
		rt.Logger.Warn("what was remembered of addresses cannot be used; providers will be asked again",
			slog.String("file", m.path), slog.Any("error", err))
	}
}
