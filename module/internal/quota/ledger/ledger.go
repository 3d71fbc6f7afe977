// Package ledger counts the calls of an account in the windows of its quotas: in this process, on disk, and in a store
// for all instances.
package ledger

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/throttle"
)

// Ledger counts calls in windows. It is safe for concurrent use.
//
// Take does everything in one call, so that a store shared by several instances needs one script
// and one round trip. Such a ledger bounds its own time and handles an outage of its store itself,
// for example with a Local. When Take fails, no call is made.
type Ledger interface {
	// Take adds n to the count of the present window of each period. If one of the counts would
	// exceed what is released of its limit (see Limits.Released), or if the ledger enforces the rate
	// and it would be exceeded, Take adds nothing. Windows of the same period share one count.
	//
	// With n = 0, Take only reads. A negative n refunds calls that were taken at the time at: a
	// count does not fall below zero, and a window that is over does not change. The rate gets no
	// refund.
	Take(ctx context.Context, account string, limits Limits, n int, at time.Time) (Grant, error)

	// Look returns the counts that this process knows. It contacts no store, for gauges and pages
	// that must not wait.
	Look(account string, limits Limits, at time.Time) []Usage
}

// Limits are the limits of an account.
type Limits struct {
	// Windows are the quotas.
	Windows []Window

	// Rate bounds how fast calls follow each other, if it is bounded.
	Rate rate.Rate

	// Burst is the part of each quota, up to 1, that is available at the beginning of its window. The rest becomes
	// available evenly until the end. Quotas of up to FewCalls, and those of a minute, are available at once. 0 means 1.
	Burst float64
}

// Grant is the answer of a Ledger.
type Grant struct {
	// Granted means that the calls were counted and may be made, or that they were refunded.
	Granted bool

	// RetryAt is when the rate will have room, if only the rate has refused. Otherwise it is the
	// zero time.
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

	// Share is the part of what was left that this process may use alone, and Alone how much of Used it has used of it
	// so far. Share is 0 while all instances count together.
	Share float64
	Alone int
}

// Left returns how many of the calls that are released are left for this process.
func (u Usage) Left(released int) float64 {
	if u.Share == 0 {
		return max(float64(released-u.Used), 0)
	}
	return max(u.Share*float64(released-u.Used+u.Alone)-float64(u.Alone), 0)
}

// Local is a Ledger in memory that saves its counts to disk. A crash loses only the calls of the
// last second. It does not enforce the rate: for one process, that is up to the caller.
type Local struct {
	path string
	log  *slog.Logger

	mu       sync.Mutex // never held during disk I/O
	accounts map[string]account
	instance string      // the name of this ledger in a Store, empty until there was one
	shared   bool        // there is a Store
	timer    *time.Timer // set while a save is scheduled
	unsaved  bool
	closed   bool

	// The file belongs to another process: see Detach.
	detached bool
	before   map[string]account // what it had counted when this ledger was detached

	saving sync.Mutex // held while the file is written
	logged throttle.Causes[string]
}

// Take implements Ledger. It never fails, and never waits for the disk.
func (l *Local) Take(_ context.Context, name string, limits Limits, n int, at time.Time) (Grant, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.accounts[name]
	acc := before.at(limits.Windows, at)
	if n > 0 && !acc.hasRoom(limits, n, at) {
		return Grant{Usage: acc.usage(limits.Windows)}, nil
	}
	if n == 0 || len(limits.Windows) == 0 {
		return Grant{Granted: true, Usage: acc.usage(limits.Windows)}, nil
	}
	after := before
	for p, limit := range lowest(limits.Windows) {
		if limit == 0 || n < 0 && !before[p].start.Equal(Period(p).Start(at)) {
			continue // the count belongs to a later window by now
		}
		acc[p] = acc[p].plus(n)
		after[p] = acc[p]
	}
	l.accounts[name] = after
	l.saveSoon()
	return Grant{Granted: true, Usage: acc.usage(limits.Windows)}, nil
}

// Look implements Ledger.
func (l *Local) Look(name string, limits Limits, at time.Time) []Usage {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.accounts[name].at(limits.Windows, at).usage(limits.Windows)
}
