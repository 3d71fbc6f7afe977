// Package secret keeps secrets current: it fetches them in the background, goes on with the last good value while their
// store is away, and says when they end.
package secret

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/throttle"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Defaults of Options.
const (
	DefaultRefresh = 5 * time.Minute
	DefaultTimeout = 5 * time.Second
)

// Options are the parts of a Refresher that can be left out.
type Options struct {
	// Source says where the secret is kept, as the operator wrote it: `{file./run/secrets/abuseipdb}`, or
	// `aws_secretsmanager prod/abuseipdb`. It is shown and logged, so a value that stands in the configuration itself has
	// no business here.
	Source string

	// Refresh is how often the secret is fetched, give or take a tenth. Less than 1s is taken as 1s. A shorter TTL that
	// comes with the secret wins: it is fetched again when two thirds of that have passed. Default: 5m.
	Refresh time.Duration

	// Timeout is how long one fetch may take. Default: 5s.
	Timeout time.Duration

	// Expires is when the secret ends, as the operator wrote it. What the store says counts where it is earlier.
	// Default: it is not known.
	Expires time.Time

	// Hide keeps the fingerprint of the value out of logs and Status. It is for what a person may have made up, such as
	// passwords: see Fingerprint.
	Hide bool

	// Logger receives one message for each cause and minute. Default: slog.Default().
	Logger *slog.Logger
}

// Refresher keeps one secret current. It is safe for concurrent use, and no lock is held while the store is asked.
type Refresher struct {
	name    string
	store   reputation.SecretStore
	options Options
	log     *slog.Logger

	value atomic.Pointer[good] // the last good one, nil before the first

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wake   chan struct{} // makes the goroutine look again at what is due
	turn   chan struct{} // full while somebody fetches
	late   chan answer   // of a call that did not return in time; whoever has the turn may touch it
	logged throttle.Causes[int]

	saidAway atomic.Bool // the log says that the store gives no answer

	mu       sync.Mutex
	done     chan struct{} // closed when the goroutine has ended, nil before Start
	changed  chan struct{}
	next     time.Time // when the secret is to be fetched again
	failures int       // since the last good fetch
	failure  string    // what the last fetch failed of, empty if it did not
	asked    bool      // a fetch is wanted before its time
	served   time.Time // when a fetch before its time was last begun
	leave    time.Time // until when the store asked to be left alone
}

// good is what a good fetch has brought. It never changes.
type good struct {
	value       string
	fingerprint string
	fetched     time.Time
	expires     time.Time // as far as the store says
	lease       bool      // expires moves on with every fetch
}

// Open returns a Refresher of the secret that a store holds. The name tells the secret from others in logs and Status; the
// store's own way of naming it belongs into Options. Nobody is asked yet.
func Open(name string, store reputation.SecretStore, o Options) *Refresher {
	if o.Refresh <= 0 {
		o.Refresh = DefaultRefresh
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	log := o.Logger.With("secret", name)
	if o.Source != "" {
		log = log.With("source", o.Source)
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Refresher{
		name: name, store: store, options: o, log: log,
		ctx: ctx, cancel: cancel,
		wake: make(chan struct{}, 1), turn: make(chan struct{}, 1), changed: make(chan struct{}),
	}
}

// Start begins to keep the secret current, in the background: it returns at once, whatever state the store is in. The
// first fetch is made at once too, unless Prime has made it. More calls do nothing, and neither does one after Close.
func (r *Refresher) Start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done != nil || r.ctx.Err() != nil {
		return
	}
	r.done = make(chan struct{})
	go r.keep(r.done)
}

// Close ends what Start began, a fetch that is under way too, and waits for it: no more than a moment where a store does
// not return although its context has ended. The last good value stays.
func (r *Refresher) Close() {
	r.cancel()
	r.mu.Lock()
	done := r.done
	r.mu.Unlock()
	if done != nil {
		<-done
	}
}

// Prime fetches the secret while the caller waits: for a store that answers from this machine, so that the value is there
// from the beginning and a mistake in the configuration is found while it is loaded. It returns, and does not log, why
// there was no answer: the error can be asked for its kind with errors.Is, and holds no value. It waits no longer than
// ctx and the time limit allow, but for a moment where a store does not heed them.
func (r *Refresher) Prime(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.ctx, cancel)()
	defer r.poke() // What is due has moved under the goroutine's feet.
	return r.fetch(ctx)
}

// Current returns the last good value, or false if there has been none. It takes no lock and allocates nothing: ask it
// anew for every use, and a new value is used from the next one on.
func (r *Refresher) Current() (value string, ok bool) {
	g := r.value.Load()
	if g == nil {
		return "", false
	}
	return g.value, true
}

// Refresh says that somebody was refused with the present value, so that it should be fetched before its time. It never
// waits; what comes of it is seen through Current and Changed. Before Start it is only remembered.
//
// The secret is fetched at once, but for this reason at most once every 10s, and then later: a provider that refuses a key
// refuses it to every call that is under way, on every instance, while stores bill and throttle each fetch; and where a
// store lags behind the service, the second look is the one that helps. A change of the value answers everybody who has
// asked before it.
func (r *Refresher) Refresh() {
	r.mu.Lock()
	r.asked = true
	r.mu.Unlock()
	r.poke()
}

// Changed returns a channel that is closed when the value changes next; the first value is a change too. Get the channel
// before the value, and no change is missed. Close does not close it.
func (r *Refresher) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// Status is what an operator sees of a secret. It holds no value.
type Status struct {
	// Name and Source are those that the Refresher was opened with.
	Name   string `json:"name"`
	Source string `json:"source,omitempty"`

	// Fingerprint names the value in use, see the function. It is empty if there is none, or it is hidden.
	Fingerprint string `json:"fingerprint,omitempty"`

	// Has is whether there is a value to use.
	Has bool `json:"has"`

	// Fetched is when the value in use last came from the store; zero if there is none.
	Fetched time.Time `json:"fetched,omitzero"`

	// Expires is when the value ends: the earlier of what the operator and the store say. Zero if neither does.
	Expires time.Time `json:"expires,omitzero"`

	// Lease is whether Expires moves on with every fetch, so that nobody needs to act unless it is past.
	Lease bool `json:"lease,omitempty"`

	// Error is what the last fetch failed of; empty if it was good, or none has been made.
	Error string `json:"error,omitempty"`
}

// Status returns the present state. It asks nobody.
func (r *Refresher) Status() Status {
	s := Status{Name: r.name, Source: r.options.Source, Expires: r.options.Expires}
	r.mu.Lock()
	s.Error = r.failure
	g := r.value.Load()
	r.mu.Unlock()
	if g == nil {
		return s
	}
	s.Has, s.Fetched, s.Fingerprint = true, g.fetched, g.fingerprint
	if !g.expires.IsZero() && (s.Expires.IsZero() || g.expires.Before(s.Expires)) {
		s.Expires, s.Lease = g.expires, g.lease
	}
	return s
}
