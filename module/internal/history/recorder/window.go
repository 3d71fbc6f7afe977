package recorder

import (
	"encoding/binary"
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// The modes of decisions.
const (
	enforce = "enforce"
	observe = "observe"
)

// keySeed makes the keys of this process.
var keySeed = maphash.MakeSeed()

// keyOf returns a number that decisions which are counted together have in common. That others have
// it, too, is as good as impossible.
func keyOf(d *history.Decision) uint64 {
	var h maphash.Hash
	h.SetSeed(keySeed)
	var fixed [8 + len(prefixKey{})]byte
	binary.LittleEndian.PutUint64(fixed[:], uint64(d.Minute.Unix()/60))
	address := prefixKeyOf(d.Address)
	copy(fixed[8:], address[:])
	_, _ = h.Write(fixed[:])
	for _, text := range [...]string{d.Host, d.Rule, d.Action, d.Mode, d.Config} {
		_, _ = h.WriteString(text)
		_ = h.WriteByte(0)
	}
	return h.Sum64()
}

// window holds what was recorded in a short time, with equal decisions, and equal incidents, counted in one row.
// The zero value is empty.
type window struct {
	decisions []history.Decision
	index     map[uint64]int32 // of decisions, by key
	changes   []history.Change
	incidents []history.Incident
	entries   int64 // requests, changes and incidents
	size      int   // approximate size in bytes

	incidentIndex map[incidentKey]int32
}

func (w *window) rows() int { return len(w.decisions) + len(w.changes) + len(w.incidents) }

// find returns the number of the row with the same key; -1: none.
func (w *window) find(d *history.Decision) int32 {
	if n, ok := w.index[keyOf(d)]; ok {
		return n
	}
	return -1
}

// insert adds a row that find has not found. The row keeps references to the texts.
func (w *window) insert(d *history.Decision) int32 {
	if w.index == nil {
		w.index = make(map[uint64]int32)
	}
	n := int32(len(w.decisions))
	w.index[keyOf(d)] = n
	w.decisions = append(w.decisions, *d)
	w.size += 320 + len(d.Host) + len(d.Rule) + len(d.RequestID) // the rest is short
	return n
}

// add adds a decision, and returns the number of its row.
func (w *window) add(d *history.Decision) int32 {
	n := w.find(d)
	if n < 0 {
		n = w.insert(d)
	} else {
		merge(&w.decisions[n], d)
	}
	w.entries += d.Count
	return n
}

func (w *window) change(c *history.Change) {
	w.changes = append(w.changes, *c)
	w.entries++
	w.size += 320 + len(c.RequestID) + 160*len(c.Evidence)
}

// batch returns the window as a batch. The window must not be used afterwards.
func (w *window) batch(id history.ID) *history.Batch {
	return &history.Batch{ID: id, Decisions: w.decisions, Changes: w.changes, Incidents: w.incidents}
}

// rowsOf returns the number of rows of a batch.
func rowsOf(b *history.Batch) int { return len(b.Decisions) + len(b.Changes) + len(b.Incidents) }

// entriesOf returns the number of entries of a batch.
func entriesOf(b *history.Batch) int64 {
	n := int64(len(b.Changes))
	for i := range b.Decisions {
		n += b.Decisions[i].Count
	}
	for i := range b.Incidents {
		n += b.Incidents[i].Count
	}
	return n
}

// merge adds a decision that was counted later to another. The times of the requests decide which is the first
// and the last.
func merge(d, later *history.Decision) {
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
func cloneTexts(d *history.Decision) {
	d.Host, d.RequestID = strings.Clone(d.Host), strings.Clone(d.RequestID)
}

// validDecision reports whether a decision read from disk is plausible.
func validDecision(d *history.Decision) bool {
	_, err := reputation.ParseAction(d.Action)
	return err == nil && (d.Mode == enforce || d.Mode == observe) && d.Address.IsValid() && validTime(d.Minute) &&
		validTime(d.First) && validTime(d.Last) && d.Count > 0 && d.Count < 1<<40 && (d.Score == nil || *d.Score <= 100)
}

// validChange reports whether a change read from disk is plausible.
func validChange(c *history.Change) bool {
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
