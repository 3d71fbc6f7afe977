// Package sentry sends log entries of level Error to Sentry: grouped by cause, a few of each cause, without
// secrets. Reporting never waits, and nothing depends on Sentry's answers.
package sentry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	sdk "github.com/getsentry/sentry-go"
)

// Options say where reports go and what they say of this instance.
type Options struct {
	// DSN returns the address of the project, or false while it is not known. It is called before each report,
	// so that a new DSN is used at once.
	DSN func() (dsn string, ok bool)

	// Release is the version that runs, such as caddy-ip-reputation@v1.2.3. Default: unknown.
	Release string

	// Environment tells production from others. Default: production.
	Environment string

	// ServerName tells this instance from others. Default: none is sent.
	ServerName string

	// Scrub removes from every text what must not leave this machine, in addition to Redact. It must be safe for
	// concurrent use. Default: Redact only.
	Scrub func(string) string

	// Logger gets a warning, once an hour, that reports cannot be delivered. Its entries must not be reported.
	// Default: slog.Default().
	Logger *slog.Logger
}

// Entry is a log entry.
type Entry struct {
	Time    time.Time
	Level   slog.Level
	Logger  string
	Message string
	Attrs   []slog.Attr
}

// Status counts what became of the entries since the Reporter was opened.
type Status struct {
	// Delivered are the reports that Sentry took.
	Delivered uint64 `json:"delivered"`

	// LeftOut are the entries that were not reported, since their cause was reported a short while ago or the
	// rate was reached.
	LeftOut uint64 `json:"left_out"`

	// Undelivered are the lost reports: Sentry was away, slow, or refused them.
	Undelivered uint64 `json:"undelivered"`

	// Problem is why the last report was lost, if none was delivered since.
	Problem string `json:"problem,omitempty"`
}

const (
	// queueSize is how many reports wait while one is being sent. The total rate fills it in about two minutes.
	queueSize = 32

	// warnEvery is how often the log says that reports cannot be delivered.
	warnEvery = time.Hour
)

// Reporter reports to Sentry. It is safe for concurrent use.
type Reporter struct {
	options Options
	causes  *causes
	queue   chan report

	ctx     context.Context // ends the request under way
	cancel  context.CancelFunc
	closing chan struct{}
	done    chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex
	started bool
	closed  atomic.Bool

	delivered, leftOut, undelivered atomic.Uint64
	problem                         atomic.Pointer[string]
	warned                          time.Time // of the goroutine
}

// report is an entry to send.
type report struct {
	event   *sdk.Event
	cause   string
	leftOut int
}

// Open returns a Reporter, which queues reports at once and sends them after Start.
func Open(o Options) *Reporter {
	if o.Scrub == nil {
		o.Scrub = func(text string) string { return text }
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Environment == "" {
		o.Environment = "production"
	}
	if o.Release == "" {
		o.Release = "unknown" // an empty one would make the SDK ask git for it
	}
	r := &Reporter{
		options: o, causes: newCauses(), queue: make(chan report, queueSize),
		closing: make(chan struct{}), done: make(chan struct{}),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Start begins to send. More calls do nothing, and neither does one after Close.
func (r *Reporter) Start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started || r.closed.Load() {
		return
	}
	r.started = true
	go r.run()
}

// Close sends the queued reports until ctx ends, and ends the Reporter. More calls do nothing.
func (r *Reporter) Close(ctx context.Context) {
	r.mu.Lock()
	started, closed := r.started, r.closed.Swap(true)
	r.mu.Unlock()
	if closed {
		return
	}
	close(r.closing)
	defer r.cancel()
	if !started {
		return
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		r.cancel()
		<-r.done // soon: no request outlives its context
	}
}

// Status returns what became of the entries.
func (r *Reporter) Status() Status {
	s := Status{Delivered: r.delivered.Load(), LeftOut: r.leftOut.Load(), Undelivered: r.undelivered.Load()}
	if problem := r.problem.Load(); problem != nil {
		s.Problem = *problem
	}
	return s
}

// Report queues an entry, or leaves it out if its cause was reported of late. It does not wait. An entry with
// an attribute "panic" gets the stack of the caller, which must be the function that recovered.
func (r *Reporter) Report(e Entry) {
	// a logged value may panic when its text is read, and a log entry must not end its caller
	defer func() {
		if recover() != nil {
			r.undelivered.Add(1)
		}
	}()
	if r.closed.Load() {
		return
	}
	fields := flatten(nil, "", e.Attrs)
	stack := stackOf(fields)
	print := fingerprint(e, fields, stack)
	cause := causeName(print)
	leftOut, ok := r.causes.admit(cause, time.Now())
	if !ok {
		r.leftOut.Add(1)
		return
	}
	select {
	case r.queue <- report{newEvent(e, fields, stack, print, leftOut), cause, leftOut}:
	default:
		r.lost(cause, leftOut)
	}
}

// lost counts a lost report, and lets the next entry of its cause be reported soon.
func (r *Reporter) lost(cause string, leftOut int) {
	r.undelivered.Add(1)
	r.causes.restore(cause, leftOut, time.Now())
}

// run sends until Close.
func (r *Reporter) run() {
	defer close(r.done)
	s := newSender(r.ctx, r.options)
	defer s.close()
	for {
		select {
		case next := <-r.queue:
			r.deliver(s, next)
		case <-r.closing:
			r.drain(s)
			return
		}
	}
}

// drain sends the queued reports.
func (r *Reporter) drain(s *sender) {
	for {
		select {
		case next := <-r.queue:
			r.deliver(s, next)
		default:
			return
		}
	}
}

func (r *Reporter) deliver(s *sender, next report) {
	err := attempt(func() error { return s.send(next.event) })
	if err == nil {
		r.delivered.Add(1)
		r.problem.Store(nil)
		return
	}
	r.lost(next.cause, next.leftOut)
	problem := r.options.scrub(err.Error(), maxText)
	r.problem.Store(&problem)
	now := time.Now()
	if errors.Is(err, context.Canceled) || !r.warned.IsZero() && now.Sub(r.warned) < warnEvery {
		return
	}
	r.warned = now
	r.options.Logger.Warn("errors cannot be reported to sentry: check its DSN, and that it can be reached from here",
		slog.String("error", problem), slog.Uint64("undelivered", r.undelivered.Load()))
}

// attempt calls f, and returns a panic as an error.
func attempt(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the report panicked with a %T; this is a bug", v)
		}
	}()
	return f()
}
