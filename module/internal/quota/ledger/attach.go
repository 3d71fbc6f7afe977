package ledger

import (
	"crypto/rand"
	"maps"
	"time"
)

// Detach leaves the file to another process, which is another instance for a Store. What it has
// counted so far counts here, too, so that both together spend less; what it owes a Store, it
// settles itself.
func (l *Local) Detach() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.detached {
		return
	}
	l.detached = true
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	for name, acc := range l.accounts {
		for p := range acc {
			acc[p].owed, acc[p].settled = 0, 0
		}
		l.accounts[name] = acc
	}
	l.before = maps.Clone(l.accounts)
	l.unsaved = false
	if l.instance != "" {
		l.instance = rand.Text()
	}
	if l.shared {
		l.oweOnlyOwn()
	}
}

// oweOnlyOwn takes what the other process has counted without a Store out of the counts of a
// detached ledger, before these are owed to one. It is called with mu held.
func (l *Local) oweOnlyOwn() {
	for name, before := range l.before {
		acc := l.accounts[name]
		for p := range acc {
			if acc[p].epoch == "" && acc[p].start.Equal(before[p].start) {
				acc[p].used = max(acc[p].used-before[p].used, 0)
			}
		}
		l.accounts[name] = acc
	}
	l.before = nil
}

// Attach makes the file the ledger's own, and saves to it from now on. Where this ledger has counted
// nothing since Detach, it goes on as the one that wrote the file, under its name. Otherwise it
// keeps its own name, and adds what the other one has counted.
func (l *Local) Attach() {
	theirs, err := readFile(l.path) // not under mu: requests look at the counts, and the disk may be slow
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.detached {
		return
	}
	l.detached = false
	switch {
	case err != nil: // there is none, or OpenLocal has logged why
	case !l.unsaved:
		l.accounts = current(theirs.accounts, time.Now())
		if theirs.instance != "" {
			l.instance = theirs.instance
		}
	default:
		l.add(current(theirs.accounts, time.Now()))
	}
	l.before = nil
	if l.unsaved {
		l.saveSoon()
	}
}

// add adds the counts of another ledger. It is called with mu held.
func (l *Local) add(accounts map[string]account) {
	for name, theirs := range accounts {
		ours, before := l.accounts[name], l.before[name]
		for p := range ours {
			known := 0 // of theirs, and in ours already
			if before[p].start.Equal(ours[p].start) {
				known = before[p].used
			}
			ours[p] = ours[p].add(theirs[p], known, l.shared)
		}
		l.accounts[name] = ours
	}
}

// add returns the counter with the calls of another one, of which c has so many in it. If shared, c
// owes the Store the calls that the other one owed.
func (c counter) add(other counter, known int, shared bool) counter {
	switch {
	case other.empty() || other.start.Before(c.start):
		return c
	case c.empty() || c.start.Before(other.start):
		c = counter{start: other.start}
		known = 0
	}
	switch {
	case !shared:
		return counter{start: c.start, used: min(max(c.total()-known, 0)+other.total(), MaxLimit)}
	case other.epoch == "":
		c = c.owe(other.total())
	case c.epoch == "":
		c = c.withAllOwed()
		c.used, c.epoch, c.version = other.used, other.epoch, other.version
		c = c.owe(other.unsettled())
	default:
		c = c.owe(other.unsettled())
	}
	return c
}
