package recorder

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/throttle"
)

// Drop is why entries were dropped. Each request that a decision counts is one entry, and so is
// each change.
type Drop uint8

// The reasons.
const (
	// DropQueue: the collector was late, so that there was no room, or the Recorder was closed.
	DropQueue Drop = iota
	// DropSpool: the limit on disk was exceeded, or the limit in memory while the disk could not be
	// used.
	DropSpool
	// DropExpired: they were older than the store's retention.
	DropExpired
	// DropRejected: the store can never store them.
	DropRejected
	// DropUnreadable: their lines were damaged. Without a header, each line counts as one entry.
	DropUnreadable
	// DropHidden: their address could not be stored, since the key for pseudonyms was missing.
	DropHidden

	// NumDrops is the number of reasons.
	NumDrops = iota
)

var dropNames = [NumDrops]string{"queue", "spool", "expired", "rejected", "unreadable", "hidden"}

// String returns the reason as a word.
func (d Drop) String() string {
	if int(d) < len(dropNames) {
		return dropNames[d]
	}
	return fmt.Sprintf("Drop(%d)", uint8(d))
}

// Counts counts entries since the start.
type Counts struct {
	Waiting int64 // now: counted, in memory or on disk
	Written int64
	Dropped [NumDrops]int64
	Folded  int64 // requests counted in rows of networks or of everybody
}

// Status is the state of a Recorder.
type Status struct {
	// Waiting is how many entries are not stored yet. Queued is how many of them the collector has
	// not taken.
	Waiting int64 `json:"waiting"`
	Queued  int64 `json:"queued"`

	// Unsaved is how many of them are not on disk: a killed process would lose them.
	Unsaved int64 `json:"unsaved"`

	// Oldest is the time of the oldest of them.
	Oldest *time.Time `json:"oldest,omitempty"`

	// Spool is the part on disk.
	Spool SpoolStatus `json:"spool"`

	// Written and Dropped count entries since the start, Dropped by reason.
	Written int64            `json:"written"`
	Dropped map[string]int64 `json:"dropped"`

	// Folded counts the requests since the start that are counted in rows of a network, or of
	// everybody, since there were too many clients for rows of their own.
	Folded int64 `json:"folded"`

	// Lost is when an entry was last dropped.
	Lost *time.Time `json:"lost,omitempty"`

	// Store and Disk are the latest failure of each, until it works again.
	Store *Failure `json:"store_failure,omitempty"`
	Disk  *Failure `json:"disk_failure,omitempty"`
}

// SpoolStatus is the state of the files of the spool.
type SpoolStatus struct {
	Batches int   `json:"batches"`
	Entries int64 `json:"entries"`
	Bytes   int64 `json:"bytes"` // with the journal
	Limit   int64 `json:"limit"`
}

// Failure is an error, when it occurred, and what to do about it.
type Failure struct {
	At    time.Time `json:"at"`
	Error string    `json:"error"`
	Cure  string    `json:"cure,omitempty"`
}

// tally counts what happens to entries, and logs problems at a limited rate.
type tally struct {
	log    *slog.Logger
	logged throttle.Causes[string]

	written   atomic.Int64
	dropped   [NumDrops]atomic.Int64
	lost      atomic.Int64 // when the last was dropped, in Unix nanoseconds; 0: never
	window    atomic.Int64 // entries that the collector has
	unwritten atomic.Int64 // of them, those not in the journal
	folded    atomic.Int64
	busy      atomic.Int64 // since when the collector waits for the disk, in Unix nanoseconds; 0: it does not
	since     atomic.Int64 // when the first of them came, in Unix nanoseconds; 0: none

	mu          sync.Mutex
	store, disk error
	storeAt     time.Time
	diskAt      time.Time
}

// diskPatience is after how long a disk that does not answer is a failure.
const diskPatience = 10 * time.Second

const diskCure = "make room on the disk, or let the server write to its data folder"

func (t *tally) drop(why Drop, entries int64) {
	if entries > 0 {
		t.dropped[why].Add(entries)
		t.lost.Store(time.Now().UnixNano())
	}
}

// collected counts entries that the collector has taken, or dropped. They are not in the journal.
func (t *tally) collected(entries int64) {
	t.unwritten.Add(entries)
	t.window.Add(entries)
}

// handedOver counts entries that the collector has no longer, since others have them.
func (t *tally) handedOver(entries int64) { t.window.Add(-entries) }

// hide counts and logs requests whose address could not be stored.
func (t *tally) hide(requests int64) {
	t.drop(DropHidden, requests)
	if t.logged.Allow("hidden", time.Now()) {
		t.log.Warn("requests are missing in the history: there is no key for pseudonyms of their addresses",
			"dropped", t.dropped[DropHidden].Load())
	}
}

