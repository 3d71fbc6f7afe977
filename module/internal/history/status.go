package history

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/throttle"
)

// Drop is why entries were dropped: each request that a decision counts is one entry, and each change.
type Drop uint8

// The reasons.
const (
	// DropQueue: they came faster than they could be collected, or after the end.
	DropQueue Drop = iota
	// DropSpool: there was no more room on disk, or in memory while the disk was of no use.
	DropSpool
	// DropExpired: they were older than what the store keeps.
	DropExpired
	// DropRejected: the store can never take them.
	DropRejected
	// DropUnreadable: their lines were damaged. Each counts for one where nothing says how many entries it was.
	DropUnreadable
	// DropHidden: their address could not be kept, for want of a key.
	DropHidden

	// NumDrops is the number of reasons.
	NumDrops = iota
)

var dropNames = [NumDrops]string{"queue", "spool", "expired", "rejected", "unreadable", "hidden"}

// String returns the reason's word.
func (d Drop) String() string {
	if int(d) < len(dropNames) {
		return dropNames[d]
	}
	return fmt.Sprintf("Drop(%d)", uint8(d))
}

// Counts are what became of entries since the start.
type Counts struct {
	Waiting int64 // at present: queued, in memory or on disk
	Written int64
	Dropped [NumDrops]int64
}

// Status is how the Recorder is doing.
type Status struct {
	// Waiting is how many entries the store has not got yet, and Queued how many requests of them were not looked at.
	Waiting int64 `json:"waiting"`
	Queued  int64 `json:"queued"`

	// Unsaved is how many of them are not on disk yet, which the end of the process would cost if it were killed.
	Unsaved int64 `json:"unsaved"`

	// Oldest is since when the oldest of them waits.
	Oldest *time.Time `json:"oldest,omitempty"`

	// Spool is what of them is on disk.
	Spool SpoolStatus `json:"spool"`

	// Written and Dropped count entries since the start, the latter by reason.
	Written int64            `json:"written"`
	Dropped map[string]int64 `json:"dropped"`

	// Lost is when one was last dropped.
	Lost *time.Time `json:"lost,omitempty"`

	// Store and Disk are the last failure of each, until it works again.
	Store *Failure `json:"store_failure,omitempty"`
	Disk  *Failure `json:"disk_failure,omitempty"`
}

// SpoolStatus is what is on disk.
type SpoolStatus struct {
	Batches int   `json:"batches"`
	Entries int64 `json:"entries"`
	Bytes   int64 `json:"bytes"` // the journal's included
	Limit   int64 `json:"limit"`
}

// Failure is what went wrong.
type Failure struct {
	At    time.Time `json:"at"`
	Error string    `json:"error"`
	Cure  string    `json:"cure,omitempty"`
}

// tally counts what becomes of entries, and says what an operator must know.
type tally struct {
	log    *slog.Logger
	logged throttle.Causes[string]

	written atomic.Int64
	dropped [NumDrops]atomic.Int64
	lost    atomic.Int64 // when the last was dropped, in nanoseconds of Unix; 0: never
	window  atomic.Int64 // entries that the collector has, in no batch yet
	fresh   atomic.Int64 // those of them that are in no journal
	since   atomic.Int64 // when the first of them came, in nanoseconds of Unix; 0: there is none

	mu          sync.Mutex
	store, disk error
	storeAt     time.Time
	diskAt      time.Time
}

const diskCure = "make room on the disk, or let the server write to its data folder"

func (t *tally) drop(why Drop, entries int64) {
	if entries > 0 {
		t.dropped[why].Add(entries)
		t.lost.Store(time.Now().UnixNano())
	}
}

// diskFailed takes note that something is kept in memory that should be on disk; nil says that the disk works.
func (t *tally) diskFailed(err error) {
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

// diskError is why the disk was last of no use.
func (t *tally) diskError() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.disk == nil {
		return errors.New("there is no folder for it")
	}
	return t.disk
}

// storeFailed takes note of a failure of the store; nil says that it works. A store says by itself that it is away.
func (t *tally) storeFailed(err error) {
	t.mu.Lock()
	t.store, t.storeAt = err, time.Now()
	t.mu.Unlock()
	switch {
	case err == nil:
	case errors.Is(err, ErrAway), errors.Is(err, ErrSchema):
		t.log.Debug("the history waits", "error", err)
	case t.logged.Allow("store", time.Now()):
		t.log.Warn("the history waits: the database did not take a batch, which is sent again", "error", err)
	}
}

// queueFull says that requests were dropped since it was last asked.
func (t *tally) queueFull(before int64) (now int64) {
	now = t.dropped[DropQueue].Load()
	if now > before && t.logged.Allow("queue", time.Now()) {
		t.log.Warn("requests are missing in the history: they came faster than it could be written", "dropped", now)
	}
	return now
}

// spoolFull says that entries had to make room.
func (t *tally) spoolFull(entries int64, cure string) {
	t.drop(DropSpool, entries)
	if entries > 0 && t.logged.Allow("spool", time.Now()) {
		t.log.Error("the spool of the history is full: the oldest entries are dropped", "dropped", t.dropped[DropSpool].Load(), "cure", cure)
	}
}

// damaged says that lines of a file cannot be read.
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
	if t.disk != nil {
		disk = &Failure{At: t.diskAt, Error: t.disk.Error(), Cure: diskCure}
	}
	return store, disk
}

// Counts returns what became of entries since the start. In the end, what was recorded is written or dropped, or waits.
func (r *Recorder) Counts() Counts {
	_, all, _ := r.spool.status()
	return r.counts(all)
}

// counts is Counts with so many entries in the spool.
func (r *Recorder) counts(spooled int64) Counts {
	c := Counts{Written: r.tally.written.Load(), Waiting: r.tally.window.Load() + spooled}
	for i := range c.Dropped {
		c.Dropped[i] = r.tally.dropped[i].Load()
	}
	if queued := int64(len(r.queue)); r.ended.Load() {
		c.Dropped[DropQueue] += queued // came in while Close was called
	} else {
		c.Waiting += queued
	}
	return c
}

// Status returns how the Recorder is doing. It asks nobody.
func (r *Recorder) Status() Status {
	disk, all, oldest := r.spool.status()
	counts := r.counts(all)
	s := Status{
		Waiting: counts.Waiting, Queued: int64(len(r.queue)), Spool: disk, Written: counts.Written, Dropped: make(map[string]int64),
	}
	s.Unsaved = s.Queued + r.tally.fresh.Load() + all - disk.Entries
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
