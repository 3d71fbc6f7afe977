package quota

import (
	"context"
	"fmt"
	"time"
	"unicode/utf8"
)

// Store counts calls for all instances. It is meant to be a server that does what a Count says in one script: all of it or
// nothing, in one round trip. It is safe for concurrent use, and bounds its own time well below that of a call.
//
// An error means that the store is away, and that nobody knows whether it has counted. A Store may try again by itself what
// gives nothing back (N ≥ 0): a call that is counted twice is one call less, one that is given back twice is one too many.
//
// For each account and period it keeps one window, which is
//
//	Start    when it begins
//	Epoch    a text that no window of this account and period has had before: 1 to 64 bytes of ASCII
//	Version  a number that grows with every change; at least 1
//	Base     what the instances knew of it when the epoch began, as far as they have spoken since
//	Since    the calls counted in this epoch, less those given back
//	Owed     by instance: how much of WindowCount.Owed is in Since or Base; 0 for who has not spoken in this epoch
//
// and Used is Base + Since. A Count does, for each of its windows:
//
//  1. Find it. The kept window goes on if it begins at Start, or at End: then the clock of this instance is behind that of
//     another, what it says is of a window that is over, and steps 2 and 3 are left out. Else, or if none is kept, a new one
//     begins at Start, with a new Epoch and everything else zero. But no window gives way to calls given back (N < 0): the
//     kept one is left as it is, and the answer repeats Start, Epoch, Version, Known and Told of the Count.
//  2. Mend it, if the Epochs differ: Base = max(Base, Known), and Owed of Instance = max(itself, Told). The Epochs are made
//     to differ if they are the same but Version is above the kept one, as when a replica has taken over that lagged behind:
//     the window takes a new Epoch, Base = Used, Since = 0, and Owed of all instances 0.
//  3. Settle what was spent without the store, whatever the limit: if Owed is above Owed of Instance, the difference is added
//     to Since, and Owed of Instance = Owed. If it is below, nothing happens: Counts can overtake each other.
//
// And then for all of them:
//
//  4. With N > 0, the Count is granted if Used + N ≤ Limit in every window, and the rate has room for N: then N is added to
//     Since of every window, and the rate takes N. Else nothing is added anywhere. With N ≤ 0 it is granted, neither Limit
//     nor rate is looked at, and with N < 0 the windows that begin at Start give back: Since = max(Since + N, −Base).
//  5. Version grows in every window that is new or that this has changed. It may grow in the others.
//
// The rate is that of one account. It is measured by the store's own clock, since those of the instances differ: N calls have
// room if max(due, now) + (N − Burst)·Interval ≤ now, and then due = max(due, now) + N·Interval (GCRA; due is kept).
//
// A window is kept for at least twice its length after the last Count that named it, whatever the store's clock says of
// its Start. One that is lost sooner is mended; one kept for longer does no harm.
type Store interface {
	Count(ctx context.Context, c Count) (Counted, error)
}

// Count is what an instance asks of a Store.
type Count struct {
	// Account is whose quota it is.
	Account string

	// Instance is the name of the asking instance, the same over restarts: 1 to 64 bytes of ASCII.
	Instance string

	// N is the number of calls; 0 only looks (and mends, and settles), less gives back.
	N int

	// Interval is the time between two calls at the most even pace, and Burst how many may come at once. An Interval of 0
	// is no bound.
	Interval time.Duration
	Burst    int

	// Windows are those of the quota, each period at most once. There may be none.
	Windows []WindowCount
}

// WindowCount is one window of a Count, and what the instance knows of it.
type WindowCount struct {
	// Period is its word, such as "day".
	Period string

	// Start and End are when it begins and when the next one does, in UTC and whole seconds.
	Start, End time.Time

	// Limit is the number of calls in a window, 1 to MaxLimit.
	Limit int

	// Owed is what the instance has spent in this window without the store: all of it since the window began.
	Owed int

	// Epoch, Version, Known and Settled are the Epoch, Version, Used and Owed of the answer that the instance goes by, or the
	// zero values if it has none for the window that begins at Start.
	Epoch   string
	Version int64
	Known   int
	Settled int
}

// Counted is the answer of a Store.
type Counted struct {
	// Granted says that the calls were counted, and may be made.
	Granted bool

	// RetryIn is how long it takes until the rate has room, if only the rate has refused, and else 0.
	RetryIn time.Duration

	// Windows has one element for each window of the Count, in their order.
	Windows []WindowCounted
}

// WindowCounted is a window as the Store keeps it after a Count.
type WindowCounted struct {
	// Start is that of the WindowCount, or its End.
	Start time.Time

	Epoch   string
	Version int64
	Used    int

	// Owed is that of the asking instance.
	Owed int
}

const maxNameSize = 64 // bytes of an epoch, or of the name of an instance

func validName(s string) bool { return s != "" && len(s) <= maxNameSize && utf8.ValidString(s) }

// check returns what makes an answer to the Count useless, or nil.
func (c *Count) check(answer Counted) error {
	if len(answer.Windows) != len(c.Windows) {
		return fmt.Errorf("the answer has %d windows instead of %d", len(answer.Windows), len(c.Windows))
	}
	for i, w := range c.Windows {
		switch a := answer.Windows[i]; {
		case !a.Start.Equal(w.Start) && !a.Start.Equal(w.End):
			return fmt.Errorf("the answer has a %s from %s instead of %s", w.Period, a.Start, w.Start)
		case !validName(a.Epoch) || a.Version < 1 || a.Used < 0 || a.Owed < 0:
			return fmt.Errorf("the answer has a %s that cannot be: %+v", w.Period, a)
		}
	}
	return nil
}
