package ledger

import "time"

// account holds the counts of one name, by period.
type account [NumPeriods]counter

// counter counts the calls in the window that begins at start.
type counter struct {
	start time.Time

	// used is the number of calls of all instances, from the Store's last answer. While there is no
	// answer, epoch is empty, and used is the number of calls that this process has counted.
	used int

	// owed is the number of calls in the window that were made without the Store. settled is how
	// many of them are included in used.
	owed, settled int

	// epoch and version are those of the Store's answer.
	epoch   string
	version int64
}

// at returns the counter of the window that t falls in: c itself, or a new one.
//
// When the clock has stepped back over the edge of a window, c goes on counting: a new counter
// would grant the quota twice. A counter further ahead comes from a wrong clock, and would stop
// calls until that time.
func (c counter) at(p Period, t time.Time) counter {
	if start := p.Start(t); !c.start.Equal(start) && !c.start.Equal(p.End(t)) {
		return counter{start: start}
	}
	return c
}

// unsettled returns the number of calls that the Store has not counted.
func (c counter) unsettled() int { return c.owed - c.settled }

// total is the number of calls in the window, as far as this instance knows.
func (c counter) total() int { return c.used + c.unsettled() }

// empty reports whether the counter has counted nothing.
func (c counter) empty() bool { return c.used == 0 && c.owed == 0 }

// plus returns the counter after n calls that were made without the Store. A negative n refunds
// calls.
func (c counter) plus(n int) counter {
	switch {
	case n < 0:
		unsettled := min(-n, c.unsettled())
		c.owed -= unsettled
		c.used = max(c.used+n+unsettled, 0)
	case c.epoch == "":
		c.used += n
	default: // used is the Store's count
		return c.owe(n)
	}
	return c
}

// owe returns the counter after n calls that the Store has yet to count.
func (c counter) owe(n int) counter {
	c.owed = min(c.owed+n, MaxLimit) // the highest limit, and the most that the file may hold
	return c
}

// withAllOwed returns the counter for a request to the Store. Calls that were counted before the
// Store's first answer are owed.
func (c counter) withAllOwed() counter {
	if c.epoch == "" {
		c = c.owe(c.used)
		c.used = 0
	}
	return c
}

// apply returns the counter after the Store's answer to a request about w, the window of the
// counter at the request.
//
// Answers can overtake each other. Within an epoch, the version orders them. Two epochs cannot be
// ordered, but the wrong one does no harm: the next request brings its count to the Store, which
// answers with the right epoch.
func (c counter) apply(p Period, w WindowCount, answer WindowCounted) counter {
	moved, ahead := !c.start.Equal(w.Start), !answer.Start.Equal(w.Start)
	switch {
	case moved && !c.start.Equal(answer.Start):
		return c // the answer is about a window that is over
	case ahead && !moved:
		c = counter{start: p.End(w.Start)} // another instance's clock has begun the next window
	case c.epoch == answer.Epoch && c.version > answer.Version:
		return c
	}
	c = c.withAllOwed() // before the first answer, used is this process's own count
	c.epoch, c.version = answer.Epoch, answer.Version
	c.used, c.settled = min(answer.Used, MaxLimit), min(answer.Owed, MaxLimit)
	// After a crash, or when a call is refunded during a request, the Store has settled more than
	// is owed here. Raise owed to that: calls that are owed later would otherwise count as settled.
	c.owed = max(c.owed, c.settled)
	return c
}

// at returns the account with the counters of the window that t falls in, for the periods of the
// windows.
func (a account) at(windows []Window, t time.Time) account {
	for _, w := range windows {
		a[w.Period] = a[w.Period].at(w.Period, t)
	}
	return a
}

// usage returns the state of each window. The account is one that at has returned.
func (a account) usage(windows []Window) []Usage {
	usage := make([]Usage, len(windows))
	for i, w := range windows {
		c := a[w.Period]
		usage[i] = Usage{Used: c.total(), Reset: w.Period.End(c.start)}
	}
	return usage
}

// hasRoom reports whether n more calls stay within what is available of each window at a time. The
// account is one that at has returned.
func (a account) hasRoom(l Limits, n int, now time.Time) bool {
	for _, w := range l.Windows {
		if c := a[w.Period]; c.total()+n > l.Released(w, c.start, now) {
			return false
		}
	}
	return true
}

// empty reports whether no counter of the account has counted anything.
func (a account) empty() bool {
	for _, c := range a {
		if !c.empty() {
			return false
		}
	}
	return true
}

// lowest returns the limit of each period, the lowest if it has several, and 0 for the periods
// without one.
func lowest(windows []Window) (limit [NumPeriods]int) {
	for _, w := range windows {
		if limit[w.Period] == 0 || w.Limit < limit[w.Period] {
			limit[w.Period] = w.Limit
		}
	}
	return limit
}
