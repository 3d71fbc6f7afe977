package ledger

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestTwoProcessesWithOneFile proves that no call is forgotten, or counted twice, where a second process works beside the one
// that has the file, with a store or without, and then takes the file over; and that a process which had counted nothing by then
// goes on under the name in the file.
func TestTwoProcessesWithOneFile(t *testing.T) {
	now := time.Now()
	limits := Limits{Windows: []Window{{Limit: 100_000, Period: Month}}}
	rapid.Check(t, func(rt *rapid.T) {
		path := filepath.Join(t.TempDir(), "quota.json")
		store := newStoreTwin(func() time.Time { return now })
		withStore := rapid.Bool().Draw(rt, "with a store")
		type process struct {
			*Local
			Ledger
			link *link
		}
		open := func() *process {
			p := &process{Local: OpenLocal(path, slog.New(slog.DiscardHandler)), link: &link{store: store}}
			p.Detach()
			p.Ledger = p.Local
			if withStore {
				p.Ledger = NewShared(p.link, p.Local, 1, slog.New(slog.DiscardHandler))
			}
			return p
		}
		calls := 0
		take := func(p *process, label string) {
			for _, n := range rapid.SliceOfN(rapid.IntRange(-1, 20), 0, 5).Draw(rt, label) {
				if n < 0 {
					p.link.set(1 - p.link.state)
					continue
				}
				if grant, err := p.Ledger.Take(context.Background(), "a", limits, n, now); err == nil && grant.Granted {
					calls += n
				}
			}
		}
		finish := func(p *process) {
			if err := p.Close(); err != nil {
				rt.Fatal(err)
			}
		}

		before := open()
		before.Attach()
		take(before, "the process before")
		finish(before)

		first := open()
		first.Attach()
		if first.instance != before.instance && calls > 0 {
			rt.Fatalf("the name was %q, and is %q after a restart", before.instance, first.instance)
		}
		take(first, "the first")
		if err := first.save(); err != nil {
			rt.Fatal(err)
		}
		second := open()
		take(second, "the second, beside it")
		if withStore && second.instance == first.instance {
			rt.Fatal("two processes have one name")
		}
		take(first, "the first, beside it")
		finish(first)
		second.Attach()
		take(second, "the second, alone")
		finish(second)

		last := open()
		defer finish(last)
		last.Attach()
		counted := last.Local.Look("a", limits, now)[0].Used
		if withStore {
			last.link.set(up)
			if err := last.Ledger.(*Shared).settle(context.Background(), now); err != nil {
				rt.Fatal(err)
			}
			w := store.window("a", Month, Month.Start(now))
			counted = w.used()
		}
		if counted != calls {
			rt.Fatalf("%d calls were made, %d are counted", calls, counted)
		}
	})
}
