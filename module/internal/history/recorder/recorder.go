// Package recorder records verdicts about addresses and decisions about their requests, and delivers them to a store.
//
// A Recorder receives every request. It counts equal decisions per minute and records verdicts that
// changed. It counts violations, bans and reports, too. Its batches wait on disk until a history.Store has
// stored them.
package recorder

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// DefaultSpool is the default of Settings.Limit: 256 MiB.
const DefaultSpool = 256 << 20

const (
	// closeTimeout is how long Close sends what waits.
	closeTimeout = 2 * time.Second

	// closeGrace is how long Close waits in addition for a disk that does not answer.
	closeGrace = time.Second
)

// Options are fixed for the life of a Recorder.
type Options struct {
	// Dir is the folder of the spool, which several processes may share. While it cannot be created
	// or written to, an error is logged and everything waits in memory. Default: none; everything
	// waits in memory.
	Dir string

	// Logger receives messages for the operator. Default: slog.Default().
	Logger *slog.Logger

	timing timing // shorter in tests
	files  files  // may fail in tests
}

// Settings may change with each configuration.
type Settings struct {
	// Store stores the batches. Default: none; they wait.
	Store history.Store

	// Limit is how many bytes of batches may wait on disk. When it is exceeded, the oldest are
	// dropped. Default: DefaultSpool.
	Limit int64

	// Stored returns the prefix under which an address is stored. The address is unmapped and has
	// no zone. All addresses of a subject have the same. If ok is false, the address cannot be
	// stored at present, and the request is not recorded. Default: reputation.Subject. An IPv6
	// client may use any address of its /64, and must not be able to create unlimited rows.
	Stored func(netip.Addr) (prefix netip.Prefix, ok bool)

	// Rows is how many rows may be added in a minute, more or less. Further clients are counted
	// together, under 0.0.0.0/0 and ::/0, and changes of their verdicts are recorded later. Clients
	// that pass without a score may have half of the rows. Default: DefaultRows.
	Rows int
}

// timing holds the intervals and thresholds of the background work.
type timing struct {
	flush        time.Duration // from memory to the journal
	seal         time.Duration // from the journal to a batch
	sealRows     int
	subjects     int           // of a network, with rows of their own in a minute; 0: all
	scan         time.Duration // of the folder, for files of other processes
	orphanAge    time.Duration // age at which a journal without a lock is adopted
	retryFirst   time.Duration // after a failure of the store; doubled each time
	retryMax     time.Duration
	writeTimeout time.Duration // per call of the store
}

var defaultTiming = timing{
	flush: 250 * time.Millisecond, seal: 10 * time.Second, sealRows: 20_000, subjects: maxSubjects,
	scan: 15 * time.Second, orphanAge: time.Minute,
	retryFirst: 250 * time.Millisecond, retryMax: 5 * time.Second,
	writeTimeout: 30 * time.Second,
}

// Recorder records requests and delivers them to a Store. It is safe for concurrent use.
//
// Requests are counted where they are served. One goroutine takes the counts and writes files,
// another sends batches. A request is in the journal within a quarter of a second, so that a killed
// process loses no more than that.
type Recorder struct {
	timing    timing
	stripes   *stripes
	settings  atomic.Pointer[Settings]
	tally     *tally
	spool     *spool
	collector *collector
	incidents chan sighting

	tried   atomic.Bool   // the store was asked to take a batch
	wake    chan struct{} // the store may be available again
	sync    chan chan<- time.Time
	stop    chan struct{} // closed by Close
	ctx     context.Context
	cancel  context.CancelFunc // ends the sender
	closed  atomic.Bool
	running sync.WaitGroup
	start   sync.Once
	finish  sync.Once
	done    chan struct{} // closed when Close is done
	err     error         // its result
}

