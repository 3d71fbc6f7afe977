package recorder

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// twin does what a Recorder does, by keeping everything.
type twin struct {
	events   []history.Event // that are safe
	unsafe   []history.Event // that the death of the process costs
	changes  []history.Change
	fleeting []history.Change
	last     map[netip.Prefix]reputation.Verdict
	at       map[netip.Prefix]time.Time // the minute in which that was recorded
}

func (w *twin) record(e history.Event) {
	w.unsafe = append(w.unsafe, e)
	if !e.Verdict.Scored {
		return
	}
	subject := reputation.Subject(e.Address)
	last, ok := w.last[subject]
	if !ok && e.Verdict.Score < 5 {
		return
	}
	if sources(last) == sources(e.Verdict) && max(last.Score, e.Verdict.Score)-min(last.Score, e.Verdict.Score) < 5 {
		return
	}
	minute := e.At.Truncate(time.Minute)
	if ok && w.at[subject].Equal(minute) {
		return // once a minute
	}
	w.last[subject], w.at[subject] = e.Verdict, minute
	w.fleeting = append(w.fleeting, history.Change{At: e.At, Subject: subject, Score: e.Verdict.Score})
}

func sources(v reputation.Verdict) string {
	var list []string
	for _, r := range v.Reasons {
		if r.Points != 0 {
			list = append(list, fmt.Sprint(r.Source, r.Categories))
		}
	}
	slices.Sort(list)
	return fmt.Sprint(list)
}

func (w *twin) save() {
	w.events = append(w.events, w.unsafe...)
	w.changes = append(w.changes, w.fleeting...)
	w.unsafe, w.fleeting = nil, nil
}

func (w *twin) die() {
	w.unsafe, w.fleeting = nil, nil
	clear(w.last)
}

// decisions counts the events, one by one.
func (w *twin) decisions() (rows []history.Decision) {
	for _, e := range w.events {
		d := history.Decision{
			Minute: e.At.Truncate(time.Minute), Address: reputation.Subject(e.Address), Host: e.Host, Rule: e.Rule,
			Action: e.Action.String(), Mode: "observe", Count: 1, First: e.At, Last: e.At, RequestID: e.RequestID,
			Status: e.Verdict.Status.String(), Config: e.Config,
		}
		if e.Enforce {
			d.Mode = "enforce"
		}
		if e.Verdict.Scored {
			d.Score = &e.Verdict.Score
		}
		i := slices.IndexFunc(rows, func(o history.Decision) bool { return rowOf(o) == rowOf(d) })
		if i < 0 {
			rows = append(rows, d)
			continue
		}
		o := &rows[i]
		o.Count++
		if d.First.Before(o.First) {
			o.First, o.RequestID = d.First, d.RequestID
		}
		if !d.Last.Before(o.Last) {
			o.Last, o.Status = d.Last, d.Status
		}
		if o.Score == nil || d.Score != nil && *d.Score > *o.Score {
			o.Score = d.Score
		}
	}
	return rows
}

func rowOf(d history.Decision) string {
	return fmt.Sprint(d.Minute, d.Address, d.Host, d.Rule, d.Action, d.Mode, d.Config)
}

// events draws events that often have something in common.
func events(now *time.Time, n *int) *rapid.Generator[history.Event] {
	return rapid.Custom(func(t *rapid.T) history.Event {
		*n++
		e := history.Event{
			At: *now, Host: rapid.SampledFrom([]string{"a.example.com", "b.example.com"}).Draw(t, "host"),
			Rule: rapid.SampledFrom([]string{"", "block score 85"}).Draw(t, "rule"), Enforce: rapid.Bool().Draw(t, "enforce"),
			Action:    reputation.Action(rapid.IntRange(0, reputation.NumActions-1).Draw(t, "action")),
			RequestID: fmt.Sprint(*n), Config: "1",
		}
		low := byte(rapid.IntRange(0, 2).Draw(t, "low"))
		e.Address = netip.AddrFrom4([4]byte{203, 0, 113, low})
		if rapid.Bool().Draw(t, "v6") { // two of the three are of one subject
			e.Address = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 7: low / 2, 15: low})
		}
		v := &e.Verdict
		v.Scored = rapid.Bool().Draw(t, "scored")
		v.Status = rapid.SampledFrom([]reputation.Status{reputation.Fresh, reputation.Partial, reputation.Pending}).Draw(t, "status")
		if v.Scored {
			v.Score = uint8(rapid.IntRange(0, 12).Draw(t, "score"))
			v.Reasons = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) reputation.Reason {
				return reputation.Reason{
					Source: rapid.SampledFrom([]string{"deny", "tor_exits"}).Draw(t, "source"),
					Points: float64(rapid.IntRange(0, 2).Draw(t, "points")),
				}
			}), 0, 2).Draw(t, "reasons")
		}
		return e
	})
}

