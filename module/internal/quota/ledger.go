package quota

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Ledger counts calls in windows. It is safe for concurrent use.
//
// It has a single method, so that a store shared by several instances can do everything in one script and one round
// trip. Such a store bounds its own time and decides what holds while it is away, such as a Local beside it; when it
// returns an error, no call is made.
type Ledger interface {
	// Take adds n to the count of the window of each period that at falls in, unless that would lift one of the counts
	// above its limit: then nothing is added anywhere. Windows of the same period share one count.
	//
	// With n = 0 it only looks. A negative n gives calls back that were taken at that time: a count does not fall below
	// zero, and a window that is over is left alone.
	Take(ctx context.Context, account string, windows []Window, n int, at time.Time) (Grant, error)
}

// Grant is the answer of a Ledger.
type Grant struct {
	// Granted says that the calls were counted, and may be made.
	Granted bool

	// Usage has one element for each window, in their order.
	Usage []Usage
}

// Usage is the state of one window after a Take.
type Usage struct {
	// Used is the number of calls counted in the window.
	Used int

	// Reset is when the window ends, in UTC.
	Reset time.Time
}

// Local is a Ledger in memory that keeps a copy on disk, so that a restart forgets no call but those of the last second
// before a crash.
type Local struct {
	path string
	log  *slog.Logger

	mu       sync.Mutex // never held while the disk is waited for
	accounts map[string]account
	timer    *time.Timer // set while a save is due
	unsaved  bool
	closed   bool

	saving sync.Mutex // held while the file is written
	said   said
}

// account holds the counts of one name, by period.
type account [numPeriods]counter

// counter counts the calls in the window that begins at start.
type counter struct {
	start time.Time
	used  int
}

// at returns the counter of the window that t falls in: c itself, or a new one.
//
// When the clock has stepped back over the edge of a window, c goes on counting, because the other choice would grant
// the quota twice. A counter further ahead comes from a clock that was wrong: obeying it could stop calls for years.
func (c counter) at(p Period, t time.Time) counter {
	if start := p.Start(t); !c.start.Equal(start) && !c.start.Equal(p.End(t)) {
		return counter{start: start}
	}
	return c
}

// Take implements Ledger. It never fails, and never waits for the disk.
func (l *Local) Take(_ context.Context, name string, windows []Window, n int, at time.Time) (Grant, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	acc := l.accounts[name]
	grant := Grant{Granted: true, Usage: make([]Usage, len(windows))}
	for i, w := range windows {
		c := acc[w.Period].at(w.Period, at)
		grant.Usage[i] = Usage{Used: c.used, Reset: w.Period.End(c.start)}
		if n > 0 && c.used+n > w.Limit {
			grant.Granted = false
		}
	}
	if !grant.Granted || n == 0 {
		return grant, nil
	}
	for i, w := range windows {
		if n < 0 && !acc[w.Period].start.Equal(w.Period.Start(at)) {
			continue // The count is that of a later window by now.
		}
		c := acc[w.Period].at(w.Period, at)
		c.used = max(grant.Usage[i].Used+n, 0)
		grant.Usage[i].Used = c.used
		acc[w.Period] = c
	}
	l.accounts[name] = acc
	l.saveSoon()
	return grant, nil
}
