// Package lookup finds out what is known of an address: from lists, from memory, and from providers in the background.
// It never fails and never waits longer than it is told to: it only knows less.
package lookup

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Lists tells which lists hold an address. Current is called for every request: it must not lock.
type Lists interface {
	// Current returns what is listed now. It returns the same value until something changes.
	Current() Listing
}

// Listing is what all lists hold at one moment. Lists are known by their position in Config.Lists.
type Listing interface {
	// Lookup returns the number of the set of lists that hold addr, 0 for none.
	Lookup(addr netip.Addr) uint32
	// Members returns the lists of a set.
	Members(set uint32) []uint16
	// Sets returns the number of sets.
	Sets() int
	// Loaded reports whether a list has contents, even if it is empty; a feed that was never fetched has none.
	Loaded(list int) bool
}

// Overrides are what operators banned or exempted while the server runs.
type Overrides interface {
	// Lookup reports whether addr is banned or exempt; exempt wins. It must not lock.
	Lookup(addr netip.Addr) (banned, exempt bool)
}

// Memory keeps records of subjects. Get must not lock.
type Memory interface {
	// Get writes a record to into, which becomes empty if there is none. It may miss a record that is being changed.
	Get(key record.Key, into *record.Record) bool
	// Update changes a record, which is empty if there was none. It never misses one.
	Update(key record.Key, change func(*record.Record))
	// Delete reports whether there was a record.
	Delete(key record.Key) bool
}

// Shared is the memory that instances share. Every method bounds its own time. An error means that the shared memory
// is away: the engine then works alone.
type Shared interface {
	// Load returns what instances have learnt of a subject from the named sources.
	Load(ctx context.Context, key record.Key, sources []string) (record.Record, error)
	// Claim loads the record too, and claims the sources that need a call. The caller must ask the returned ones, on
	// behalf of all instances, before the lease ends. A source that is not among them, and has neither an answer nor
	// a failure in the record, is being asked by another instance.
	Claim(
		ctx context.Context, key record.Key, sources []string, lease time.Duration,
	) (rec record.Record, mine []string, err error)
	// Store shares the answer of a source and releases the claim. An older answer never replaces a newer one.
	Store(ctx context.Context, key record.Key, source string, r reputation.Report, fetched, due time.Time) error
	// Fail releases a claim without an answer. No instance may claim the source again before retry has passed; with 0,
	// the next one may at once.
	Fail(ctx context.Context, key record.Key, source string, retry time.Duration) error
	// Forget deletes what instances have learnt of a subject from the named sources, and reports whether there was
	// anything.
	Forget(ctx context.Context, key record.Key, sources []string) (bool, error)
}

// Observer records metrics. It must be fast.
type Observer interface {
	// CountLookup counts a look-up. Every look-up is counted.
	CountLookup(origin reputation.Origin)
	// ObserveLookup records how long a look-up took that asked providers.
	ObserveLookup(origin reputation.Origin, took time.Duration)
}

// Tracer traces the look-ups that ask providers. The functions that its methods return may be nil.
type Tracer interface {
	// Start is called when a request starts a call, which may outlive the request. It returns base with what providers,
	// the shared memory and the log need of the request, such as its ID. It must not retain the request's context,
	// which holds the whole request. The returned function is called when the call has ended.
	Start(base, request context.Context) (context.Context, func(origin reputation.Origin))
	// Wait is called when a request begins to wait for a call, which it or another request has started; call is the
	// context that Start returned. The returned function is called when the wait ends, with the verdict and whether
	// the call ended in time.
	Wait(request, call context.Context) func(v reputation.Verdict, done bool)
}

// ListKind says what being on a list means.
type ListKind uint8

// The kinds of lists.
const (
	// Feed is evidence.
	Feed ListKind = iota
	// Deny is the operator's word: the score is 100.
	Deny
	// Exempt is the operator's word: the address is not judged.
	Exempt
)

