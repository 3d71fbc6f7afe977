package history

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// The modes of decisions.
const (
	enforce = "enforce"
	observe = "observe"
)

// key identifies the decisions that are counted together.
type key struct {
	minute                           int64 // since 1970
	address                          netip.Prefix
	host, rule, action, mode, config string
}

func keyOf(d *Decision) key {
	return key{d.Minute.Unix() / 60, d.Address, d.Host, d.Rule, d.Action, d.Mode, d.Config}
}

// window holds the decisions and changes of a short time, with equal decisions counted in one row.
// The zero value is empty.
type window struct {
	decisions []Decision
	index     map[key]int // of decisions
	changes   []Change
	entries   int64 // requests and changes
	size      int   // approximate size in bytes
}

func (w *window) rows() int { return len(w.decisions) + len(w.changes) }

// count adds a decision to an existing row with the same key, and reports whether there is one.
func (w *window) count(k key, d *Decision) bool {
	i, ok := w.index[k]
	if ok {
		w.decisions[i].merge(d)
		w.entries += d.Count
	}
	return ok
}

// add adds a decision. A new row keeps references to its texts.
func (w *window) add(d *Decision) {
	k := keyOf(d)
	if w.count(k, d) {
		return
	}
	if w.index == nil {
		w.index = make(map[key]int)
	}
	w.index[k] = len(w.decisions)
	w.decisions = append(w.decisions, *d)
	w.entries += d.Count
	w.size += 320 + len(d.Host) + len(d.Rule) + len(d.RequestID) // the rest is short
}

func (w *window) change(c *Change) {
	w.changes = append(w.changes, *c)
	w.entries++
	w.size += 320 + len(c.RequestID) + 160*len(c.Evidence)
}

// merge adds the entries of a later window.
func (w *window) merge(later *window) {
	if w.rows() == 0 {
		*w = *later
		return
	}
	for i := range later.decisions {
		w.add(&later.decisions[i])
	}
	for i := range later.changes {
		w.change(&later.changes[i])
	}
}

// batch returns the window as a batch. The window must not be used afterwards.
func (w *window) batch(id ID) *Batch {
	return &Batch{ID: id, Decisions: w.decisions, Changes: w.changes}
}

// entriesOf returns the number of entries of a batch.
func entriesOf(b *Batch) int64 {
	n := int64(len(b.Changes))
	for i := range b.Decisions {
		n += b.Decisions[i].Count
	}
	return n
}

// merge adds a decision that was counted later. The times of the requests decide which is the first
// and the last.
func (d *Decision) merge(later *Decision) {
	d.Count += later.Count
	if later.First.Before(d.First) {
		d.First, d.RequestID = later.First, later.RequestID
	}
	if !later.Last.Before(d.Last) {
		d.Last, d.Status = later.Last, later.Status
	}
	if later.Score != nil && (d.Score == nil || *later.Score > *d.Score) {
		d.Score = later.Score
	}
}

// cloneTexts copies the texts that are parts of the much longer client request.
func (d *Decision) cloneTexts() {
	d.Host, d.RequestID = strings.Clone(d.Host), strings.Clone(d.RequestID)
}

// valid reports whether a decision read from disk is plausible.
func (d *Decision) valid() bool {
	_, err := reputation.ParseAction(d.Action)
	return err == nil && (d.Mode == enforce || d.Mode == observe) && d.Address.IsValid() && validTime(d.Minute) &&
		validTime(d.First) && validTime(d.Last) && d.Count > 0 && d.Count < 1<<40 && (d.Score == nil || *d.Score <= 100)
}

// valid reports whether a change read from disk is plausible.
func (c *Change) valid() bool {
	return c.Subject.IsValid() && validTime(c.At) && c.Score <= 100 && len(c.Evidence) <= maxEvidence
}

// validTime reports whether JSON and databases can represent a time.
func validTime(at time.Time) bool { return at.Year() >= 1970 && at.Year() < 10_000 }

// categoryNames returns the names of categories; nil if there are none.
func categoryNames(c reputation.Categories) []string {
	var list []string
	for category := range c.All() {
		list = append(list, category.String())
	}
	return slices.Clip(list)
}
