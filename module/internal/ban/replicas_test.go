package ban

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
)

// maxSkew is by how much clocks differ.
const maxSkew = 5 * time.Second

// instance is one of several, with a clock of its own.
type instance struct {
	store *Store // nil: it is off
	path  string
	skew  time.Duration
}

// shared is the server that instances share, and at the same time the slow twin of them: the last writer wins.
type shared map[string]replica.Entry

func (b shared) offer(changes ...replica.Entry) {
	for _, c := range changes {
		was, ok := b[c.Name]
		if !ok || c.Version > was.Version || c.Version == was.Version && bytes.Compare(c.Value, was.Value) > 0 {
			b[c.Name] = c
		}
	}
}

// inForce returns the entries that a store with this clock must have.
func (b shared) inForce(t *rapid.T, now time.Time) []Entry {
	var list []Entry
	for _, c := range b {
		e, err := parse(c.Value)
		if err != nil {
			t.Fatal(err)
		}
		if !e.over(now) {
			list = append(list, e.Entry)
		}
	}
	slices.SortFunc(list, compareEntries)
	return list
}

func compareEntries(a, b Entry) int {
	if a.Kind != b.Kind {
		return int(a.Kind) - int(b.Kind)
	}
	return a.Prefix.Compare(b.Prefix)
}

// world is some instances, the server that they share, and the messages under way between them.
type world struct {
	clock     *clock
	instances []*instance
	server    shared
	messages  [][]replica.Entry
	twin      shared // all changes that anybody ever made
}

func (w *world) start(t *rapid.T, r *instance) {
	var err error
	if r.store, err = Open(r.path, Options{now: func() time.Time { return w.clock.now().Add(r.skew) }}); err != nil {
		t.Fatal(err)
	}
}

// stop ends an instance. What it alone knows would be lost with it, so it is exchanged first.
func (w *world) stop(t *rapid.T, r *instance) {
	w.exchange(t)
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	r.store = nil
}

func (w *world) up() (up []*instance) {
	for _, r := range w.instances {
		if r.store != nil {
			up = append(up, r)
		}
	}
	return up
}

func (w *world) merge(t *rapid.T, r *instance, changes []replica.Entry) (newer []replica.Entry) {
	_, newer, err := r.store.merge(changes)
	if err != nil {
		t.Fatal(err)
	}
	given := shared{}
	given.offer(changes...)
	for _, c := range newer {
		if theirs, ok := given[c.Name]; !ok || c.Version < theirs.Version {
			t.Fatalf("%v is not newer than %v", c, theirs)
		}
	}
	return newer
}

// exchange lets those that are on hear of everything, without loss.
func (w *world) exchange(t *rapid.T) {
	up := w.up()
	for range 2 {
		for _, from := range up {
			for _, to := range up {
				w.merge(t, from, w.merge(t, to, from.store.Entries()))
			}
		}
	}
}

// ending reports whether something is over by some clocks, but not by all: then nothing is agreed on yet.
func (w *world) ending() bool {
	for _, c := range w.twin {
		if left := c.Expires.Sub(w.clock.now()); left > -maxSkew && left < maxSkew {
			return true
		}
	}
	return false
}

// agree checks that those that are on have what the twin has.
func (w *world) agree(t *rapid.T, when string) {
	for w.ending() {
		w.clock.add(maxSkew)
	}
	w.exchange(t)
	for i, r := range w.up() {
		r.store.expire(false)
		now := r.store.now()
		got := append(r.store.List(Ban), r.store.List(Exemption)...)
		slices.SortFunc(got, compareEntries)
		if diff := cmp.Diff(w.twin.inForce(t, now), got, comparePrefixes, equateEmpty); diff != "" {
			t.Fatalf("%s: replica %d: (-twin +got)\n%s", when, i, diff)
		}
		// nothing is new any more
		before := r.store.current.Load()
		for _, other := range w.up() {
			if changed, newer, err := r.store.merge(other.store.Entries()); changed != 0 || newer != nil || err != nil {
				t.Fatalf("%s: replica %d: %d, %v, %v", when, i, changed, newer, err)
			}
		}
		if r.store.current.Load() != before {
			t.Fatalf("%s: replica %d was changed by what it knows", when, i)
		}
	}
}

func TestReplicas(t *testing.T) {
	dir := t.TempDir()
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		w := &world{clock: newClock(), server: shared{}, twin: shared{}}
		for i := range rapid.IntRange(3, 4).Draw(t, "replicas") {
			r := &instance{
				path: filepath.Join(dir, fmt.Sprint(runs), fmt.Sprint(i)),
				skew: time.Duration(rapid.Int64Range(0, int64(maxSkew)).Draw(t, "skew")),
			}
			w.instances = append(w.instances, r)
			w.start(t, r)
		}
		defer func() {
			for _, r := range w.up() {
				_ = r.store.Close()
			}
			_ = os.RemoveAll(filepath.Join(dir, fmt.Sprint(runs)))
		}()
		t.Repeat(w.actions())
		for _, r := range w.instances {
			if r.store == nil {
				w.start(t, r)
			}
		}
		w.agree(t, "at the end")
		w.clock.add(3 * time.Hour)
		w.agree(t, "when what ends has ended")
	})
}

