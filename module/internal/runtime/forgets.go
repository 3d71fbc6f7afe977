package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/atomicfile"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/redis"
)

// forgetFor is how long an instance that was away is told what to forget.
const forgetFor = 24 * time.Hour

// Tombstones are the subjects that operators had forgotten of late: what was learnt of them before must not come back from an
// instance, or from Redis, that has not heard of it. They outlive reloads and restarts.
type Tombstones struct {
	path string
	log  *slog.Logger

	mu    sync.Mutex
	notes map[string]forget // by subject

	changed, pendingChanged chan struct{}
}

// forget is one subject, as it is kept on disk.
type forget struct {
	Subject netip.Prefix `json:"subject"`
	At      time.Time    `json:"forgotten"`

	// Version orders forgets of one subject, in Unix milliseconds.
	Version int64 `json:"version"`

	// Pending: Redis was away, and has not forgotten yet. The other instances are told afterwards, or they would take what is
	// to be forgotten out of Redis again.
	Pending bool `json:"pending,omitempty"`
}

func (f forget) expires() time.Time { return f.At.Add(forgetFor).Truncate(time.Second) }

// openTombstones finds or loads what was deleted of late.
func (rt *Runtime) openTombstones() (err error) {
	path := filepath.Join(DataFolder(), "forgets.json")
	rt.Tombstones, err = Share(&rt.Leases, "forgets "+path, func() (*Tombstones, func() error, error) {
		f := &Tombstones{
			path: path, log: ProcessLogger("forgets"), notes: map[string]forget{},
			changed: make(chan struct{}, 1), pendingChanged: make(chan struct{}, 1),
		}
		f.load()
		return f, nil, nil
	})
	return err
}

func (f *Tombstones) load() {
	var list []forget
	text, err := os.ReadFile(f.path)
	if err == nil {
		err = json.Unmarshal(text, &list)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.log.Warn("what was to be forgotten of late cannot be read", slog.String("file", f.path), slog.Any("error", err))
	}
	for _, n := range list {
		f.notes[n.Subject.String()] = n
	}
}

// save is called with the lock held. What is not on disk is known until the process ends.
func (f *Tombstones) save() {
	now := time.Now()
	list := []forget{}
	for name, n := range f.notes {
		if n.expires().Before(now) {
			delete(f.notes, name)
			continue
		}
		list = append(list, n)
	}
	slices.SortFunc(list, func(a, b forget) int { return a.Subject.Compare(b.Subject) })
	text, err := json.Marshal(list)
	if err == nil {
		err = atomicfile.WriteBytes(f.path, append(text, '\n'))
	}
	if err != nil {
		f.log.Warn("what is to be forgotten cannot be written", slog.Any("error", err))
	}
}

// Add tells the other instances to forget a subject, once Redis has.
func (f *Tombstones) Add(subject netip.Prefix, now time.Time, pending bool) {
	f.mu.Lock()
	name := subject.String()
	f.notes[name] = forget{subject, now.UTC().Truncate(time.Second), max(now.UnixMilli(), f.notes[name].Version+1), pending}
	f.save()
	f.mu.Unlock()
	if pending {
		signal(f.pendingChanged)
		return
	}
	f.tell()
}

// tell lets the notes be posted.
func (f *Tombstones) tell() { signal(f.changed) }

func signal(ready chan struct{}) {
	select {
	case ready <- struct{}{}:
	default:
	}
}

// catchUp lets Redis forget what it was to forget while it was away, and then tells the others.
func (f *Tombstones) catchUp(ctx context.Context, client *redis.Client, sources []string) {
	f.mu.Lock()
	var pending []forget
	for _, n := range f.notes {
		if n.Pending {
			pending = append(pending, n)
		}
	}
	f.mu.Unlock()
	for _, n := range pending {
		if _, err := client.Forget(ctx, record.KeyOf(n.Subject.Addr()), sources); err != nil {
			return
		}
		f.mu.Lock()
		if kept := f.notes[n.Subject.String()]; kept.Version == n.Version {
			kept.Pending = false
			f.notes[n.Subject.String()] = kept
			f.save()
		}
		f.mu.Unlock()
		f.tell()
	}
}

// Notes implements redis.Peer.
func (f *Tombstones) Notes() (list []redis.Note) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, n := range f.notes {
		if n.Pending {
			continue
		}
		if value, err := json.Marshal(n); err == nil {
			list = append(list, redis.Note{Name: name, Version: n.Version, Expires: n.expires(), Value: value})
		}
	}
	return list
}

// Changed implements redis.Peer.
func (f *Tombstones) Changed() <-chan struct{} { return f.changed }

// Merge implements redis.Peer.
func (f *Tombstones) Merge(notes []redis.Note) (better bool) {
	f.mu.Lock()
	var news []forget
	for _, note := range notes {
		var n forget
		if json.Unmarshal(note.Value, &n) != nil || !n.Subject.IsValid() || n.Subject.String() != note.Name || n.Version != note.Version {
			continue // somebody else can write there
		}
		switch known := f.notes[note.Name].Version; {
		case n.Version > known:
			f.notes[note.Name] = n
			news = append(news, n)
		case n.Version < known:
			better = true
		}
	}
	if len(news) > 0 {
		f.save()
	}
	f.mu.Unlock()
	if app := Serving(); app != nil {
		for _, n := range news {
			app.Engine.ForgetUntil(record.KeyOf(n.Subject.Addr()), n.At)
		}
	}
	return better
}
