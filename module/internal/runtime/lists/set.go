package lists

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"sync/atomic"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/crowdsec"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup/listing"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
)

// Set is lists in use by one or more configurations.
type Set struct {
	set     atomic.Pointer[feed.Set] // nil when no configuration uses them any more
	last    []feed.Status            // the state when they ended
	series  map[string]*metrics.ResultSeries
	asns    map[string]uint16 // the lists of autonomous systems, by name; never changed
	streams streams
}

// feedResults are the words of all outcomes of a refresh.
var feedResults = func() (words []string) {
	for r := range feed.Result(feed.NumResults) {
		words = append(words, r.String())
	}
	return words
}()

// Options are what it takes to open lists.
type Options struct {
	Leases *process.Leases
	Folder *process.Folder
	Shared feed.Shared  // with the other instances
	Logger *slog.Logger // one that outlives the configuration
}

// NewSet returns the lists of an opened set.
func NewSet(set *feed.Set) *Set {
	s := &Set{series: make(map[string]*metrics.ResultSeries), asns: make(map[string]uint16)}
	s.set.Store(set)
	return s
}

// open finds or opens lists. The key tells them apart from others. Each stream fills the list of its name.
func (o Options) open(key string, specs []feed.Spec, streams []crowdsec.Config) (*Set, error) {
	dir := process.DataFolder()
	return process.Share(o.Leases, key+" "+dir, func() (*Set, func() error, error) {
		s := NewSet(nil)
		set, err := feed.Open(specs, feed.Options{
			Dir: filepath.Join(dir, "feeds"), Shared: o.Shared, Logger: o.Logger, Observe: s.observe, Detached: true,
		})
		if err != nil {
			return nil, nil, err
		}
		s.set.Store(set)
		if err := s.streams.open(set, streams, o.Logger); err != nil {
			return nil, nil, err
		}
		for i, spec := range specs {
			if spec.Values == nil && spec.ASNValues == nil {
				s.series[spec.Name] = metrics.OpenFeed(spec.Name, feedResults...)
			}
			if spec.ASNs || spec.ASNValues != nil {
				s.asns[spec.Name] = uint16(i)
			}
		}
		return s, o.Folder.Closing(set, s.Close), nil
	})
}

// start begins to refresh the lists, unless it has begun.
func (s *Set) start() {
	if set := s.set.Load(); set != nil {
		set.Start()
		s.streams.start()
	}
}

// Status returns the state of each list, in the order of the specs.
func (s *Set) Status() []feed.Status {
	if set := s.set.Load(); set != nil {
		return set.Status()
	}
	return s.last
}

// Accept is Refresh, and believes a list that shrank.
func (s *Set) Accept(ctx context.Context, name string) error {
	if set := s.set.Load(); set != nil {
		return set.Accept(ctx, name)
	}
	return fmt.Errorf("refreshing %s: %w", name, feed.ErrClosed)
}

// Refresh refreshes one list now.
func (s *Set) Refresh(ctx context.Context, name string) error {
	if stream := s.streams.of(name); stream != nil && s.set.Load() != nil {
		return stream.Refresh(ctx)
	}
	if set := s.set.Load(); set != nil {
		return set.Refresh(ctx, name)
	}
	return fmt.Errorf("refreshing %s: %w", name, feed.ErrClosed)
}

// Close ends the refreshes. The contents are then let go of, since Caddy may hold an ended configuration for minutes.
func (s *Set) Close() error {
	s.streams.close()
	set := s.set.Load()
	err := set.Close()
	s.last = set.Status()
	s.set.Store(nil)
	for _, series := range s.series {
		series.Close()
	}
	return err
}

// Refreshed notifies of attempts to refresh a list, so that nobody needs to look all the time.
var Refreshed replica.Signal

// observe counts attempts to refresh lists.
func (s *Set) observe(name string, result feed.Result) {
	if series := s.series[name]; series != nil {
		series.Count(result.String())
	}
	Refreshed.Notify()
}

// contents makes a snapshot answer look-ups.
type contents struct{ *feed.Snapshot }

// Current implements listing.Source.
func (s *Set) Current() listing.Contents {
	if set := s.set.Load(); set != nil {
		return contents{set.Current()}
	}
	return listing.None{} // for requests that outlive their configuration
}

func (c contents) Lookup(addr netip.Addr) uint32 { return c.Index.Lookup(addr) }
func (c contents) Members(set uint32) []uint16   { return c.Index.Members(set) }
func (c contents) Sets() int                     { return c.Index.Sets() }
func (c contents) Loaded(member int) bool        { return c.state(member).Loaded }
func (c contents) Content(member int) string     { return c.state(member).Content }

func (c contents) state(member int) *feed.ListState {
	list, _ := c.ListOf(member)
	return &c.Lists[list]
}

// ListsOf returns the positions of the lists that members of the current snapshot are or belong to.
func (s *Set) ListsOf(members []uint16) (lists []int) {
	set := s.set.Load()
	if set == nil {
		return nil
	}
	for _, member := range members {
		if list, _ := set.Current().ListOf(int(member)); !slices.Contains(lists, list) {
			lists = append(lists, list)
		}
	}
	return lists
}