// setDiskError records and logs that batches wait in memory because of err; nil means that the disk
// works.
func (t *tally) setDiskError(err error) {
	t.mu.Lock()
	before := t.disk
	t.disk, t.diskAt = err, time.Now()
	t.mu.Unlock()
	switch {
	case err == nil && before != nil:
		t.log.Info("the history is written to disk again")
	case err != nil && t.logged.Allow("disk", time.Now()):
		t.log.Error("the history cannot be written to disk, and waits in memory", "error", err, "cure", diskCure)
	}
}

// diskError returns the latest error of the disk.
func (t *tally) diskError() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.disk == nil {
		return errors.New("there is no folder for it")
	}
	return t.disk
}

// setStoreError records an error of the store; nil means that it works. Unavailability is logged by
// the store itself.
func (t *tally) setStoreError(err error) {
	t.mu.Lock()
	t.store, t.storeAt = err, time.Now()
	t.mu.Unlock()
	switch {
	case err == nil:
	case errors.Is(err, history.ErrUnavailable), errors.Is(err, history.ErrSchema):
		t.log.Debug("the history waits", "error", err)
	case t.logged.Allow("store", time.Now()):
		t.log.Warn("the history waits: the database did not take a batch, which is sent again", "error", err)
	}
}

// queueFull logs requests that were dropped since the previous call, and returns their total.
func (t *tally) queueFull(before int64) (now int64) {
	now = t.dropped[DropQueue].Load()
	if now > before && t.logged.Allow("queue", time.Now()) {
		t.log.Warn("requests are missing in the history: they came faster than it could be written", "dropped", now)
	}
	return now
}

// spoolFull counts and logs entries that were dropped by trim.
func (t *tally) spoolFull(entries int64, cure string) {
	t.drop(DropSpool, entries)
	if entries > 0 && t.logged.Allow("spool", time.Now()) {
		t.log.Error("the spool of the history is full: the oldest entries are dropped",
			"dropped", t.dropped[DropSpool].Load(), "cure", cure)
	}
}

// damaged logs unreadable lines of a file.
func (t *tally) damaged(file string, lines int) {
	if lines > 0 && t.logged.Allow("damaged", time.Now()) {
		t.log.Warn("damaged lines in the spool of the history are left out", "file", file, "lines", lines)
	}
}

func (t *tally) failures() (store, disk *Failure) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.store != nil {
		store = &Failure{At: t.storeAt, Error: t.store.Error()}
	}
	since := t.busy.Load()
	switch waits := time.Since(time.Unix(0, since)); {
	case since != 0 && waits > diskPatience:
		disk = &Failure{
			At: time.Unix(0, since), Error: "the disk has not answered for " + waits.Truncate(time.Second).String(),
			Cure: "see whether the disk, or the server that it is on, answers",
		}
	case t.disk != nil:
		disk = &Failure{At: t.diskAt, Error: t.disk.Error(), Cure: diskCure}
	}
	return store, disk
}

// Counts counts entries since the start. Every recorded entry is written, dropped or waiting. An
// entry on its way from one to the other may be counted twice.
func (r *Recorder) Counts() Counts {
	c, _, _, _, _ := r.count()
	return c
}

// count asks in the order in which entries move on, so that none is missed.
func (r *Recorder) count() (c Counts, queued, unsaved int64, disk SpoolStatus, oldest time.Time) {
	queued = r.stripes.waiting() + int64(len(r.incidents))
	unwritten, window := r.tally.unwritten.Load(), r.tally.window.Load()
	disk, spooled, oldest := r.spool.status()
	c = Counts{Waiting: queued + window + spooled, Written: r.tally.written.Load(), Folded: r.tally.folded.Load()}
	for i := range c.Dropped {
		c.Dropped[i] = r.tally.dropped[i].Load()
	}
	return c, queued, queued + unwritten + spooled - disk.Entries, disk, oldest
}

// Status returns the state of the Recorder. It makes no calls.
func (r *Recorder) Status() Status {
	counts, queued, unsaved, disk, oldest := r.count()
	s := Status{
		Waiting: counts.Waiting, Queued: queued, Unsaved: unsaved, Spool: disk,
		Written: counts.Written, Dropped: make(map[string]int64), Folded: counts.Folded,
	}
	for why, n := range counts.Dropped {
		s.Dropped[Drop(why).String()] = n
	}
	if since := r.tally.since.Load(); oldest.IsZero() && since != 0 {
		oldest = time.Unix(0, since)
	}
	if !oldest.IsZero() {
		oldest = oldest.UTC()
		s.Oldest = &oldest
	}
	if lost := r.tally.lost.Load(); lost != 0 {
		at := time.Unix(0, lost).UTC()
		s.Lost = &at
	}
	s.Store, s.Disk = r.tally.failures()
	return s
}
