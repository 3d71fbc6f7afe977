package process

import (
	"log/slog"
	"path/filepath"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/folderlock"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
)

// DataFolder is where everything is stored that survives a restart.
func DataFolder() string { return filepath.Join(caddy.AppDataDir(), "ip_reputation") }

// Folder is the data folder as one or more configurations use it. One process at a time writes in it: another one, and
// one that only checks a configuration, reads it and works from memory. It takes the folder when the first one ends.
//
// The spool of the history is not part of this: several processes can share it.
type Folder struct {
	path   string
	logger *slog.Logger
	lock   *folderlock.Lock

	mu      sync.Mutex
	held    bool
	refused bool // another process has it
	stores  []attached
}

// attached is a store with a file in the folder.
type attached interface {
	Attach() // take over what is in the file, and write it from now on
	Detach() // leave it to another process
}

// OpenFolder finds or makes the data folder. It comes before all stores in it, so that they are closed before it is left
// to another process. It is locked by Start. The logger is one that outlives the configuration.
func OpenFolder(leases *Leases, logger *slog.Logger) (*Folder, error) {
	dir := DataFolder()
	return Share(leases, "folder "+dir, func() (*Folder, func() error, error) {
		f := newFolder(dir, logger)
		return f, f.lock.Close, nil
	})
}

func newFolder(dir string, logger *slog.Logger) *Folder {
	f := &Folder{path: dir, logger: logger}
	f.lock = folderlock.New(dir, logger, f.change)
	return f
}

// Start takes the folder, unless another process has it.
func (f *Folder) Start() {
	if f != nil {
		f.lock.Start()
	}
}

// State returns what health judges.
func (f *Folder) State() health.Folder {
	s := f.lock.Status()
	state := health.Folder{Path: f.path, Since: s.Since}
	switch {
	case s.Since.IsZero(): // it has not started yet
	case !s.Held:
		state.Owner = s.Owner.String()
	case s.Err != nil:
		state.Problem = s.Err.Error()
	}
	return state
}

// add lets a store, which was opened detached, write while this process has the folder. The returned function ends that.
func (f *Folder) add(s attached) (remove func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stores = append(f.stores, s)
	if f.held {
		s.Attach()
	}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.stores = slices.DeleteFunc(f.stores, func(other attached) bool { return other == s })
	}
}

// Closing returns what closes a store that was added.
func (f *Folder) Closing(s attached, closeStore func() error) func() error {
	remove := f.add(s)
	return func() error {
		remove()
		return closeStore()
	}
}

// change tells the stores whether this process has the folder.
func (f *Folder) change(s folderlock.Status) {
	switch {
	case !s.Held:
		f.logger.Warn("another process uses the data folder: this one works from memory, and a restart forgets what it learns and is told",
			slog.String("folder", f.path), slog.String("owner", s.Owner.String()),
			slog.String("cure", "let each Caddy have a data folder of its own: set XDG_DATA_HOME; where the other one is about to end, nothing"))
	case s.Err != nil:
		f.logger.Warn("the data folder cannot be locked: make sure that no other process uses it",
			slog.String("folder", f.path), slog.Any("error", s.Err))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.Held && f.refused {
		f.logger.Info("this process has the data folder now, and stores in it what it knows", slog.String("folder", f.path))
	}
	f.refused = !s.Held
	f.held = s.Held
	for _, store := range f.stores {
		if s.Held {
			store.Attach()
		} else {
			store.Detach()
		}
	}
}