// Open returns a Recorder, which does nothing before Start. It touches no disk and never fails: if
// the folder cannot be used, the Recorder logs that and tries again.
func Open(o Options) *Recorder {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.timing == (timing{}) {
		o.timing = defaultTiming
	}
	r := &Recorder{
		timing: o.timing, stripes: newStripes(), tally: &tally{log: o.Logger},
		incidents: make(chan sighting, maxIncidents),
		wake:      make(chan struct{}, 1), sync: make(chan chan<- time.Time), stop: make(chan struct{}),
		done: make(chan struct{}),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.spool = newSpool(o, r.tally)
	r.collector = newCollector(r)
	r.Use(Settings{})
	return r
}

// Use changes the settings.
func (r *Recorder) Use(s Settings) {
	if s.Limit <= 0 {
		s.Limit = DefaultSpool
	}
	if s.Stored == nil {
		s.Stored = storedSubject
	}
	if s.Rows <= 0 {
		s.Rows = DefaultRows
	}
	if before := r.settings.Load(); before == nil || before.Store != s.Store {
		r.tried.Store(s.Store == nil)
		r.spool.answering.Store(false)
	}
	r.settings.Store(&s)
	r.spool.limit.Store(s.Limit)
	r.Wake()
}

func storedSubject(addr netip.Addr) (prefix netip.Prefix, ok bool) {
	return reputation.Subject(addr), true
}

// Start starts collecting and sending.
func (r *Recorder) Start() {
	r.start.Do(func() {
		r.running.Go(func() { r.supervise("collecting the history", r.collector.run) })
		r.running.Go(func() { r.supervise("sending the history", r.send) })
	})
}

// supervise calls run, which returns when the Recorder is closed. It calls run again if it panics.
func (r *Recorder) supervise(what string, run func()) {
	for attempt := 1; ; attempt++ {
		if !r.recovered(what, run) || r.closed.Load() {
			return
		}
		select {
		case <-r.stop:
		case <-time.After(r.timing.pause(attempt)):
		}
	}
}

func (r *Recorder) recovered(what string, run func()) (panicked bool) {
	defer func() {
		if v := recover(); v != nil {
			panicked = true
			r.tally.log.Error("background work panicked and begins again; this is a bug", "work", what, "panic", v)
		}
	}()
	run()
	return false
}

// Record counts a request. It never waits: if the collector is late and there is no room, it drops
// the request and counts that. It ignores exempt clients and clients without an address.
func (r *Recorder) Record(e history.Event) {
	if e.Verdict.Status == reputation.Exempt || !e.Address.IsValid() {
		return
	}
	if !r.stripes.record(&e) {
		r.tally.drop(DropQueue, 1)
	}
}

// Wake makes the sender try the store at once, since it may be available again.
func (r *Recorder) Wake() {
	select {
	case r.wake <- struct{}{}:
	default: // a wake-up is already pending
	}
}

// Close writes everything to disk and, while the Store answers, sends it, for at most two seconds.
// The next Recorder sends the rest. A disk that does not answer delays it by no more than another
// second. It returns an error if entries are lost.
func (r *Recorder) Close() error {
	<-r.BeginClose()
	return r.err
}

// BeginClose begins to close the Recorder, and returns a channel that is closed when that is done.
func (r *Recorder) BeginClose() <-chan struct{} {
	r.finish.Do(func() {
		r.start.Do(func() {}) // Start does nothing from now on
		r.closed.Store(true)
		close(r.stop)
		go func() {
			defer close(r.done)
			r.err = r.endInTime()
		}()
	})
	return r.done
}

// Closing reports whether the Recorder is being closed, or is closed.
func (r *Recorder) Closing() bool { return r.closed.Load() }

// endInTime does not wait for a disk that does not answer.
func (r *Recorder) endInTime() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	ended := make(chan error, 1)
	go func() {
		defer cancel()
		r.recovered("ending the history", func() { ended <- r.end(ctx) })
	}()
	late := time.NewTimer(closeTimeout + closeGrace)
	defer late.Stop()
	select {
	case err := <-ended:
		return err
	case <-late.C:
		lost := r.Status().Unsaved
		r.tally.log.Error("a part of the history is lost: the disk of the data folder does not answer", "entries", lost)
		return fmt.Errorf("%d entries of the history are lost: the disk of the data folder does not answer", lost)
	}
}

// end ends the work, and sends what waits until ctx ends.
func (r *Recorder) end(ctx context.Context) error {
	if r.mayAnswer() {
		defer context.AfterFunc(ctx, r.cancel)()
	} else {
		r.cancel()
	}
	r.running.Wait()
	r.stripes.close()
	r.tally.drop(DropQueue, r.stripes.discard()+r.discardIncidents())
	r.collector.journal.close()
	return r.sendRemaining(ctx)
}

// mayAnswer reports whether it makes sense to wait for the store: it took the last batch, or nobody
// knows yet.
func (r *Recorder) mayAnswer() bool { return r.spool.answering.Load() || !r.tried.Load() }

// sendRemaining sends what waits while the store answers. What is not on disk, it tries to send in
// any case.
func (r *Recorder) sendRemaining(ctx context.Context) error {
	for ctx.Err() == nil {
		unsaved := !r.mayAnswer()
		w, store := r.spool.next(unsaved), r.settings.Load().Store
		if w == nil || store == nil || r.attempt(ctx, store, w) != nil && unsaved {
			break
		}
	}
	r.spool.answering.Store(false)
	r.spool.persist()
	if lost := r.spool.close(); lost > 0 {
		r.tally.drop(DropSpool, lost)
		r.tally.log.Error("a part of the history is lost: it could be neither written to disk nor sent",
			"entries", lost, "error", r.tally.diskError())
		return fmt.Errorf("%d entries of the history are lost: they could be neither written to disk nor sent: %w",
			lost, r.tally.diskError())
	}
	return nil
}
