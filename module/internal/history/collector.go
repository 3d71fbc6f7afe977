package history

import (
	"errors"
	"hash/maphash"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// sealSize is how many bytes, in memory or in the journal, a batch has at most.
const sealSize = 8 << 20

// collector counts events in a window and writes them to disk. Only one goroutine uses it.
type collector struct {
	*Recorder
	hosts    hosts
	verdicts *verdicts

	unwritten     window // not yet in the journal
	journaled     window // in the journal
	journal       *journal
	buffer        []byte
	droppedBefore int64 // requests dropped by a full queue, at the last check

	flushing *time.Timer
	failing  bool // the last write to the journal failed
	synced   time.Time
}

func newCollector(r *Recorder) *collector {
	c := &collector{
		Recorder: r,
		hosts:    hosts{maphash.MakeSeed(), newGenerations[hostsKey, hostSet](maxKnown / 4)},
		verdicts: newVerdicts(maxKnown),
		flushing: time.NewTimer(time.Hour),
	}
	c.flushing.Stop()
	c.journal = r.spool.newJournal()
	return c
}

// run collects events until the Recorder is closed, then drains the queue.
func (c *collector) run() {
	seal := time.NewTicker(c.timing.seal)
	defer seal.Stop()
	for {
		select {
		case e := <-c.queue:
			c.add(&e)
		case <-c.flushing.C:
			c.flush()
		case sealed := <-c.Recorder.sync:
			c.sync(sealed)
		case <-seal.C:
			c.droppedBefore = c.tally.queueFull(c.droppedBefore)
			c.seal()
		case <-c.stop:
			c.drain()
			return
		}
	}
}

// drain adds the events that are left in the queue, and seals the last batch.
func (c *collector) drain() {
	defer c.flushing.Stop()
	for {
		select {
		case e := <-c.queue:
			c.add(&e)
		default:
			c.seal()
			return
		}
	}
}

// add counts one event.
func (c *collector) add(e *Event) {
	addr := e.Address.Unmap().WithZone("")
	prefix, ok := c.settings.Load().Stored(addr)
	if !ok {
		c.tally.drop(DropHidden, 1)
		if c.tally.logged.Allow("hidden", time.Now()) {
			c.tally.log.Warn("requests are missing in the history: there is no key for pseudonyms of their addresses",
				"dropped", c.tally.dropped[DropHidden].Load())
		}
		return
	}
	if c.unwritten.rows() == 0 {
		c.flushing.Reset(c.timing.flush)
		c.tally.since.CompareAndSwap(0, time.Now().UnixNano())
	}
	d := decisionOf(e)
	d.Address = prefix
	if k := keyOf(&d); !c.unwritten.count(k, &d) {
		if !c.hosts.allow(k.minute, prefix, d.Host) {
			d.Host = ""
		}
		d.cloneTexts()
		c.unwritten.add(&d)
	}
	if e.Verdict.Scored && c.verdicts.changed(reputation.Subject(addr), &e.Verdict) {
		change := changeOf(e, d.First, prefix, d.RequestID, d.Config)
		c.unwritten.change(&change)
	}
	c.publish()
	c.sealIfFull()
}

// decisionOf returns the decision of an event, without its address.
func decisionOf(e *Event) Decision {
	at := e.At.UTC().Round(0)
	if !validTime(at) {
		at = time.Now().UTC().Round(0)
	}
	d := Decision{
		Minute: at.Truncate(time.Minute), Host: hostOf(e.Host), Rule: plain(e.Rule, maxText), Action: e.Action.String(),
		Mode: observe, Count: 1, First: at, Last: at, RequestID: plain(e.RequestID, maxText),
		Status: e.Verdict.Status.String(), Config: plain(e.Config, maxText),
	}
	if e.Enforce {
		d.Mode = enforce
	}
	if e.Verdict.Scored {
		score := min(e.Verdict.Score, 100)
		d.Score = &score
	}
	return d
}

// sealIfFull flushes or seals before the timer does, when the window has become large.
func (c *collector) sealIfFull() {
	size := max(min(sealSize, int(c.spool.limit.Load()/8)), 64<<10)
	switch {
	case c.unwritten.rows()+c.journaled.rows() >= c.timing.sealRows,
		c.unwritten.size+c.journaled.size >= size,
		c.journal.size >= int64(2*size):
		c.seal()
	case c.unwritten.rows() >= c.timing.flushRows && !c.failing:
		c.flush()
	}
}

func (c *collector) publish() {
	c.tally.window.Store(c.unwritten.entries + c.journaled.entries)
	c.tally.unwritten.Store(c.unwritten.entries)
}

// flush appends the unwritten part of the window to the journal. After an error it tries again
// later.
func (c *collector) flush() {
	c.flushing.Stop()
	if c.unwritten.rows() == 0 {
		return
	}
	err := c.append()
	if errors.Is(err, errGone) {
		c.replaceJournal()
		err = c.append()
	}
	c.failing = err != nil
	if c.failing {
		c.tally.setDiskError(err)
		c.flushing.Reset(4 * c.timing.flush)
		return
	}
	c.journaled.merge(&c.unwritten)
	c.unwritten = window{}
	c.publish()
}

func (c *collector) append() error {
	if c.spool.dir == "" {
		return nil
	}
	c.buffer = appendWindow(c.buffer[:0], &c.unwritten)
	err := c.journal.append(c.buffer)
	c.spool.journalBytes.Store(c.journal.size)
	if cap(c.buffer) > sealSize {
		c.buffer = nil
	}
	return err
}

// replaceJournal begins a new journal because the file no longer exists. If it was locked, somebody
// deleted it, and everything is written again. If files cannot be locked, another process adopted
// it and sends its entries.
func (c *collector) replaceJournal() {
	if c.journal.locked {
		c.journaled.merge(&c.unwritten)
		c.unwritten = c.journaled
	}
	c.journaled = window{}
	c.spool.release(c.journal)
	c.journal = c.spool.newJournal()
	c.publish()
}

// seal makes a batch of the whole window, and begins a new window.
func (c *collector) seal() {
	c.flush()
	c.journaled.merge(&c.unwritten) // not empty if the flush failed
	c.unwritten = window{}
	if c.journaled.rows() == 0 {
		c.spool.persist()
		return
	}
	c.flushing.Stop()
	batch := c.journaled.batch(c.journal.id)
	entries := c.journaled.entries
	c.journaled = window{}
	c.spool.add(batch, entries, c.journal)
	c.journal = c.spool.newJournal()
	c.failing = false
	c.tally.since.Store(0)
	c.publish()
}
