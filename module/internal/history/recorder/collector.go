package recorder

import (
	"errors"
	"runtime"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// sealSize is how many bytes, in memory or in the journal, a batch has at most.
const sealSize = 8 << 20

// collector takes what the stripes have counted, and writes it to disk. Only one goroutine uses it.
type collector struct {
	*Recorder
	fold     fold
	verdicts *verdicts
	ledger   ledger
	journal  *journal
	buffer   []byte
	using    *Settings // by the rows that the stripes have

	taken  taken
	opened [numStripes][]int32 // by row of a stripe: the row of the ledger, plus one; 0: none; or hidden
	anew   [numStripes]bool    // the stripe is to begin anew

	droppedBefore int64 // requests dropped by full stripes, at the last check
	flushing      *time.Timer
	due           bool // the timer runs
	synced        time.Time
}

// taken is what was taken from one stripe, and is worked through one by one: if one makes the
// collector panic, it goes on with the next.
type taken struct {
	stripe  int
	samples []sample
	deltas  []delta
	i, j    int  // of them, the next
	anew    bool // the stripe has forgotten its rows
}

// hidden stands for a row whose address cannot be stored at present.
const hidden = -1

func newCollector(r *Recorder) *collector {
	c := &collector{
		Recorder: r, fold: newFold(r.tally, r.timing.subjects), verdicts: newVerdicts(maxKnown),
		flushing: time.NewTimer(time.Hour),
	}
	c.cancelFlush()
	c.journal = r.spool.newJournal()
	return c
}

// flushIn makes the collector flush after a pause. If it will flush already, nothing changes: however
// much comes, nothing waits for longer.
func (c *collector) flushIn(pause time.Duration) {
	if !c.due {
		c.due = true
		c.flushing.Reset(pause)
	}
}

func (c *collector) cancelFlush() {
	c.flushing.Stop()
	c.due = false
}

// onDisk does what may wait for the disk.
func (c *collector) onDisk(work func()) {
	c.tally.busy.Store(time.Now().UnixNano())
	defer c.tally.busy.Store(0)
	work()
}

// run collects events until the Recorder is closed, then takes the rest.
func (c *collector) run() {
	c.onDisk(c.spool.makeFolder)
	seal := time.NewTicker(c.timing.seal)
	defer seal.Stop()
	defer c.cancelFlush()
	for {
		select {
		case <-c.stripes.more:
			c.flushIn(c.timing.flush)
		case s := <-c.incidents:
			c.incident(&s)
			c.flushIn(c.timing.flush)
		case <-c.stripes.crowded:
			c.take(true)
			c.onDisk(c.sealIfFull)
		case <-c.flushing.C:
			c.onDisk(c.flush)
			c.onDisk(c.sealIfFull)
		case sealed := <-c.Recorder.sync:
			c.onDisk(func() { c.sync(sealed) })
		case <-seal.C:
			c.onDisk(c.seal)
		case <-c.stop:
			c.stripes.close()
			c.onDisk(c.seal)
			return
		}
	}
}

// take takes what the stripes have counted. If reset is true, their rows begin anew.
func (c *collector) take(reset bool) {
	c.finishTaken()
	c.stripes.armed.Store(false)
	settings := c.settings.Load()
	reset = reset || settings != c.using
	c.using = settings
	for i := range c.stripes.all {
		t, anew := &c.taken, reset || c.anew[i]
		c.anew[i] = false
		t.deltas, t.samples, t.anew = c.stripes.all[i].take(t.deltas[:0], t.samples, anew, c.tally.collected)
		t.stripe, t.i, t.j = i, 0, 0
		c.finishTaken()
	}
	c.takeIncidents()
	c.droppedBefore = c.tally.queueFull(c.droppedBefore)
	c.publish()
}

// finishTaken works through what was taken. Now and then it lets requests go first.
func (c *collector) finishTaken() {
	t := &c.taken
	for t.i < len(t.samples) {
		e := &t.samples[t.i]
		if t.i++; t.i%yieldAfter == 0 {
			runtime.Gosched()
		}
		c.open(t.stripe, e)
	}
	for t.j < len(t.deltas) {
		d := &t.deltas[t.j]
		if t.j++; t.j%(4*yieldAfter) == 0 {
			runtime.Gosched()
		}
		c.count(t.stripe, d)
	}
	if t.anew {
		c.opened[t.stripe], t.anew = c.opened[t.stripe][:0], false
	}
	clear(t.samples) // no longer refers to requests
	if cap(t.samples) > stripeRows/2 {
		t.samples = nil
	}
}

// open opens the row of a request, and records its verdict if that has changed.
func (c *collector) open(stripe int, e *sample) {
	opened := &c.opened[stripe]
	for len(*opened) <= int(e.row) {
		*opened = append(*opened, 0)
	}
	addr := e.Address.Unmap().WithZone("")
	stored, ok := c.using.Stored(addr)
	if !ok {
		(*opened)[e.row], c.anew[stripe] = hidden, true
		return
	}
	d, subject := decisionOf(&e.Event), reputation.Subject(addr)
	d.Address = stored
	minute := d.Minute.Unix() / 60
	if wide := reputation.Network(subject.Addr()); !c.fold.subjects.subject(minute, wide, subject) {
		d.Address, subject = widened(stored, subject), wide
	}
	n := (*opened)[e.row] - 1
	if n < 0 {
		n = c.place(e, &d, minute)
		c.ledger.marks[n].folded = c.ledger.decisions[n].Address != stored
		(*opened)[e.row] = n + 1
	}
	c.ledger.sighted(n, &d)
	ofAll := c.ledger.decisions[n].Address.Bits() == 0
	if e.Verdict.Scored && !ofAll && !c.fold.full(e, minute, c.using.Rows) &&
		c.verdicts.changed(subject, &e.Verdict, e.evidence, minute) {
		change := changeOf(&e.Event, d.First, d.Address, strings.Clone(d.RequestID), d.Config)
		c.ledger.change(&change)
		c.tally.collected(1)
		c.fold.add(minute)
	}
}

// place returns the row that speaks for a request.
func (c *collector) place(e *sample, d *history.Decision, minute int64) int32 {
	if n := c.find(d, minute); n >= 0 {
		return n
	}
	if c.fold.full(e, minute, c.using.Rows) {
		d.Address = everybody(d.Address)
		if n := c.find(d, minute); n >= 0 {
			return n
		}
	}
	cloneTexts(d)
	c.fold.add(minute)
	return c.ledger.open(d)
}

// find returns the row of a decision; -1: none. It removes the host from the decision if the address
// has too many.
func (c *collector) find(d *history.Decision, minute int64) int32 {
	if n := c.ledger.find(d); n >= 0 || c.fold.hosts.host(minute, d.Address, d.Host) {
		return n
	}
	d.Host = ""
	return c.ledger.find(d)
}

// count adds requests to the row that is open for them.
func (c *collector) count(stripe int, d *delta) {
	n := int32(0)
	if opened := c.opened[stripe]; int(d.row) < len(opened) {
		n = opened[d.row]
	}
	switch n {
	case hidden:
		c.tally.hide(int64(d.count))
	case 0: // the collector panicked when it opened the row
		c.tally.drop(DropQueue, int64(d.count))
	default:
		if c.ledger.count(n-1, d); c.ledger.marks[n-1].folded {
			c.tally.folded.Add(int64(d.count))
		}
		return
	}
	c.tally.collected(-int64(d.count))
}

// decisionOf returns the decision of an event, without its address. It counts no request.
func decisionOf(e *history.Event) history.Decision {
	at := time.Unix(0, timeOf(e.At)).UTC()
	d := history.Decision{
		Minute: at.Truncate(time.Minute), Host: hostOf(e.Host), Rule: plain(e.Rule, maxText), Action: e.Action.String(),
		Mode: observe, First: at, Last: at, RequestID: plain(e.RequestID, maxText),
		Status: e.Verdict.Status.String(), Config: plain(e.Config, maxText),
	}
	if e.Enforce {
		d.Mode = enforce
	}
	return d
}

// sealIfFull seals before the timer does, when the ledger has become large.
func (c *collector) sealIfFull() {
	size := max(min(sealSize, int(c.spool.limit.Load()/8)), 64<<10)
	if c.ledger.rows() >= c.timing.sealRows || c.ledger.size >= size || c.journal.size >= int64(2*size) {
		c.seal()
	}
}

func (c *collector) publish() {
	c.tally.unwritten.Store(c.ledger.unsaved())
	if c.ledger.entries == 0 {
		c.tally.since.Store(0)
	} else {
		c.tally.since.CompareAndSwap(0, time.Now().UnixNano())
	}
}

// flush takes what was counted, and appends it to the journal. After an error it tries again later.
func (c *collector) flush() {
	c.cancelFlush()
	c.take(false)
	c.save()
}

func (c *collector) save() {
	if c.ledger.unsaved() == 0 || c.spool.dir == "" {
		return
	}
	err := c.append()
	if errors.Is(err, errGone) {
		c.replaceJournal()
		err = c.append()
	}
	if err != nil {
		c.tally.setDiskError(err)
		c.flushIn(4 * c.timing.flush)
		return
	}
	if !c.spool.hasUnsaved() {
		c.tally.setDiskError(nil)
	}
	c.ledger.setSaved()
	c.publish()
}

func (c *collector) append() error {
	c.buffer = c.ledger.appendUnsaved(c.buffer[:0])
	version := journalVersion
	if len(c.ledger.incidents) > 0 {
		version = incidentVersion
	}
	err := c.journal.append(c.buffer, version)
	c.spool.journalBytes.Store(c.journal.size)
	if cap(c.buffer) > sealSize {
		c.buffer = nil
	}
	return err
}

// replaceJournal begins a new journal because the file no longer exists. If it was locked, somebody
// deleted it, and everything is written again. If files cannot be locked, or another process has
// renamed it, that process adopted it and sends its entries.
func (c *collector) replaceJournal() {
	if c.journal.locked && !c.spool.adopted(c.journal) {
		c.ledger.setUnsaved()
	} else {
		c.take(true)
		c.tally.handedOver(c.ledger.saved)
		c.ledger = c.ledger.rest()
	}
	c.spool.release(c.journal)
	c.journal = c.spool.newJournal()
	c.publish()
}

// seal makes a batch of everything, and begins a new ledger.
func (c *collector) seal() {
	c.take(true)
	c.save()
	c.cancelFlush()
	if c.ledger.rows() == 0 {
		c.spool.persist()
		return
	}
	batch, entries := c.ledger.batch(c.journal.id), c.ledger.entries
	c.spool.add(batch, entries, c.journal, c.ledger.unsaved() == 0)
	c.tally.handedOver(entries)
	c.ledger = ledger{window: window{decisions: make([]history.Decision, 0, min(len(batch.Decisions), c.timing.sealRows))}}
	c.journal = c.spool.newJournal()
	c.publish()
}
