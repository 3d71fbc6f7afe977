package ledger

import (
	"context"
	"fmt"
	"time"
	"unicode/utf8"
)

// Store counts calls for all instances. An implementation is a server that executes a Count in one
// script: completely or not at all, in one round trip. It is safe for concurrent use, and bounds
// its own time well below that of a call.
//
// An error means that the store is away, and that the calls may or may not have been counted. A
// Store may retry a Count that refunds nothing (N ≥ 0): counting a call twice only loses one call,
// but refunding it twice would exceed the quota.
//
// For each account and period, it stores one window, which consists of
//
//	Start    when it begins
//	Epoch    a text that no window of this account and period has had before: 1 to 64 bytes of ASCII
//	Version  a number that grows with every change; at least 1
//	Base     the count that the instances knew when the epoch began, as far as they have sent a Count since
//	Since    the calls counted in this epoch, minus the refunded ones
//	Owed     by instance: how much of WindowCount.Owed is in Since or Base; 0 without a Count in this epoch
//
// and Used is Base + Since. A Count does, for each of its windows:
//
//  1. Find it. The stored window continues if it begins at Start. It also continues if it begins at
//     End: the clock of this instance is then behind, its Count is about a window that is over, and
//     steps 2 and 3 are skipped. Otherwise, or if none is stored, a new window begins at Start,
//     with a new Epoch and everything else zero. But a refund (N < 0) never replaces a window: the
//     stored one stays, and the answer repeats Start, Epoch, Version, Known and Settled of the
//     Count.
//  2. Repair it, if the Epochs differ: Base = max(Base, Known), and Owed of Instance = max(itself,
//     Settled). If the Epochs are equal but Version is above the stored one, a replica that lagged
//     behind has taken over. The window then first takes a new Epoch, Base = Used, Since = 0, and
//     Owed of all instances 0.
//  3. Settle the calls made without the store, regardless of the limit: if Owed is above Owed of
//     Instance, the difference is added to Since, and Owed of Instance = Owed. If it is below,
//     nothing happens: Counts can overtake each other.
//
// And then for all of them:
//
//  4. With N > 0, the Count is granted if Used + N ≤ Limit in every window, and the rate has room
//     for N. Then N is added to Since of every window, and the rate takes N. Otherwise nothing is
//     added. With N ≤ 0 it is granted regardless of Limit and rate. With N < 0, the windows that
//     begin at Start refund: Since = max(Since + N, −Base).
//  5. Version grows in every window that is new or was changed by this Count. It may grow in the
//     others.
//
// The rate is that of one account. It is measured by the store's own clock, since those of the
// instances differ: N calls have room if max(due, now) + (N − Burst)·Interval ≤ now, and then due =
// max(due, now) + N·Interval (GCRA; due is stored).
//
// A window is stored for at least twice its length after the last Count that named it, whether or
// not the store's clock has reached its Start. One that is lost sooner is repaired; one that is
// stored for longer does no harm.
type Store interface {
	Count(ctx context.Context, c Count) (Counted, error)
}

// Count is the request of an instance to a Store.
type Count struct {
	// Account is the account that has the quota.
	Account string

	// Instance is the name of the asking instance, the same over restarts: 1 to 64 bytes of ASCII.
	Instance string

	// N is the number of calls. With 0, a Count only reads, repairs and settles; a negative N
	// refunds calls.
	N int

	// Interval is the time between two calls at an even pace, and Burst how many calls may be made
	// at once. An Interval of 0 means no limit.
	Interval time.Duration
	Burst    int

	// Windows are the windows of the quota, each period at most once. There may be none.
	Windows []WindowCount
}

// WindowCount is one window of a Count, with the counts that the instance knows.
type WindowCount struct {
	// Period is its word, such as "day".
	Period string

	// Start and End are when this window and the next one begin, in UTC and whole seconds.
	Start, End time.Time

	// Limit is the number of calls that may have been made in the window by now, 1 to MaxLimit.
	Limit int

	// Owed is the number of calls that the instance has made in this window without the store,
	// settled ones included.
	Owed int

	// Epoch, Version, Known and Settled are the Epoch, Version, Used and Owed of the last answer
	// that the instance has applied. They are zero if there is none for the window that begins at
	// Start.
	Epoch   string
	Version int64
	Known   int
	Settled int
}

// Counted is the answer of a Store.
type Counted struct {
	// Granted means that the calls were counted and may be made.
	Granted bool

	// RetryIn is the time until the rate has room, if only the rate has refused. Otherwise it is 0.
	RetryIn time.Duration

	// Windows has one element for each window of the Count, in their order.
	Windows []WindowCounted
}

// WindowCounted is a window in the Store after a Count.
type WindowCounted struct {
	// Start is that of the WindowCount, or its End.
	Start time.Time

	Epoch   string
	Version int64
	Used    int

	// Owed is that of the requesting instance.
	Owed int
}

const maxNameSize = 64 // bytes of an epoch, or of the name of an instance

func validName(s string) bool { return s != "" && len(s) <= maxNameSize && utf8.ValidString(s) }

// check returns an error if an answer to the Count is not valid.
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
