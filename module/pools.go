package module

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/atomicfile"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/memory"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// What must outlive a reload is shared between the old and the new configuration. Each value's key holds the settings that
// built it: an unchanged configuration finds the value that is in use, a changed one builds its own.
var pool = caddy.NewUsagePool()

// acquire returns the shared value of a key, building it if nobody has it yet. It notes in the app that the value must be
// given back.
func acquire[T caddy.Destructor](a *App, key string, build func() (T, error)) (T, error) {
	return acquireFor(&a.pools, key, build)
}

// acquireFor is acquire for what is not the app.
func acquireFor[T caddy.Destructor](pools *releases, key string, build func() (T, error)) (T, error) {
	value, _, err := pool.LoadOrNew(key, func() (caddy.Destructor, error) { return build() })
	if err != nil {
		var none T
		return none, err
	}
	*pools = append(*pools, func() error {
		_, err := pool.Delete(key)
		return err
	})
	return value.(T), nil
}

// dataDir is where everything is kept that survives a restart.
func dataDir() string { return filepath.Join(caddy.AppDataDir(), "ip_reputation") }

// hashOf returns a key for settings that may hold secrets.
func hashOf(settings any) (string, error) {
	text, err := json.Marshal(settings)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// pooledLists are lists in use by one or more configurations.
type pooledLists struct {
	*feed.Set
	starting sync.Once
	series   map[string]*metrics.FeedSeries
}

func (p *pooledLists) start() { p.starting.Do(p.Start) }

// Destruct implements caddy.Destructor.
func (p *pooledLists) Destruct() error {
	err := p.Close()
	for _, series := range p.series {
		series.Close()
	}
	return err
}

// feedResults are the words of all outcomes of a refresh.
var feedResults = func() (words []string) {
	for r := range feed.Result(feed.NumResults) {
		words = append(words, r.String())
	}
	return words
}()

// observe counts attempts to refresh lists.
func (p *pooledLists) observe(name string, result feed.Result) {
	if series := p.series[name]; series != nil {
		series.Count(result.String())
	}
	lookSoon()
}

// listing makes a snapshot answer look-ups.
type listing struct{ *feed.Snapshot }

// Current implements lookup.Lists.
func (p *pooledLists) Current() lookup.Listing { return listing{p.Set.Current()} }

func (l listing) Lookup(addr netip.Addr) uint32 { return l.Index.Lookup(addr) }
func (l listing) Members(set uint32) []uint16   { return l.Index.Members(set) }
func (l listing) Sets() int                     { return l.Index.Sets() }
func (l listing) Loaded(list int) bool          { return l.Lists[list].Loaded }

// acquireLists returns the lists of the given specs, of which some have keys.
func (a *App) acquireLists(dir string, specs []feed.Spec, keys []string) (*pooledLists, error) {
	hash, err := hashOf([]any{specs, keys})
	if err != nil {
		return nil, err
	}
	return acquire(a, "lists "+dir+" "+hash, func() (*pooledLists, error) {
		p := &pooledLists{series: make(map[string]*metrics.FeedSeries, len(specs))}
		set, err := feed.Open(specs, feed.Options{Dir: filepath.Join(dir, "feeds"), Logger: processLogger("lists"), Observe: p.observe})
		if err != nil {
			return nil, err
		}
		p.Set = set
		for _, spec := range specs {
			if spec.Values == nil {
				p.series[spec.Name] = metrics.OpenFeed(spec.Name, feedResults...)
			}
		}
		return p, nil
	})
}

// pooledBans are the overrides made at run time.
type pooledBans struct{ *ban.Store }

// Destruct implements caddy.Destructor.
func (p *pooledBans) Destruct() error { return p.Close() }

func (a *App) provisionBans(dir string) (err error) {
	path := filepath.Join(dir, "bans.json")
	a.overrides, err = acquire(a, "bans "+path, func() (*pooledBans, error) {
		store, err := ban.Open(path, ban.Options{Logger: processLogger("bans")})
		return &pooledBans{store}, err
	})
	return err
}

// pooledLedger counts the calls to providers.
type pooledLedger struct{ *quota.Local }

// Destruct implements caddy.Destructor.
func (p *pooledLedger) Destruct() error { return p.Close() }

// acquireLedger returns what counts the calls: for this instance, or for all that share a Redis.
func (a *App) acquireLedger(dir string) (quota.Ledger, error) {
	path := filepath.Join(dir, "quota.json")
	local, err := acquire(a, "ledger "+path, func() (*pooledLedger, error) {
		return &pooledLedger{quota.OpenLocal(path, processLogger("quota"))}, nil
	})
	if err != nil || a.redis == nil {
		return local, err
	}
	return quota.NewShared(tracedCounts{a.redis.Client}, local.Local, a.Redis.localShare(), processLogger("quota")), nil
}

// pooledBudget is the state of one provider.
type pooledBudget struct{ *quota.Budget }

// Destruct implements caddy.Destructor.
func (pooledBudget) Destruct() error { return nil }

// acquireBudget returns the state of the provider with these settings: what a wrong address or another account has led to
// must not hold back the right one.
func (a *App) acquireBudget(name string, service []byte) (*quota.Budget, error) {
	hash, err := hashOf(json.RawMessage(service))
	if err != nil {
		return nil, err
	}
	budget, err := acquire(a, "budget "+name+" "+hash, func() (pooledBudget, error) { return pooledBudget{quota.NewBudget()}, nil })
	return budget.Budget, err
}

// pooledMemory is the records of one size of table, kept on disk while nobody uses it.
type pooledMemory struct {
	records *memory.Table
	path    string
}

// newestMemory is the table of the configuration that was started last. Only it is saved: one that lingers because of a
// look-up under way knows less, and one of a configuration that was only checked knows nothing.
var newestMemory atomic.Pointer[pooledMemory]

// table returns the memory of an engine: none for a configuration without providers.
func (p *pooledMemory) table() lookup.Memory {
	if p == nil {
		return nil
	}
	return p
}

// Get implements lookup.Memory. By value, because what is passed by reference through an interface is allocated.
func (p *pooledMemory) Get(key record.Key) (rec record.Record, ok bool) {
	ok = p.records.Get(key, &rec)
	return rec, ok
}

// Update implements lookup.Memory.
func (p *pooledMemory) Update(key record.Key, change func(*record.Record)) {
	p.records.Update(key, change)
}

// Delete implements lookup.Memory.
func (p *pooledMemory) Delete(key record.Key) bool { return p.records.Delete(key) }

// Destruct implements caddy.Destructor. It runs when no configuration uses the table any more.
func (p *pooledMemory) Destruct() error {
	newest := newestMemory.Load()
	if newest != p {
		newest.inheritFrom(p)
		return nil
	}
	if err := atomicfile.Write(p.path, p.records.Save); err != nil {
		return fmt.Errorf("saving what is remembered of addresses: %w", err)
	}
	return nil
}

// provisionMemory finds or makes the table for the given number of providers. A new one begins with what another
// configuration remembers, or with what was saved at the last stop.
func (a *App) provisionMemory(dir string, providers int) (err error) {
	if providers == 0 {
		return nil
	}
	path := filepath.Join(dir, "memory.bin")
	key := fmt.Sprintf("memory %s %d %d", path, a.Memory, providers)
	a.memory, err = acquire(a, key, func() (*pooledMemory, error) {
		p := &pooledMemory{records: memory.New(a.Memory, providers), path: path}
		if !p.inherit() {
			loadMemory(path, p.records, a.logger)
		}
		return p, nil
	})
	return err
}

// inherit copies what a table of another size remembers, unless it is known here already.
func (p *pooledMemory) inherit() bool {
	old := newestMemory.Load()
	if old == nil || old.path != p.path || running.current() == nil {
		return false
	}
	p.inheritFrom(old)
	return true
}

// inheritFrom copies what another table of the same file knows and this one does not.
func (p *pooledMemory) inheritFrom(other *pooledMemory) {
	if p == nil || p == other || p.path != other.path {
		return
	}
	other.records.Range(func(key record.Key, rec *record.Record) bool {
		p.records.Update(key, func(kept *record.Record) {
			if *kept == (record.Record{}) {
				*kept = *rec
			}
		})
		return true
	})
}

// start copies once more what was learnt since the configuration was read.
func (p *pooledMemory) start() {
	if p != nil {
		p.inherit()
		newestMemory.Store(p)
	}
}

func loadMemory(path string, table *memory.Table, logger *slog.Logger) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		defer file.Close()
		_, err = table.Load(file, time.Now())
	}
	if err != nil {
		logger.Warn("what was remembered of addresses cannot be used; providers will be asked again",
			slog.String("file", path), slog.Any("error", err))
	}
}

// processLogger returns a logger for what is shared between configurations: a configuration's own logger ends with it.
func processLogger(part string) *slog.Logger {
	return slog.New(correlated{reported(processHandler{part: part}, "ip_reputation."+part)})
}
