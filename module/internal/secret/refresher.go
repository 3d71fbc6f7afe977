// Package secret keeps secrets up to date. It fetches them in the background, uses the last good
// value while their store is away, and reminds the operator before they end.
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
	// Source is where the secret is stored, as the operator wrote it:
	// `{file./run/secrets/abuseipdb}`, or `aws_secretsmanager prod/abuseipdb`. It is shown and
	// logged, so it must not be a value that the configuration itself contains.
	Source string

	// Refresh is how often the secret is fetched, plus or minus a tenth, and at least 1s. If the
	// store returns a shorter TTL, the secret is fetched again after two thirds of it. Default: 5m.
	Refresh time.Duration

	// Timeout is how long one fetch may take. Default: 5s.
	Timeout time.Duration

	// Expires is when the secret ends according to the operator. An earlier end from the store
	// takes precedence. Default: not known.
	Expires time.Time

	// Hide omits the fingerprint of the value from logs and Status. It is for values that a person
	// may have chosen, such as passwords: see Fingerprint.
	Hide bool

	// Logger receives one message for each cause and minute. Default: slog.Default().
	Logger *slog.Logger
}

// Refresher keeps one secret up to date. It is safe for concurrent use, and no lock is held while
// the store is asked.
type Refresher struct {
	name    string
	store   reputation.SecretStore
	options Options
	log     *slog.Logger

	current atomic.Pointer[snapshot] // nil before the first successful fetch

	ctx        context.Context // ends with Close
	cancel     context.CancelFunc
	wake       chan struct{} // makes the goroutine compute anew when the next fetch is due
	fetching   chan struct{} // a semaphore: full during a fetch
	unreturned chan answer   // of a call that did not return in time; guarded by fetching
	logged     throttle.Causes[int]

	loggedAway atomic.Bool // a failure of the store was the last thing logged

	mu            sync.Mutex
	done          chan struct{} // closed when the goroutine has ended, nil before Start
	changed       chan struct{}
	next          time.Time // when the next scheduled fetch is due
	failures      int       // since the last successful fetch
	failure       string    // error of the last fetch, empty after a success
	requested     bool      // Refresh was called since the last fetch
	requestServed time.Time // when a requested fetch last began
	pausedUntil   time.Time // end of the pause that the store asked for
}

// snapshot is the result of a successful fetch. It is immutable.
type snapshot struct {
	value       string
	fingerprint string
	fetched     time.Time
	expires     time.Time // according to the store
	lease       bool      // expires moves on with every fetch
}

// Open returns a Refresher of the secret in a store. The name identifies the secret in logs and
// Status; the store's own name for it belongs in Options.Source. Open does not fetch.
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
		wake: make(chan struct{}, 1), fetching: make(chan struct{}, 1), changed: make(chan struct{}),
	}
}

// Start begins to fetch the secret in the background, and returns at once. The first fetch follows
// immediately, unless Prime has made it. Further calls, and calls after Close, do nothing.
func (r *Refresher) Start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done != nil || r.ctx.Err() != nil {
		return
	}
	r.done = make(chan struct{})
	go r.run(r.done)
}

// Close stops the background goroutine, cancels a running fetch and waits for both. It waits only
// briefly for a store that ignores its context. The last good value stays available.
func (r *Refresher) Close() {
	r.cancel()
	r.mu.Lock()
	done := r.done
	r.mu.Unlock()
	if done != nil {
		<-done
	}
}

// Prime fetches the secret while the caller waits. It is for a store on this machine: the value is
// available from the beginning, and a mistake in the configuration is found while it is loaded.
// Prime returns a failure and does not log it. The error supports errors.Is, and holds no value.
// Prime waits until ctx or the time limit ends, and only briefly longer for a store that ignores
// both.
func (r *Refresher) Prime(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.ctx, cancel)()
	defer r.wakeUp() // the fetch has changed when the next one is due
	return r.fetch(ctx)
}

// Current returns the last good value, or false if there has been none. It takes no lock and
// allocates nothing. Call it for every use, so that a new value is used at once.
func (r *Refresher) Current() (value string, ok bool) {
	g := r.current.Load()
	if g == nil {
		return "", false
	}
	return g.value, true
}

// Refresh requests a fetch before the scheduled one, because a service has refused the current
// value. It does not wait: Current and Changed show the result. A request before Start is served
// after it.
//
// The fetch follows at once, but such fetches are at least 10s apart; further requests are served
// by the next one. A service that refuses a key refuses it to all running calls on every instance,
// while stores bill and throttle each fetch. Where a store lags behind the service, the later fetch
// is the one that helps. A new value serves all earlier requests.
func (r *Refresher) Refresh() {
	r.mu.Lock()
	r.requested = true
	r.mu.Unlock()
	r.wakeUp()
}

// Changed returns a channel that is closed when the value changes next. The first value is a change
// too. Get the channel before the value, so that no change is missed. Close does not close it.
func (r *Refresher) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// Status is the state of a secret for operators. It does not contain the value.
type Status struct {
	// Name and Source are those passed to Open.
	Name   string `json:"name"`
	Source string `json:"source,omitempty"`

	// Fingerprint is that of the value in use, see Fingerprint. It is empty if there is no value,
	// or if it is hidden.
	Fingerprint string `json:"fingerprint,omitempty"`

	// Has is whether there is a value.
	Has bool `json:"has"`

	// Fetched is when the value in use last came from the store; zero if there is none.
	Fetched time.Time `json:"fetched,omitzero"`

	// Expires is when the value ends: the earlier of the operator's and the store's time. Zero if
	// both are unknown.
	Expires time.Time `json:"expires,omitzero"`

	// Lease is whether Expires moves on with every fetch. The operator need not act unless it is
	// past.
	Lease bool `json:"lease,omitempty"`

	// Error is the error of the last fetch. It is empty after a success, and before the first
	// fetch.
	Error string `json:"error,omitempty"`
}

// Status returns the present state. It does not fetch.
func (r *Refresher) Status() Status {
	s := Status{Name: r.name, Source: r.options.Source, Expires: r.options.Expires}
	r.mu.Lock()
	s.Error = r.failure
	g := r.current.Load()
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
