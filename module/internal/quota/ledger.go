package quota

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/throttle"
)

// Ledger counts calls in windows. It is safe for concurrent use.
//
// It has a single method, so that a store shared by several instances can do everything in one script and one round
// trip. Such a store bounds its own time and decides what holds while it is away, such as a Local beside it; when it
// returns an error, no call is made.
type Ledger interface {
	// Take adds n to the count of the window of each period that at falls in, unless that would lift one of the counts
	// above its limit, or be faster than a rate that the ledger keeps: then nothing is added anywhere. Windows of the same
	// period share one count. Of the terms only Windows and Rate matter.
	//
	// With n = 0 it only looks. A negative n gives calls back that were taken at that time: a count does not fall below
	// zero, and a window that is over is left alone. The rate gets nothing back.
	Take(ctx context.Context, account string, t Terms, n int, at time.Time) (Grant, error)

	// Look returns what this process knows of the windows. It asks nobody, for gauges and pages that must not wait.
	Look(account string, t Terms, at time.Time) []Usage
}

// Grant is the answer of a Ledger.
type Grant struct {
	// Granted says that the calls were counted, and may be made, or that they were given back.
	Granted bool

	// RetryAt is when the rate will have room, if it was the rate that refused and no window, and else the zero time.
	RetryAt time.Time

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
// before a crash. It does not look at the rate, which a Budget keeps for one process.
type Local struct {
	path string
	log  *slog.Logger

	mu       sync.Mutex // never held while the disk is waited for
	accounts map[string]account
	instance string      // the name under which a Store knows this ledger, empty until there was one
	timer    *time.Timer // set while a save is due
	unsaved  bool
	closed   bool

	saving sync.Mutex // held while the file is written
	logged throttle.Causes[int]
}

// Take implements Ledger. It never fails, and never waits for the disk.
func (l *Local) Take(_ context.Context, name string, t Terms, n int, at time.Time) (Grant, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.accounts[name]
	acc := before.at(t.Windows, at)
	if n > 0 && !acc.hasRoom(t.Windows, n) {
		return Grant{Usage: acc.usage(t.Windows)}, nil
	}
	if n == 0 || len(t.Windows) == 0 {
		return Grant{Granted: true, Usage: acc.usage(t.Windows)}, nil
	}
	after := before
	for p, limit := range limits(t.Windows) {
		if limit == 0 || n < 0 && !before[p].start.Equal(Period(p).Start(at)) {
			continue // The count is that of a later window by now.
		}
		acc[p] = acc[p].plus(n)
		after[p] = acc[p]
	}
	l.accounts[name] = after
	l.saveSoon()
	return Grant{Granted: true, Usage: acc.usage(t.Windows)}, nil
}

// Look implements Ledger.
func (l *Local) Look(name string, t Terms, at time.Time) []Usage {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.accounts[name].at(t.Windows, at).usage(t.Windows)
}