// String returns the word for the kind.
func (k ListKind) String() string {
	switch k {
	case Deny:
		return "deny"
	case Exempt:
		return "exempt"
	}
	return "feed"
}

// List is the meaning of one list.
type List struct {
	Kind       ListKind
	Source     score.Source
	Confidence float64
	Categories reputation.Categories
	Nature     reputation.Nature
}

// Provider is one service to ask.
type Provider struct {
	// Source says how its reports are weighed.
	Source score.Source

	// Provider answers. It keeps itself within the terms of the service and answers at once when it must not ask.
	Provider reputation.Provider

	// ListedTTL and CleanTTL say how long an answer holds, with and without something bad in it.
	ListedTTL, CleanTTL time.Duration
}

// Config is what an engine is made of. Observer and Logger are required, the rest may be missing.
type Config struct {
	Lists     Lists
	Meanings  []List
	Overrides Overrides
	Memory    Memory
	Shared    Shared
	Providers []Provider
	Observer  Observer
	Tracer    Tracer
	Logger    *slog.Logger

	// MaxInFlight bounds how many subjects are being asked about at a time. Beyond it, the answer is what is known.
	// Default: 256.
	MaxInFlight int

	// Timeout bounds one look-up, whoever waits for it. Default: 10s.
	Timeout time.Duration
}

