// Package lookup gathers what lists, the memory and providers report about an address, and makes a
// verdict of it. Providers are asked in the background. A look-up never fails, and never waits
// longer than its caller allows: the verdict is then based on less.
package lookup

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup/listing"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/worth"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Overrides are the bans and exemptions that operators made while the server runs.
type Overrides interface {
	// Lookup reports whether addr is banned or exempt; exempt wins. It must not lock.
	Lookup(addr netip.Addr) (banned, exempt bool)
}

// Databases are databases on this machine, such as of countries and autonomous systems. They are
// asked about every address before anything else.
type Databases interface {
	// Facts returns what they say of addr. It must neither lock nor allocate.
	Facts(addr netip.Addr) reputation.Facts
}

// Memory stores records of subjects. Get must not lock.
type Memory interface {
	// Get writes a record to into, which becomes empty if there is none. It may miss a record that
	// is being updated.
	Get(key record.Key, into *record.Record) bool
	// Update calls change with the record, or with an empty one if there is none. It never misses a
	// record.
	Update(key record.Key, change func(*record.Record))
	// Delete removes a record, and reports whether there was one.
	Delete(key record.Key) bool
}

// Shared is the memory that instances share. Every method bounds its own time. An error means that
// the shared memory is away: the engine then works alone.
type Shared interface {
	// Load calls found for each of the subjects of which instances have learnt something from the
	// named sources. It is one exchange. found must not use the record after it returns.
	Load(ctx context.Context, keys []record.Key, sources []string, found func(record.Key, *record.Record)) error
	// Claim loads the record too, and claims the sources that need a call. The caller must ask the
	// returned ones, on behalf of all instances, before the lease ends. A source that is not among
	// them, and has neither an answer nor a failure in the record, is being asked by another
	// instance.
	Claim(
		ctx context.Context, key record.Key, sources []string, lease time.Duration,
	) (rec record.Record, mine []string, err error)
	// Store shares the answer of a source and releases the claim. An older answer never replaces a
	// newer one.
	Store(ctx context.Context, key record.Key, source string, r reputation.Report, fetched, due time.Time) error
	// Fail releases a claim without an answer. No instance may claim the source again before retry
	// has passed; with 0, the next one may at once.
	Fail(ctx context.Context, key record.Key, source string, retry time.Duration) error
	// Forget deletes what instances have learnt of a subject from the named sources, and reports
	// whether there was anything.
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
	// Start is called when a request starts a call, which may outlive the request. It returns base
	// with what providers, the shared memory and the log need of the request, such as its ID. It
	// must not retain the request's context, which holds the whole request. The returned function
	// is called when the call has ended.
	Start(base, request context.Context) (context.Context, func(origin reputation.Origin))
	// Wait is called when a request begins to wait for a call, which it or another request has
	// started; call is the context that Start returned. The returned function is called when the
	// wait ends, with the verdict and whether the call ended in time.
	Wait(request, call context.Context) func(v reputation.Verdict, done bool)
}

// Config configures an engine. Observer and Logger are required; the rest is optional.
type Config struct {
	Lists     listing.Source
	Meanings  []listing.List // in the order of Lists
	Overrides Overrides
	Databases Databases
	Own       Own
	Memory    Memory
	Shared    Shared
	Providers []Provider
	Observer  Observer
	Tracer    Tracer
	Logger    *slog.Logger

	// MaxInFlight bounds the number of calls that run at the same time, of those that wait to run,
	// and of the subjects that wait to be loaded from the shared memory. One network may have an
	// eighth of each, but always 16. Beyond that, a verdict is made of what is in the memory.
	// Default: 256.
	MaxInFlight int

	// Timeout bounds one call. Default: 10s.
	Timeout time.Duration

	// FirstCome means that whoever comes first is asked about, whatever an answer is worth.
	FirstCome bool
}

// Engine looks addresses up.
type Engine struct {
	Config
	lists      *listing.Matcher
	sources    []provider
	everybody  group // all of the sources
	outlooks   outlooks
	ids        []record.SourceID // of the sources, in the same order
	names      []string          // of the sources, in the same order
	scratch    sync.Pool         // of *scratch
	calls      calls
	seen       *seen           // nil without providers
	visits     *worth.Visits   // likewise
	networks   *networkAnswers // likewise
	loads      loads
	queue      *queue
	running    *bound
	waiting    *bound
	loading    *bound
	publishing atomic.Int64  // number of answers that are being published
	exchanges  chan struct{} // has an element for each claim, and each answer that is being published
	base       context.Context
	cancel     context.CancelFunc
	background sync.WaitGroup
}

// New returns an engine. It fails when two providers have the same name or ID, or when there are
// too many.
func New(c Config) (*Engine, error) {
	if c.MaxInFlight <= 0 {
		c.MaxInFlight = 256
	}
	if c.Timeout <= 0 {
		c.Timeout = 10 * time.Second
	}
	if c.Lists == nil {
		c.Lists = listing.None{}
	}
	if c.Overrides == nil {
		c.Overrides = noOverrides{}
	}
	if c.Databases == nil {
		c.Databases = noDatabases{}
	}
	if c.Tracer == nil {
		c.Tracer = noTracer{}
	}
	if len(c.Providers) > 0 && c.Memory == nil {
		return nil, errors.New("providers need a memory: every request would ask them again")
	}
	sources, err := newProviders(c.Providers)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		Config: c, lists: listing.NewMatcher(c.Lists, c.Meanings), sources: sources, queue: newQueue(),
		running: newBound(c.MaxInFlight), waiting: newBound(c.MaxInFlight), loading: newBound(c.MaxInFlight),
		exchanges: make(chan struct{}, maxExchanges),
	}
	if len(sources) > 0 {
		e.seen, e.visits, e.networks = newSeen(), worth.NewVisits(), newNetworkAnswers()
	}
	e.scratch.New = func() any { return e.newScratch() }
	e.everybody = group(1<<len(sources) - 1)
	e.outlooks = e.newOutlooks()
	for _, p := range sources {
		e.ids = append(e.ids, p.id)
		e.names = append(e.names, p.Source.Name)
	}
	e.base, e.cancel = context.WithCancel(context.Background())
	return e, nil
}

