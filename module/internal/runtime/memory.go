package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/atomicfile"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/memory"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/regularfile"
)

// Memory is the records of one size of table, stored on disk while nobody uses it.
type Memory struct {
	Records *memory.Table
	path    string
	started atomic.Bool // false: its configuration was only checked
}

// OpenMemory finds or makes the table for so many subjects and providers. A new one begins with what another
// configuration remembers, or with what was saved at the last stop.
func (rt *Runtime) OpenMemory(subjects, providers int) (err error) {
	if providers == 0 {
		return nil
	}
	path := filepath.Join(DataFolder(), "memory.bin")
	key := fmt.Sprintf("memory %s %d %d", path, subjects, providers)
	rt.Memory, err = Share(&rt.Leases, key, func() (*Memory, func() error, error) {
		m := &Memory{Records: memory.New(subjects, providers), path: path}
		if !m.inherit(rt) {
			rt.loadMemory(m)
		}
		return m, m.save, nil
	})
	return err
}

// table returns the memory of an engine: none for a configuration without providers.
func (m *Memory) table() lookup.Memory {
	if m == nil {
		return nil
	}
	return m
}

// Get implements lookup.Memory.
func (m *Memory) Get(key record.Key, into *record.Record) bool { return m.Records.Get(key, into) }

// Update implements lookup.Memory.
func (m *Memory) Update(key record.Key, change func(*record.Record)) { m.Records.Update(key, change) }

// Delete implements lookup.Memory.
func (m *Memory) Delete(key record.Key) bool { return m.Records.Delete(key) }

// save runs when no configuration uses the table any more. One that was replaced leaves what it knows to the one that
// serves; one whose configuration was only checked knows nothing.
func (m *Memory) save() error {
	if serving := lastServing(); serving != nil && serving.Memory != nil && serving.Memory != m {
		serving.Memory.inheritFrom(m, serving.sources())
		return nil
	}
	if !m.started.Load() {
		return nil
	}
	if err := atomicfile.Write(m.path, m.Records.Save); err != nil {
		return fmt.Errorf("saving what is remembered of addresses: %w", err)
	}
	return nil
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
	other.Records.Range(func(key record.Key, rec *record.Record) bool {
		rec.Retain(sources)
		m.Records.Update(key, func(known *record.Record) {
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

func (rt *Runtime) loadMemory(m *Memory) {
	file, _, err := regularfile.Open(m.path, math.MaxInt64) // its blocks are bounded and checked one by one
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		defer file.Close()
		_, err = m.Records.Load(file, time.Now(), rt.sources()...)
	}
	if err != nil {
		rt.Logger.Warn("what was remembered of addresses cannot be used; providers will be asked again",
			slog.String("file", m.path), slog.Any("error", err))
	}
}