// Engine looks addresses up.
type Engine struct {
	Config
	sources  []provider
	ids      []record.SourceID // of the sources
	names    []string          // likewise
	scratch  sync.Pool         // of *scratch
	compiled atomic.Pointer[listing]
	flights  flights
	telling  atomic.Int64 // answers being shared
	base     context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

// provider is a Provider with what is computed from it once.
type provider struct {
	Provider
	id     record.SourceID
	covers reputation.Families
}

// scratch is what one look-up works with. It is too large for the stack of every request, and what is passed through an
// interface by reference, as a record is to the memory, would be allocated each time.
type scratch struct {
	record   record.Record
	evidence []score.Evidence
}

// New returns an engine. It fails when providers cannot be told apart or are too many to remember.
func New(c Config) (*Engine, error) {
	if c.MaxInFlight <= 0 {
		c.MaxInFlight = 256
	}
	if c.Timeout <= 0 {
		c.Timeout = 10 * time.Second
	}
	if c.Lists == nil {
		c.Lists = nothingListed{}
	}
	if c.Overrides == nil {
		c.Overrides = noOverrides{}
	}
	if c.Tracer == nil {
		c.Tracer = noTracer{}
	}
	if len(c.Providers) > 0 && c.Memory == nil {
		return nil, errors.New("providers need a memory: every request would ask them again")
	}
	sources, err := identify(c.Providers)
	if err != nil {
		return nil, err
	}
	e := &Engine{Config: c, sources: sources}
	e.scratch.New = func() any {
		return &scratch{evidence: make([]score.Evidence, 0, len(c.Meanings)+len(sources))}
	}
	for _, p := range sources {
		e.ids = append(e.ids, p.id)
		e.names = append(e.names, p.Source.Name)
	}
	e.base, e.cancel = context.WithCancel(context.Background())
	return e, nil
}

// Close ends all look-ups that are under way, after giving them until ctx ends to finish by themselves. Answers that
// were paid for should not be thrown away.
func (e *Engine) Close(ctx context.Context) {
	e.flights.close()
	done := make(chan struct{})
	go func() {
		e.running.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	e.cancel()
	<-done // providers return soon after their context ends
}

// Busy reports whether look-ups are under way.
func (e *Engine) Busy() bool { return e.flights.count.Load() > 0 }

// Lookup returns what is known of addr, which must be unmapped and without zone. When providers have to be asked for the
// first time it waits for them, until wait has passed or ctx ends; they go on in the background and answer the next
// request.
func (e *Engine) Lookup(ctx context.Context, addr netip.Addr, wait time.Duration) reputation.Verdict {
	held := e.held(addr)
	if v, decided := e.own(addr, held); decided {
		e.Observer.CountLookup(v.Origin)
		return v
	}
	if len(e.sources) == 0 {
		v := held.verdict
		e.Observer.CountLookup(v.Origin)
		return v
	}

	s, _ := e.scratch.Get().(*scratch)
	defer e.scratch.Put(s)
	origin, now := reputation.OriginNone, record.Seconds(time.Now())
	switch {
	case e.remembered(addr, s):
		origin = reputation.OriginMemory
	case held.settled:
		origin = reputation.OriginList
	}
	due, missing := e.due(addr, &s.record, now)
	if due == 0 || held.settled {
		e.Observer.CountLookup(origin)
		return e.judge(addr, held, s, now, origin, false)
	}
	return e.ask(ctx, addr, held, s, origin, missing, wait)
}

// remembered reads what is remembered of addr, and reports whether a provider was asked about it.
func (e *Engine) remembered(addr netip.Addr, s *scratch) bool {
	return e.Memory.Get(record.KeyOf(addr), &s.record) && s.record.Answers[0].Source != 0
}

// own returns the verdicts that need no evidence: the operator's word, and addresses that have no reputation.
func (e *Engine) own(addr netip.Addr, held *held) (reputation.Verdict, bool) {
	banned, exempt := e.Overrides.Lookup(addr)
	switch {
	case exempt || held.exempt:
		return exemptVerdict, true
	case banned:
		return bannedVerdict, true
	case held.denied:
		return deniedVerdict, true
	case reputation.IsReserved(addr):
		return exemptVerdict, true
	}
	return reputation.Verdict{}, false
}

// due counts the providers to ask about addr: all of them, and those that have never answered.
func (e *Engine) due(addr netip.Addr, rec *record.Record, now uint32) (due, missing int) {
	for i := range e.sources {
		p := &e.sources[i]
		if !p.covers.Has(addr) {
			continue
		}
		a := rec.FindAt(i, p.id)
		if a != nil && now < a.Due {
			continue
		}
		due++
		if a == nil || !a.Answered() {
			missing++
		}
	}
	return due, missing
}

// ask has the due providers asked, waits for them if the request has nothing better, and judges what is known then.
func (e *Engine) ask(ctx context.Context, addr netip.Addr, held *held, s *scratch, origin reputation.Origin,
	missing int, wait time.Duration,
) reputation.Verdict {
	start := time.Now()
	key := record.KeyOf(addr)
	flight, _ := e.depart(ctx, key, addr, false)
	waits := flight != nil && missing > 0 && wait > 0
	var arrived func(reputation.Verdict, bool)
	if waits {
		arrived = e.Tracer.Wait(ctx, flight.about)
	}
	landed := waits && flight.wait(ctx, wait)
	if landed && e.remembered(addr, s) {
		origin = flight.origin
	}
	e.Observer.CountLookup(origin)
	e.Observer.ObserveLookup(origin, time.Since(start))
	v := e.judge(addr, held, s, record.Seconds(time.Now()), origin, flight != nil && (!landed || flight.awaited))
	if arrived != nil {
		arrived(v, landed)
	}
	return v
}

type nothingListed struct{}

func (nothingListed) Current() Listing         { return nothingListed{} }
func (nothingListed) Lookup(netip.Addr) uint32 { return 0 }
func (nothingListed) Members(uint32) []uint16  { return nil }
func (nothingListed) Sets() int                { return 1 }
func (nothingListed) Loaded(int) bool          { return false }

type noTracer struct{}

func (noTracer) Start(base, _ context.Context) (context.Context, func(reputation.Origin)) {
	return base, nil
}
func (noTracer) Wait(_, _ context.Context) func(reputation.Verdict, bool) { return nil }

type noOverrides struct{}

func (noOverrides) Lookup(netip.Addr) (banned, exempt bool) { return false, false }
