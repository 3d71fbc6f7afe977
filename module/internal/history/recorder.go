package history

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// queueSize is how many events may wait while the collector writes a file.
const queueSize = 16384

// DefaultSpool is the default of Settings.Limit: 256 MiB.
const DefaultSpool = 256 << 20

// closeTimeout is how long Close tries to send batches that could not be written to disk.
const closeTimeout = time.Second

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
	Store Store

	// Limit is how many bytes of batches may wait on disk. When it is exceeded, the oldest are
	// dropped. Default: DefaultSpool.
	Limit int64

	// Stored returns the prefix under which an address is stored. The address is unmapped and has
	// no zone. If ok is false, the address cannot be stored at present, and the request is not
	// recorded. Default: reputation.Subject. An IPv6 client may use any address of its /64, and
	// must not be able to create unlimited rows.
	Stored func(netip.Addr) (prefix netip.Prefix, ok bool)
}

// timing holds the intervals and thresholds of the background work.
type timing struct {
	flush        time.Duration // from memory to the journal
	flushRows    int
	seal         time.Duration // from the journal to a batch
	sealRows     int
	scan         time.Duration // of the folder, for files of other processes
	orphanAge    time.Duration // age at which a journal without a lock is adopted
	retryFirst   time.Duration // after a failure of the store; doubled each time
	retryMax     time.Duration
	writeTimeout time.Duration // per call of the store
}

var defaultTiming = timing{
	flush: 250 * time.Millisecond, flushRows: 4096,
	seal: 10 * time.Second, sealRows: 20_000,
	scan: 15 * time.Second, orphanAge: time.Minute,
	retryFirst: 250 * time.Millisecond, retryMax: 5 * time.Second,
	writeTimeout: 30 * time.Second,
}

// Recorder records requests and delivers them to a Store. It is safe for concurrent use.
//
// One goroutine collects events and writes files, another sends them. An event is in the journal
// within a quarter of a second, so that a killed process loses no more than that. A power failure
// may lose ten seconds.
type Recorder struct {
	timing    timing
	queue     chan Event
	settings  atomic.Pointer[Settings]
	tally     *tally
	spool     *spool
	collector *collector

	wake    chan struct{} // the store may be available again
	sync    chan chan<- time.Time
	stop    chan struct{} // closed by Close
	ctx     context.Context
	cancel  context.CancelFunc // ends the sender
	closed  atomic.Bool
	ended   atomic.Bool // nothing reads the queue any more
	running sync.WaitGroup
	start   sync.Once
	finish  sync.Once
	err     error // the result of Close
}

// Open returns a Recorder, which does nothing before Start. It makes no calls and never fails: if
// the folder cannot be used, it logs that and tries again.
func Open(o Options) *Recorder {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.timing == (timing{}) {
		o.timing = defaultTiming
	}
	r := &Recorder{
		timing: o.timing, queue: make(chan Event, queueSize), tally: &tally{log: o.Logger},
		wake: make(chan struct{}, 1), sync: make(chan chan<- time.Time), stop: make(chan struct{}),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.spool = newSpool(o, r.tally)
	r.collector = newCollector(r)
	r.Use(Settings{})
	if o.Dir != "" {
		if err := os.MkdirAll(o.Dir, 0o700); err != nil {
			r.tally.setDiskError(err)
		}
	}
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

// Record queues a request. It never blocks: if the queue is full, it drops the request and counts
// that. It ignores exempt clients and clients without an address.
func (r *Recorder) Record(e Event) {
	if e.Verdict.Status == reputation.Exempt || !e.Address.IsValid() {
		return
	}
	if r.closed.Load() {
		r.tally.drop(DropQueue, 1)
		return
	}
	select {
	case r.queue <- e:
	default:
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

// Close writes everything to disk. For at most a second, it sends batches that cannot be written;
// the next Recorder sends the files. It returns an error if entries are lost.
func (r *Recorder) Close() error {
	r.finish.Do(func() {
		r.start.Do(func() {}) // Start does nothing from now on
		r.closed.Store(true)
		close(r.stop)
		r.cancel()
		r.running.Wait()
		r.ended.Store(true)
		r.collector.journal.close()
		r.err = r.sendRemaining()
	})
	return r.err
}

// sendRemaining sends the batches that are only in memory.
func (r *Recorder) sendRemaining() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	for ctx.Err() == nil {
		w, store := r.spool.next(true), r.settings.Load().Store
		if w == nil || store == nil || r.attempt(ctx, store, w) != nil {
			break
		}
	}
	if lost := r.spool.dropMemory(); lost > 0 {
		r.tally.drop(DropSpool, lost)
		r.tally.log.Error("a part of the history is lost: it could be neither written to disk nor sent",
			"entries", lost, "error", r.tally.diskError())
		return fmt.Errorf("%d entries of the history are lost: they could be neither written to disk nor sent: %w",
			lost, r.tally.diskError())
	}
	return nil
}
