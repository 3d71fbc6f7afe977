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

// key is what decisions have in common that are counted together.
type key struct {
	minute                           int64 // of Unix
	address                          netip.Prefix
	host, rule, action, mode, config string
}

func keyOf(d *Decision) key {
	return key{d.Minute.Unix() / 60, d.Address, d.Host, d.Rule, d.Action, d.Mode, d.Config}
}

// window is what was decided and what has changed in a short time, each decision counted in one row. The zero value is empty.
type window struct {
	decisions []Decision
	index     map[key]int // of decisions
	changes   []Change
	entries   int64 // requests and changes
	size      int   // about how many bytes it is
}

func (w *window) rows() int { return len(w.decisions) + len(w.changes) }

// count adds a decision to the row of its key, if there is one.
func (w *window) count(k key, d *Decision) bool {
	i, ok := w.index[k]
	if ok {
		w.decisions[i].merge(d)
		w.entries += d.Count
	}
	return ok
}

// add adds a decision. Where it makes a row of its own, its texts are kept as they are.
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
	w.size += 320 + len(d.Host) + len(d.Rule) + len(d.RequestID) // the rest are words of known lengths
}

func (w *window) change(c *Change) {
	w.changes = append(w.changes, *c)
	w.entries++
	w.size += 320 + len(c.RequestID) + 160*len(c.Evidence)
}

// merge adds all of what came later.
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

// batch returns what is in the window, which is not to be used any more.
func (w *window) batch(id ID) *Batch {
	return &Batch{ID: id, Decisions: w.decisions, Changes: w.changes}
}

// entriesOf is how many entries a batch has.
func entriesOf(b *Batch) int64 {
	n := int64(len(b.Changes))
	for i := range b.Decisions {
		n += b.Decisions[i].Count
	}
	return n
}

// merge adds what was counted later. Their times decide what is the first and the last.
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

// own makes the texts of a decision its own: they may be parts of what was read from a client, which is much longer.
func (d *Decision) own() {
	d.Host, d.RequestID = strings.Clone(d.Host), strings.Clone(d.RequestID)
}

// valid reports whether a decision is one that was written here, as far as can be seen.
func (d *Decision) valid() bool {
	_, err := reputation.ParseAction(d.Action)
	return err == nil && (d.Mode == enforce || d.Mode == observe) && d.Address.IsValid() && validTime(d.Minute) &&
		validTime(d.First) && validTime(d.Last) && d.Count > 0 && d.Count < 1<<40 && (d.Score == nil || *d.Score <= 100)
}

// valid reports whether a change is one that was written here, as far as can be seen.
func (c *Change) valid() bool {
	return c.Subject.IsValid() && validTime(c.At) && c.Score <= 100 && len(c.Evidence) <= maxEvidence
}

// validTime reports whether JSON and databases can hold a time.
func validTime(at time.Time) bool { return at.Year() >= 1970 && at.Year() < 10_000 }

// words returns the words of categories; nil where there are none.
func words(c reputation.Categories) []string {
	var list []string
	for category := range c.All() {
		list = append(list, category.String())
	}
	return slices.Clip(list)
}
