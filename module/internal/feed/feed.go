// Package feed maintains lists of addresses: it fetches, validates
// and stores them, or has them pushed, and publishes them as one
// immutable snapshot that answers for all lists with a single look-up.
//
// An answer is refused if it is HTML, not text, empty, much smaller than before, or has mostly
// wrong lines. The last good list then stays in force. A fetched list has a copy on disk, so that a
// restart needs no request. A local file has one for a start at which it cannot be used. Copies are
// read only at start. In memory a list exists once, in the snapshot: a rebuild takes unchanged lists
// from the current one.
package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed/fetch"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/listformat"
)

// Defaults of a Spec.
const (
	DefaultRefresh   = time.Hour
	DefaultTimeout   = 30 * time.Second
	DefaultMaxBytes  = 64 << 20
	DefaultMaxShrink = 0.5

	// DefaultMaxEntries is how many entries a list may have.
	DefaultMaxEntries = 2_000_000

	// MaxParts is how many parts a pushed list may have.
	MaxParts = 256

	// DefaultConfirm is how many fetches must agree on a list that shrank.
	DefaultConfirm = 3

	// DefaultMaxAge is how old a list may be by its publisher's date.
	DefaultMaxAge = 30 * 24 * time.Hour
)

// Spec describes the source and the form of one list. Exactly one of URLs, File, Values and
// Pushed is set. An empty but non-nil Values is a list without entries.
type Spec struct {
	// Name is unique among the lists and names the list's copy on disk: lower-case letters, digits,
	// "_" and "-", 64 at most.
	Name string

	// URLs are the parts of one list, such as the IPv4 and the IPv6 half. They are accepted
	// together or not at all.
	URLs []string

	// File is a local file. Its directory is watched: a change, an atomic
	// replacement and a swapped symbolic link take effect within a
	// second, or within ten where the file system sends no notifications.
	File string

	// Values are the list itself, with ASNValues, which are autonomous systems.
	Values    []netip.Prefix
	ASNValues []uint32 `json:",omitempty"`

	// ASNs marks a list whose entries are autonomous systems instead of addresses: see Snapshot.Named.
	ASNs bool `json:",omitempty"`

	// Pushed names the source that pushes the list, such as the host of a stream of decisions: see
	// Set.Push. Status shows it, so it must not hold secrets.
	Pushed string `json:",omitempty"`

	// Filter names what the source of a pushed list leaves out. A copy made with another filter is
	// not used.
	Filter string `json:",omitempty"`

	// Parts is the number of parts of a pushed list, whose entries mean different things. Each part
	// is a member of the Index: see Snapshot. Default: 1. At most MaxParts.
	Parts int `json:",omitempty"`

	// MaxEntries is how many entries a list may have. Of a pushed list, each entry counts; of other
	// lists, each range of addresses, after merging. It bounds the memory that the list takes. When
	// a pushed list has more, entries of the highest parts are left out.
	// Default: DefaultMaxEntries.
	MaxEntries int `json:",omitempty"`

	// Own marks a list that the operator maintains, such as a deny or exempt list. It may name
	// private ranges. For CheckFile, one wrong line is an error. Otherwise, the good lines take effect
	// and the wrong ones are logged as errors. In lists of others, reserved ranges are removed and
	// wrong lines are skipped.
	// Values are always own.
	Own bool

	// Header is sent with each request for a URL. It may hold secrets and is never logged.
	Header http.Header

	// Authorize fills secrets into a copy of Header before each request, so that a rotated secret
	// is used at once. If it fails, no request is made. Default: Header is sent as it is.
	Authorize func(context.Context, http.Header) (http.Header, error) `json:"-"`

	// Format is the form of the list. With the zero value it is found by looking.
	Format listformat.Format

	// ArchiveParts is set if a zip archive may hold several files, which together are the list.
	ArchiveParts bool `json:",omitempty"`

	// Refresh is how often URLs are asked for a newer list. Default:
	// DefaultRefresh. At least MinRefresh.
	Refresh time.Duration

	// MinRefresh is the shortest Refresh that the publisher allows. Default: 1m.
	MinRefresh time.Duration

	// Timeout is the time that one request may take, the body included. Default: DefaultTimeout.
	Timeout time.Duration

	// MaxBytes is the size that one part, or the file, may have,
	// after decompression. Default: DefaultMaxBytes.
	MaxBytes int64

	// MaxShrink is the share of its lines, from 0 to 1, that a list may lose at
	// once: a fetched list from one refresh to the next, a pushed one when it
	// is replaced. 0 lets it lose none and 1 all. Lists of fewer than ten lines
	// and local files may always shrink. Default, when nil: DefaultMaxShrink.
	MaxShrink *float64

	// Confirm is how many fetches, spread over confirmTime or more, must bring a list that shrank more than MaxShrink
	// allows, until it is believed. With 0 it never is. Default, when nil: DefaultConfirm.
	Confirm *int `json:",omitempty"`

	// MaxAge is how old the list may be by the publisher's own date until that is worth a warning. Default: for URLs
	// DefaultMaxAge, or ageRefreshes times Refresh if that is longer; for others there is no limit.
	MaxAge time.Duration `json:",omitempty"`

	// AllowEmpty accepts a list without entries.
	AllowEmpty bool

	// Terms are the publisher's conditions of use, in a sentence, for Status to show.
	Terms string
}