// Close prevents new calls and waits for the running ones until ctx ends, so that answers that were
// paid for are not lost. It then cancels the rest.
func (e *Engine) Close(ctx context.Context) {
	e.calls.close()
	e.queue.wake()
	done := make(chan struct{})
	go func() {
		e.background.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	e.cancel()
	<-done // providers return soon after their context ends
}

// ReleaseLists drops what was computed from the lists. Call it when they have ended: a request that outlives the engine
// would otherwise hold their contents.
func (e *Engine) ReleaseLists() { e.lists.Release() }

// Busy reports whether calls are running.
func (e *Engine) Busy() bool { return e.calls.count.Load() > 0 }

// Lookup returns the verdict on addr, which must be unmapped and without zone. When a provider has
// never answered about addr, Lookup waits for it until wait has passed or ctx ends. The call then
// continues in the background, and the next request gets its answer.
func (e *Engine) Lookup(ctx context.Context, addr netip.Addr, wait time.Duration) reputation.Verdict {
	return e.LookupRequest(ctx, addr, Request{}, wait)
}

// LookupRequest is Lookup with what is known of the request besides the address.
func (e *Engine) LookupRequest(
	ctx context.Context, addr netip.Addr, request Request, wait time.Duration,
) reputation.Verdict {
	l := e.local(addr, request.Claim)
	l.request = request
	if v, decided := e.decided(&l); decided {
		e.Observer.CountLookup(v.Origin)
		return v
	}

	s, _ := e.scratch.Get().(*scratch)
	defer e.scratch.Put(s)
	origin, now := reputation.OriginNone, record.Seconds(time.Now())
	if e.load(addr, s, now) {
		origin = reputation.OriginMemory
	}
	if e.matchNamed(&l, &s.record) {
		if v, decided := e.decidedByFacts(&l, &s.record); decided {
			e.Observer.CountLookup(v.Origin)
			return v
		}
	}
	e.see(&l, &s.record)
	if l.settled = e.settles(&l, s, now); l.settled && origin == reputation.OriginNone {
		origin = reputation.OriginList
	}
	due, missing := e.due(&l, &s.record, now)
	if due == 0 {
		e.Observer.CountLookup(origin)
		return e.judge(&l, s, now, origin, false)
	}
	if v, closed := e.hold(&l, s, due, missing, now, origin); closed {
		e.Observer.CountLookup(origin)
		return v
	}
	return e.ask(ctx, &l, s, origin, missing&^l.needless, wait)
}

// load reads the record of addr from the memory, and reports whether it holds an answer or failure
// of a provider.
func (e *Engine) load(addr netip.Addr, s *scratch, now uint32) bool {
	return e.get(record.KeyOf(addr), &s.record, now) && s.record.Answers[0].Source != 0
}

// get is Memory.Get without what a wrong clock has left in the memory. All reads use it.
func (e *Engine) get(key record.Key, into *record.Record, now uint32) bool {
	found := e.Memory.Get(key, into)
	into.DropFuture(now)
	return found
}

// update is Memory.Update without what a wrong clock has left in the memory. All writes use it.
func (e *Engine) update(key record.Key, change func(*record.Record)) {
	e.Memory.Update(key, func(rec *record.Record) {
		rec.DropFuture(record.Seconds(time.Now()))
		change(rec)
	})
}

// ask starts a call if it may be made, waits for it if a provider has never answered, and returns
// the verdict.
func (e *Engine) ask(
	ctx context.Context, l *local, s *scratch, origin reputation.Origin, missing group, wait time.Duration,
) reputation.Verdict {
	start := time.Now()
	l.progress.open = true
	call, _ := e.startCall(ctx, l, &s.record, false, start)
	if call == nil {
		e.Observer.CountLookup(origin)
		return e.judge(l, s, record.Seconds(start), origin, false)
	}
	waits := missing != 0 && wait > 0
	var end func(reputation.Verdict, bool)
	if waits {
		end = e.Tracer.Wait(ctx, call.ctx)
	}
	done := waits && call.wait(ctx, wait)
	if waits { // even a call that goes on may have answers of cheaper providers
		known := s.record
		switch found := e.load(l.addr, s, record.Seconds(time.Now())); {
		case !found:
			s.record = known // an evicted record is no reason to know less than before
		case done:
			origin = call.origin
		default:
			origin = reputation.OriginMemory
		}
	}
	e.Observer.CountLookup(origin)
	e.Observer.ObserveLookup(origin, time.Since(start))
	if !waits {
		return e.judge(l, s, record.Seconds(time.Now()), origin, true)
	}
	v := e.judgeAnew(l, s, origin, !done || call.askedElsewhere)
	if end != nil {
		end(v, done)
	}
	return v
}
