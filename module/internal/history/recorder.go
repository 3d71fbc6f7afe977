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

// queueSize is how many events may wait for the collector: as many as come while it writes a file.
const queueSize = 16384

// DefaultSpool is how many bytes may wait on disk, unless Settings say otherwise.
const DefaultSpool = 256 << 20

// lastChance is how long Close tries to send what could not be written to disk.
const lastChance = time.Second

// Options are what a Recorder keeps for its life.
type Options struct {
	// Dir is the folder of the spool, which several processes may share. While it cannot be made or written to, everything
	// waits in memory, and that is said. Default: none; everything waits in memory.
	Dir string

	// Logger is told what an operator must know. Default: slog.Default().
	Logger *slog.Logger

	pace  pace  // tests are in more of a hurry,
	files files // and have bad disks
}

// Settings are what a new configuration may change.
type Settings struct {
	// Store takes what was recorded. Default: none; it waits.
	Store Store

	// Limit is how many bytes may wait on disk. The oldest are dropped to make room. Default: DefaultSpool.
	Limit int64

	// Keep returns how an address, unmapped and without zone, is kept. When it is not ok, the address cannot be kept at
	// present, and its request is not recorded. Default: as reputation.Subject, since an IPv6 client may take any address of
	// its /64, and must not be able to make rows without end.
	Keep func(netip.Addr) (kept netip.Prefix, ok bool)
}

// pace is how often, and after how much, things are done.
type pace struct {
	flush      time.Duration // from memory to the journal
	flushRows  int
	seal       time.Duration // from the journal to a batch
	sealRows   int
	scan       time.Duration // for what other processes left in the folder
	orphan     time.Duration // the age of a journal that is not locked, and whose process has ended
	retryFirst time.Duration // after a failure of the store; twice as long each time
	retryMost  time.Duration
	patience   time.Duration // with the store
}

var usualPace = pace{
	flush: 250 * time.Millisecond, flushRows: 4096,
	seal: 10 * time.Second, sealRows: 20_000,
	scan: 15 * time.Second, orphan: time.Minute,
	retryFirst: 250 * time.Millisecond, retryMost: 5 * time.Second,
	patience: 30 * time.Second,
}

// Recorder remembers requests until a Store has them. It is safe for concurrent use.
//
// One goroutine collects and writes files, another sends them. What was recorded is in a journal within a quarter of a second,
// so that no more is lost when the process is killed; a loss of power may cost ten seconds.
type Recorder struct {
	pace     pace
	queue    chan Event
	settings atomic.Pointer[Settings]
	tally    *tally
	spool    *spool
	collect  *collector

	wake    chan struct{} // the store may be back
	settle  chan chan<- time.Time
	stop    chan struct{} // closed when nothing comes any more
	ctx     context.Context
	cancel  context.CancelFunc // ends the sender
	closed  atomic.Bool
	ended   atomic.Bool // nobody takes anything from the queue any more
	running sync.WaitGroup
	start   sync.Once
	finish  sync.Once
	err     error // of Close
}

// Open returns a Recorder, which does nothing before Start. It calls nobody, and never fails: a folder that cannot be used is
// logged, and tried again.
func Open(o Options) *Recorder {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.pace == (pace{}) {
		o.pace = usualPace
	}
	r := &Recorder{
		pace: o.pace, queue: make(chan Event, queueSize), tally: &tally{log: o.Logger},
		wake: make(chan struct{}, 1), settle: make(chan chan<- time.Time), stop: make(chan struct{}),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.spool = newSpool(o, r.tally)
	r.collect = newCollector(r)
	r.Use(Settings{})
	if o.Dir != "" {
		if err := os.MkdirAll(o.Dir, 0o700); err != nil {
			r.tally.diskFailed(err)
		}
	}
	return r
}

// Use changes the settings.
func (r *Recorder) Use(s Settings) {
	if s.Limit <= 0 {
		s.Limit = DefaultSpool
	}
	if s.Keep == nil {
		s.Keep = keepAll
	}
	r.settings.Store(&s)
	r.spool.limit.Store(s.Limit)
	r.Wake()
}

func keepAll(addr netip.Addr) (kept netip.Prefix, ok bool) { return reputation.Subject(addr), true }

// Start begins to collect and to send.
func (r *Recorder) Start() {
	r.start.Do(func() {
		r.running.Go(func() { r.keepOn("collecting the history", r.collect.run) })
		r.running.Go(func() { r.keepOn("sending the history", r.send) })
	})
}

// keepOn runs what returns when the Recorder is closed, and begins again when it panics.
func (r *Recorder) keepOn(what string, run func()) {
	for attempt := 1; ; attempt++ {
		if !r.panics(what, run) || r.closed.Load() {
			return
		}
		select {
		case <-r.stop:
		case <-time.After(r.pace.pause(attempt)):
		}
	}
}

func (r *Recorder) panics(what string, run func()) (panicked bool) {
	defer func() {
		if v := recover(); v != nil {
			panicked = true
			r.tally.log.Error("background work panicked and begins again; this is a bug", "work", what, "panic", v)
		}
	}()
	run()
	return false
}

// Record takes note of a request. It never waits: what comes too fast is dropped, and counted. Requests of clients without an
// address, and of those that are exempt, are no history.
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

// Wake has the store tried at once, since it may be back.
func (r *Recorder) Wake() {
	select {
	case r.wake <- struct{}{}:
	default: // it is going to be
	}
}

// Close writes what was recorded to disk. It sends only what cannot be written, and that within a second: the next Recorder
// sends what is on disk. An error says that something is lost.
func (r *Recorder) Close() error {
	r.finish.Do(func() {
		r.start.Do(func() {}) // no more
		r.closed.Store(true)
		close(r.stop)
		r.cancel()
		r.running.Wait()
		r.ended.Store(true)
		r.collect.journal.close()
		r.err = r.lastly()
	})
	return r.err
}

// lastly sends what is in memory only.
func (r *Recorder) lastly() error {
	ctx, cancel := context.WithTimeout(context.Background(), lastChance)
	defer cancel()
	for ctx.Err() == nil {
		w, store := r.spool.next(true), r.settings.Load().Store
		if w == nil || store == nil || r.try(ctx, store, w) != nil {
			break
		}
	}
	if lost := r.spool.abandon(); lost > 0 {
		r.tally.drop(DropSpool, lost)
		r.tally.log.Error("a part of the history is lost: it could be neither written to disk nor sent", "entries", lost, "error", r.tally.diskError())
		return fmt.Errorf("%d entries of the history are lost: they could be neither written to disk nor sent: %w", lost, r.tally.diskError())
	}
	return nil
}