// TestTwin holds that whatever happens, and in whatever order, each request and each change is stored once, in the right row;
// and that what is counted adds up. What the death of a process costs is what had not been flushed.
func TestTwin(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		now, n := start, 0
		draw := events(&now, &n)
		store, slow := &shelf{}, &twin{last: map[netip.Prefix]reputation.Verdict{}, at: map[netip.Prefix]time.Time{}}
		k := newRig(t, Options{Dir: dir})
		recorded := int64(0)                                                      // with the Recorder that lives
		settings := Settings{Stored: func(addr netip.Addr) (netip.Prefix, bool) { // while a request is taken
			if got, want := k.Status().Unsaved, int64(len(slow.unsafe)+len(slow.fleeting)+1); got < want {
				rt.Fatalf("%d entries are unsaved, want %d", got, want)
			}
			return storedSubject(addr)
		}}
		k.Use(settings)
		ambiguous := errors.New("the connection broke")
		rt.Repeat(map[string]func(*rapid.T){
			"record": func(t *rapid.T) {
				e := draw.Draw(t, "event")
				k.record(e)
				before := len(slow.fleeting)
				slow.record(e)
				recorded += int64(1 + len(slow.fleeting) - before)
			},
			"a while": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(-10, 40).Draw(t, "seconds")) * time.Second)
			},
			"flush": func(*rapid.T) {
				if k.flush(); k.collector.ledger.unsaved() == 0 {
					slow.save()
				}
			},
			"seal": func(*rapid.T) {
				k.seal()
				slow.save()
			},
			"send":     func(*rapid.T) { _ = k.sendAll(store) },
			"scan":     func(*rapid.T) { k.spool.scan() },
			"disk":     func(*rapid.T) { k.spool.files = files{createFile, replaceFast, lock} },
			"bad disk": func(*rapid.T) { k.spool.files = badFiles(dir) },
			"store":    func(*rapid.T) { store.answer = nil },
			"bad store": func(*rapid.T) {
				store.answer = func(b *history.Batch) error {
					if n++; n%2 == 0 {
						store.put(b)
					}
					return ambiguous
				}
			},
			"die": func(t *rapid.T) {
				if k.spool.hasUnsaved() {
					t.Skip("what is in memory would be lost")
				}
				k.die()
				slow.die()
				age(t, dir, time.Hour)
				k = newRig(t, Options{Dir: dir})
				k.Use(settings)
				k.spool.scan()
				recorded = k.Counts().Waiting
			},
			"": func(t *rapid.T) { k.check(t, recorded) },
		})
		k.spool.files = files{createFile, replaceFast, lock}
		k.seal()
		slow.save()
		store.answer = nil
		if err := k.sendAll(store); err != nil {
			rt.Fatal(err)
		}
		k.check(rt, recorded)
		checkTwin(rt, slow, store.merged())
		if left := names(t, dir, ""); len(left) > 0 {
			rt.Fatalf("left on disk: %v", left)
		}
		k.die()
	})
}

func checkTwin(t *rapid.T, slow *twin, got *window) {
	byRow := cmpopts.SortSlices(func(a, b history.Decision) int { return cmp.Compare(rowOf(a), rowOf(b)) })
	prefixes := gocmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	if diff := gocmp.Diff(slow.decisions(), got.decisions, byRow, prefixes, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("decisions differ (-slow +fast):\n%s", diff)
	}
	var changes []history.Change
	for _, c := range got.changes {
		changes = append(changes, history.Change{At: c.At, Subject: c.Subject, Score: c.Score})
	}
	byTime := cmpopts.SortSlices(func(a, b history.Change) int { // batches of the dead come late
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Subject.String(), b.Subject.String()), cmp.Compare(a.Score, b.Score))
	})
	if diff := gocmp.Diff(slow.changes, changes, byTime, prefixes, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("changes differ (-slow +fast):\n%s", diff)
	}
}