// Options are what the lists of a Set share. The zero value stores
// nothing on disk and logs nothing.
type Options struct {
	// Dir is the folder for copies of fetched lists and files. It is created when missing. With "", or when
	// it cannot be written to, lists stay in memory and are fetched again after a restart. Several
	// Sets may share it: of lists with the same name, the one that was fetched last is stored.
	Dir string

	// Detached reads the copies, and writes none before Attach: another process may use the folder.
	Detached bool

	// Transport carries the requests. Default: a transport of the Set's own.
	Transport http.RoundTripper

	// Shared, if set, is where instances share copies of fetched lists.
	Shared Shared

	// Logger receives what operators need to know. Default: nothing is logged.
	Logger *slog.Logger

	// Observe is called after every attempt to refresh a list, from several goroutines.
	Observe func(name string, result Result)
}

// Errors that Refresh returns, wrapped.
var (
	// ErrNoSuchFeed means that no list has the name.
	ErrNoSuchFeed = errors.New("no such list")

	// ErrTooSoon means that the last request was a moment ago, or
	// that the publisher asked for a pause.
	ErrTooSoon = errors.New("too soon")

	// ErrClosed means that the Set does not refresh any more.
	ErrClosed = errors.New("the lists are closed")
)

// closeTimeout bounds Close. All work ends with the Set's context,
// except for calls of a disk that hangs.
const closeTimeout = 5 * time.Second

// Set maintains a number of lists. Current may be called at any time
// from any goroutine and never blocks.
type Set struct {
	lists   []*list
	current atomic.Pointer[Snapshot]
	logger  *slog.Logger
	observe func(string, Result)
	client  *fetch.Client
	shared  Shared // nil: each list is fetched by this instance
	builder builder
	writes  atomic.Bool // copies are written to disk

	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex // guards started and closed; once closed is set, nothing is added to running
	started bool
	closed  bool
	running sync.WaitGroup
}

// Open reads values, local files and the copies on disk, and publishes the first snapshot. It makes
// no request. Only an invalid spec is an error. Of a file with wrong lines, the good ones are in
// force; a file of which nothing can be used is replaced by its copy, if there is one. Both are
// logged as errors: see CheckFile. A list without a copy is fetched after Start.
func Open(specs []Spec, o Options) (*Set, error) {
	if len(specs) > math.MaxUint16 {
		return nil, fmt.Errorf("%d lists: at most %d are possible", len(specs), math.MaxUint16)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Observe == nil {
		o.Observe = func(string, Result) {}
	}
	s := &Set{logger: o.Logger, observe: o.Observe, client: fetch.New(o.Transport), shared: o.Shared}
	s.builder.wake = make(chan struct{}, 1)
	s.writes.Store(!o.Detached)
	s.ctx, s.cancel = context.WithCancel(context.Background())

	taken := make(map[string]bool, len(specs))
	for _, spec := range specs {
		spec, err := spec.complete()
		if err != nil {
			return nil, err
		}
		if taken[spec.Name] {
			return nil, fmt.Errorf("two lists are named %q: give one of them another name", spec.Name)
		}
		taken[spec.Name] = true
		s.lists = append(s.lists, newList(s, len(s.lists), spec))
	}
	dir := prepareDir(o.Dir, o.Logger)
	empty, err := emptySnapshot(s.lists)
	if err != nil {
		return nil, err
	}
	for _, l := range s.lists {
		l.open(dir)
	}
	s.current.Store(empty)
	s.rebuild()
	return s, nil
}

// Start starts the refreshes. A list whose copy is younger than its refresh interval is not
// fetched. Further calls do nothing.
func (s *Set) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started || s.closed {
		return
	}
	s.started = true
	s.running.Go(func() { s.guard("rebuilding the lists", func() { s.rebuildOnRequest(s.rebuild) }) })
	var watcher *watcher
	for _, l := range s.lists {
		switch l.spec.kind() {
		case KindURL:
			s.running.Go(func() { s.guard("refreshing "+l.spec.Name, l.refreshOnSchedule) })
		case KindPushed:
			s.running.Go(func() { s.guard("maintaining "+l.spec.Name, l.maintainPushed) })
		case KindFile:
			if watcher == nil {
				watcher = newWatcher(s.logger)
			}
			watcher.add(l)
			s.running.Go(func() { s.guard("watching "+l.spec.Name, l.refreshOnChange) })
		}
	}
	if watcher != nil {
		s.running.Go(func() { s.guard("watching files", func() { watcher.run(s.ctx) }) })
	}
}

// Attach writes copies to disk from now on, each with the next refresh of its list.
func (s *Set) Attach() { s.writes.Store(true) }

// Detach writes no copies from now on: another process uses the folder.
func (s *Set) Detach() { s.writes.Store(false) }

// Close stops all refreshes. The last snapshot stays valid. Closing twice is harmless.
func (s *Set) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	timer := time.NewTimer(closeTimeout)
	defer timer.Stop()
	select {
	case <-done:
		s.client.Close()
		return nil
	case <-timer.C:
		return fmt.Errorf("closing the lists: still busy after %s, probably with a disk that does not answer",
			closeTimeout)
	}
}

// Current returns the newest snapshot. The same pointer is returned until a list has changed.
func (s *Set) Current() *Snapshot { return s.current.Load() }

// Status returns the state of each list, in the order of the specs.
func (s *Set) Status() []Status {
	all := make([]Status, len(s.lists))
	inForce := s.Current().Lists
	for i, l := range s.lists {
		all[i] = l.status(&inForce[i])
	}
	return all
}

// guard runs one of the Set's goroutines. A panic ends only that
// goroutine: its lists stay as they are.
func (s *Set) guard(what string, run func()) {
	defer func() {
		if p := recover(); p != nil {
			s.logger.Error("a panic ended part of the lists' upkeep: restart to resume, and report this",
				"work", what, "panic", p)
		}
	}()
	run()
}
