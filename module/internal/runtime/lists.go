package runtime

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/crowdsec"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/event"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup/listing"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
)

// Lists are lists in use by one or more configurations.
type Lists struct {
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

// OpenLists finds or opens the lists of the given specs. The hash of a list's further settings, such as its
// key, tells two lists apart that differ in these only. Each stream fills the list of its name.
func (rt *Runtime) OpenLists(specs []feed.Spec, hashes []string, streams []crowdsec.Config) error {
	hash, err := process.Hash([]any{specs, hashes})
	if err != nil {
		return err
	}
	rt.Lists, err = rt.shareLists("lists "+hash, specs, streams)
	return err
}

// shareLists finds or opens lists. The key tells them apart from others. Each stream fills the list of its name.
func (rt *Runtime) shareLists(key string, specs []feed.Spec, streams []crowdsec.Config) (*Lists, error) {
	dir := process.DataFolder()
	return process.Share(&rt.Leases, key+" "+dir, func() (*Lists, func() error, error) {
		l := &Lists{series: make(map[string]*metrics.ResultSeries, len(specs)), asns: make(map[string]uint16)}
		set, err := feed.Open(specs, feed.Options{
			Dir: filepath.Join(dir, "feeds"), Shared: sharedLists{}, Logger: ProcessLogger("lists"), Observe: l.observe,
			Detached: true,
		})
		if err != nil {
			return nil, nil, err
		}
		l.set.Store(set)
		if err := l.streams.open(set, streams); err != nil {
			return nil, nil, err
		}
		for i, spec := range specs {
			if spec.Values == nil && spec.ASNValues == nil {
				l.series[spec.Name] = metrics.OpenFeed(spec.Name, feedResults...)
			}
			if spec.ASNs || spec.ASNValues != nil {
				l.asns[spec.Name] = uint16(i)
			}
		}
		return l, rt.Folder.Closing(set, l.close), nil
	})
}

// Start begins to refresh the lists, unless it has begun.
func (l *Lists) Start() {
	if set := l.set.Load(); set != nil {
		set.Start()
		l.streams.start()
	}
}

// Status returns the state of each list, in the order of the specs.
func (l *Lists) Status() []feed.Status {
	if set := l.set.Load(); set != nil {
		return set.Status()
	}
	return l.last
}

// Accept is Refresh, and believes a list that shrank.
func (l *Lists) Accept(ctx context.Context, name string) error {
	if set := l.set.Load(); set != nil {
		return set.Accept(ctx, name)
	}
	return fmt.Errorf("refreshing %s: %w", name, feed.ErrClosed)
}

// Refresh refreshes one list now.
func (l *Lists) Refresh(ctx context.Context, name string) error {
	if stream := l.streams.of(name); stream != nil && l.set.Load() != nil {
		return stream.Refresh(ctx)
	}
	if set := l.set.Load(); set != nil {
		return set.Refresh(ctx, name)
	}
	return fmt.Errorf("refreshing %s: %w", name, feed.ErrClosed)
}

// close ends the refreshes. The contents are then let go of, since Caddy may hold an ended configuration for minutes.
func (l *Lists) close() error {
	l.streams.close()
	set := l.set.Load()
	err := set.Close()
	l.last = set.Status()
	l.set.Store(nil)
	for _, series := range l.series {
		series.Close()
	}
	return err
}

// observe counts attempts to refresh lists.
func (l *Lists) observe(name string, result feed.Result) {
	if series := l.series[name]; series != nil {
		series.Count(result.String())
	}
	listsRefreshed.Notify()
}

// contents makes a snapshot answer look-ups.
type contents struct{ *feed.Snapshot }

// Current implements listing.Source.
func (l *Lists) Current() listing.Contents {
	if set := l.set.Load(); set != nil {
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
func (l *Lists) ListsOf(members []uint16) (lists []int) {
	set := l.set.Load()
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

// repeated returns, by position, the name of the feed that counts in a list's place because both have the same
// contents, or the empty string.
func (rt *Runtime) repeated() []string {
	names := make([]string, len(rt.ListNames))
	for i, other := range listing.Repeats(rt.ListMeanings, rt.Lists.Current().Content) {
		if other >= 0 {
			names[i] = rt.ListNames[other]
		}
	}
	return names
}

// warnOfRepeats logs which feeds have the same contents, each once. It waits for the first contents of all
// lists, since a feed that is loaded later may be the one that counts.
func (rt *Runtime) warnOfRepeats() {
	if rt.AwaitsLists(time.Now()) {
		return
	}
	for i, other := range rt.repeated() {
		if name := rt.ListNames[i]; other != rt.repeatsLogged[name] {
			rt.repeatsLogged[name] = other
			if other != "" {
				rt.Logger.Warn("two lists have the same contents and count once", slog.String("feed", name),
					slog.String("same_as", other), slog.String("cure", "remove one of them"))
			}
		}
	}
}

// warnOfOldLists logs which lists their publishers seem to have given up, each once for the date that it has.
func (rt *Runtime) warnOfOldLists(now time.Time) {
	for _, s := range rt.Lists.Status() {
		if !s.Old(now) || s.Published.Equal(rt.oldLogged[s.Name]) {
			continue
		}
		rt.oldLogged[s.Name] = s.Published
		rt.Logger.Warn("a list is old by its publisher's own date", slog.String("feed", s.Name),
			slog.String("published", event.Clock(s.Published)), slog.Duration("max_age", s.MaxAge),
			slog.String("cure", "see whether the publisher still keeps it up, and take it out if not, or raise `max_age`"))
	}
}