// draw returns one of those that are on.
func (w *world) draw(t *rapid.T) *instance { return rapid.SampledFrom(w.up()).Draw(t, "replica") }

// few, so that changes meet
var (
	drawnKinds    = rapid.SampledFrom([]Kind{Ban, Exemption})
	drawnPrefixes = rapid.SampledFrom([]netip.Prefix{
		netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("203.0.113.5/32"), netip.MustParsePrefix("2001:db8::/64"),
	})
	drawnLasts = rapid.SampledFrom([]time.Duration{0, 0, time.Hour, 2 * time.Hour, 48 * time.Hour})
)

func (w *world) actions() map[string]func(*rapid.T) {
	all := w.changes()
	maps.Copy(all, w.network())
	maps.Copy(all, w.events())
	return all
}

// changes are what operators do.
func (w *world) changes() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"add": func(t *rapid.T) {
			r := w.draw(t)
			e := Entry{Kind: drawnKinds.Draw(t, "kind"), Prefix: drawnPrefixes.Draw(t, "prefix"), Reason: rapid.StringMatching(`[a-z]{0,2}`).Draw(t, "reason")}
			if d := drawnLasts.Draw(t, "lasts"); d > 0 {
				e.Created = r.store.now()
				e.Expires = e.Created.Add(d)
			}
			if _, err := r.store.Add(e); err != nil {
				t.Fatal(err)
			}
			w.record(r, e.Kind, e.Prefix)
		},
		"remove": func(t *rapid.T) {
			r, kind, prefix := w.draw(t), drawnKinds.Draw(t, "kind"), drawnPrefixes.Draw(t, "prefix")
			if _, err := r.store.Remove(kind, prefix); err != nil {
				t.Fatal(err)
			}
			w.record(r, kind, prefix)
		},
	}
}

// record tells the twin what was changed.
func (w *world) record(r *instance, kind Kind, prefix netip.Prefix) {
	for _, c := range r.store.Entries() {
		if c.Name == (stored{Entry: Entry{Kind: kind, Prefix: prefix}}).name() {
			w.twin.offer(c)
		}
	}
}

// network is what happens to the messages between instances.
func (w *world) network() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"send": func(t *rapid.T) {
			changes := rapid.Permutation(w.draw(t).store.Entries()).Draw(t, "changes")
			w.messages = append(w.messages, changes[:rapid.IntRange(0, len(changes)).Draw(t, "part")])
		},
		"receive": func(t *rapid.T) { // late, twice, in another order
			if len(w.messages) > 0 {
				if newer := w.merge(t, w.draw(t), rapid.SampledFrom(w.messages).Draw(t, "message")); len(newer) > 0 {
					w.messages = append(w.messages, newer)
				}
			}
		},
		"lose": func(t *rapid.T) {
			if n := len(w.messages); n > 0 {
				i := rapid.IntRange(0, n-1).Draw(t, "message")
				w.messages = slices.Delete(w.messages, i, i+1)
			}
		},
		"use the server": func(t *rapid.T) {
			r := w.draw(t)
			w.server.offer(w.merge(t, r, slices.Collect(maps.Values(w.server)))...)
			if rapid.Bool().Draw(t, "reconcile") {
				w.server.offer(r.store.Entries()...)
			}
		},
		"flush the server": func(*rapid.T) { clear(w.server) },
		"garbage": func(t *rapid.T) {
			r := w.draw(t)
			e := stored{Entry: Entry{Kind: drawnKinds.Draw(t, "kind"), Prefix: drawnPrefixes.Draw(t, "prefix")}, Version: r.store.now().Add(replica.MaxAhead + time.Minute).UnixMilli()}
			w.merge(t, r, []replica.Entry{{Name: e.name(), Version: e.Version, Value: []byte("{")}, e.entry()})
		},
	}
}

// events are what happens to instances.
func (w *world) events() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"stop": func(t *rapid.T) {
			if len(w.up()) > 1 {
				w.stop(t, w.draw(t))
			}
		},
		"start": func(t *rapid.T) {
			for _, r := range w.instances {
				if r.store == nil {
					w.start(t, r)
					return
				}
			}
		},
		"kill": func(t *rapid.T) { // what is on disk must do
			r := w.draw(t)
			killed := r.store
			w.start(t, r)
			_ = killed.Close()
		},
		"a moment": func(t *rapid.T) {
			w.clock.add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond)
		},
		"a long time": func(t *rapid.T) { // all that is to end meanwhile was heard of
			w.exchange(t)
			w.clock.add(time.Duration(rapid.IntRange(30, 600).Draw(t, "minutes")) * time.Minute)
			for _, r := range w.up() {
				if rapid.Bool().Draw(t, "tended") {
					r.store.expire(false)
				}
			}
		},
	}
}
