package quota

import "time"

// account holds the counts of one name, by period.
type account [numPeriods]counter

// counter counts the calls in the window that begins at start.
type counter struct {
	start time.Time

	// used is what the Store has last said of the calls of all instances. Without an answer, which is an empty epoch, it is
	// what this process has counted by itself.
	used int

	// owed is what was spent in the window without the Store, since it began, and told how much of that is within used.
	owed, settled int

	// epoch and version are those of the Store's answer.
	epoch   string
	version int64
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

// untold is what was spent without the Store, as far as it has not said that it knows.
func (c counter) unsettled() int { return c.owed - c.settled }

// total is the number of calls in the window, as far as this instance knows.
func (c counter) total() int { return c.used + c.unsettled() }

// empty reports whether nothing would be lost with the counter.
func (c counter) empty() bool { return c.used == 0 && c.owed == 0 }

// plus returns the counter after n calls that a Store was not asked for, or after −n of them were given back.
func (c counter) plus(n int) counter {
	switch {
	case n < 0:
		unsettled := min(-n, c.unsettled())
		c.owed -= unsettled
		c.used = max(c.used+n+unsettled, 0)
	case c.epoch == "":
		c.used += n
	default: // used is the Store's.
		return c.owe(n)
	}
	return c
}

// owe returns the counter after n calls that the Store is to be told of.
func (c counter) owe(n int) counter {
	c.owed = min(c.owed+n, MaxLimit) // More cannot be read back, and no limit is higher.
	return c
}

// owing returns the counter as a Store is to be asked with: what was counted before there was one, it does not know of.
func (c counter) withAllOwed() counter {
	if c.epoch == "" {
		c = c.owe(c.used)
		c.used = 0
	}
	return c
}

// heard returns the counter after the Store's answer to a question about w, which was asked when the counter's window was w.
//
// Answers can overtake each other. The version says which is the newer one within an epoch. Of two epochs nobody can say,
// but the wrong one does no harm: the next question brings what it says to the Store, which then answers with the right one.
func (c counter) apply(p Period, w WindowCount, answer WindowCounted) counter {
	moved, ahead := !c.start.Equal(w.Start), !answer.Start.Equal(w.Start)
	switch {
	case moved && !c.start.Equal(answer.Start):
		return c // The answer is about a window that is over.
	case ahead && !moved:
		c = counter{start: p.End(w.Start)} // Another instance's clock has begun the next window.
	case c.epoch == answer.Epoch && c.version > answer.Version:
		return c
	}
	c = c.withAllOwed() // Without an answer so far, used is of this process.
	c.epoch, c.version = answer.Epoch, answer.Version
	c.used, c.settled = min(answer.Used, MaxLimit), min(answer.Owed, MaxLimit)
	// After a crash, or when a call is given back while the Store is told of it, the Store knows of more than is remembered:
	// what will be owed must go beyond that, or it is taken for what was told already.
	c.owed = max(c.owed, c.settled)
	return c
}

// at returns the account with the counters of the window that t falls in, for the periods of the windows.
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

// hasRoom reports whether n more calls stay within the limit of each window. The account is one that at has returned.
func (a account) hasRoom(windows []Window, n int) bool {
	for _, w := range windows {
		if a[w.Period].total()+n > w.Limit {
			return false
		}
	}
	return true
}

// empty reports whether nothing would be lost with the account.
func (a account) empty() bool {
	for _, c := range a {
		if !c.empty() {
			return false
		}
	}
	return true
}

// limits returns the limit of each period, the lowest if it has several, and 0 for the periods without one.
func limits(windows []Window) (limit [numPeriods]int) {
	for _, w := range windows {
		if limit[w.Period] == 0 || w.Limit < limit[w.Period] {
			limit[w.Period] = w.Limit
		}
	}
	return limit
}
