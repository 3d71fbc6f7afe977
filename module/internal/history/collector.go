package history

import (
	"errors"
	"hash/maphash"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// sealSize is how many bytes of memory, or of the journal, make a batch at the latest.
const sealSize = 8 << 20

// collector counts events together and sees to it that they reach the disk. It belongs to one goroutine.
type collector struct {
	*Recorder
	hosts    hosts
	verdicts *verdicts

	fresh   window // not in the journal yet
	kept    window // in the journal
	journal *journal
	buffer  []byte
	full    int64 // requests that had been dropped for want of room in the queue

	flushing *time.Timer
	failing  bool // the journal could not be written to
	settled  time.Time
}

func newCollector(r *Recorder) *collector {
	c := &collector{
		Recorder: r,
		hosts:    hosts{maphash.MakeSeed(), newGenerations[hostsKey, hostSet](maxKnown / 4)},
		verdicts: newVerdicts(maxKnown),
		flushing: time.NewTimer(time.Hour),
	}
	c.flushing.Stop()
	c.journal = r.spool.begin()
	return c
}

// run collects until the Recorder is closed, and then what is left.
func (c *collector) run() {
	seal := time.NewTicker(c.pace.seal)
	defer seal.Stop()
	for {
		select {
		case e := <-c.queue:
			c.take(&e)
		case <-c.flushing.C:
			c.flush()
		case sealed := <-c.Recorder.settle:
			c.settle(sealed)
		case <-seal.C:
			c.full = c.tally.queueFull(c.full)
			c.seal()
		case <-c.stop:
			c.drain()
			return
		}
	}
}

// drain takes what is in the queue.
func (c *collector) drain() {
	defer c.flushing.Stop()
	for {
		select {
		case e := <-c.queue:
			c.take(&e)
		default:
			c.seal()
			return
		}
	}
}

// take counts one event.
func (c *collector) take(e *Event) {
	addr := e.Address.Unmap().WithZone("")
	kept, ok := c.settings.Load().Keep(addr)
	if !ok {
		c.tally.drop(DropHidden, 1)
		if c.tally.logged.Allow("hidden", time.Now()) {
			c.tally.log.Warn("requests are missing in the history: there is no key for pseudonyms of their addresses", "dropped", c.tally.dropped[DropHidden].Load())
		}
		return
	}
	if c.fresh.rows() == 0 {
		c.flushing.Reset(c.pace.flush)
		c.tally.since.CompareAndSwap(0, time.Now().UnixNano())
	}
	d := decisionOf(e)
	d.Address = kept
	if k := keyOf(&d); !c.fresh.count(k, &d) {
		if !c.hosts.few(k.minute, kept, d.Host) {
			d.Host = ""
		}
		d.own()
		c.fresh.add(&d)
	}
	if e.Verdict.Scored && c.verdicts.changed(reputation.Subject(addr), &e.Verdict) {
		change := changeOf(e, d.First, kept, d.RequestID, d.Config)
		c.fresh.change(&change)
	}
	c.publish()
	c.overflow()
}

// decisionOf returns what an event decided, but for the address.
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

// overflow writes before its time what has become much.
func (c *collector) overflow() {
	size := max(min(sealSize, int(c.spool.limit.Load()/8)), 64<<10)
	switch {
	case c.fresh.rows()+c.kept.rows() >= c.pace.sealRows, c.fresh.size+c.kept.size >= size, c.journal.size >= int64(2*size):
		c.seal()
	case c.fresh.rows() >= c.pace.flushRows && !c.failing:
		c.flush()
	}
}

func (c *collector) publish() {
	c.tally.window.Store(c.fresh.entries + c.kept.entries)
	c.tally.fresh.Store(c.fresh.entries)
}

// flush appends to the journal what is not in it. What cannot be written is tried again a little later.
func (c *collector) flush() {
	c.flushing.Stop()
	if c.fresh.rows() == 0 {
		return
	}
	err := c.append()
	if errors.Is(err, errGone) {
		c.beginAnew()
		err = c.append()
	}
	c.failing = err != nil
	if c.failing {
		c.tally.diskFailed(err)
		c.flushing.Reset(4 * c.pace.flush)
		return
	}
	c.kept.merge(&c.fresh)
	c.fresh = window{}
	c.publish()
}

func (c *collector) append() error {
	if c.spool.dir == "" {
		return nil
	}
	c.buffer = appendWindow(c.buffer[:0], &c.fresh)
	err := c.journal.append(c.buffer)
	c.spool.journalBytes.Store(c.journal.size)
	if cap(c.buffer) > sealSize {
		c.buffer = nil
	}
	return err
}

// beginAnew begins another journal since the file is not there any more. Where nobody but us can have a locked one, somebody
// has removed it, and everything is written again. Where files cannot be locked, another process took this one for dead and
// sends what is in it.
func (c *collector) beginAnew() {
	if c.journal.locked {
		c.kept.merge(&c.fresh)
		c.fresh = c.kept
	}
	c.kept = window{}
	c.spool.release(c.journal)
	c.journal = c.spool.begin()
	c.publish()
}

// seal makes a batch of everything, and begins another window.
func (c *collector) seal() {
	c.flush()
	c.kept.merge(&c.fresh) // what could not be flushed
	c.fresh = window{}
	if c.kept.rows() == 0 {
		c.spool.persist()
		return
	}
	c.flushing.Stop()
	batch := c.kept.batch(c.journal.id)
	entries := c.kept.entries
	c.kept = window{}
	c.spool.add(batch, entries, c.journal)
	c.journal = c.spool.begin()
	c.failing = false
	c.tally.since.Store(0)
	c.publish()
}
