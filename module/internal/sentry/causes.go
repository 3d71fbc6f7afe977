package sentry

import (
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// causeInterval is how long a cause that was reported is not reported again.
	causeInterval = 10 * time.Minute

	// retryInterval is the same for a report that got lost.
	retryInterval = time.Minute

	// maxCauses bounds how many causes are remembered. Of more, the one that may be reported soonest is forgotten.
	maxCauses = 256

	// In all, a minute has at most the sum of these reports.
	perMinute = 20
	burst     = 10
)

// causes hold back what was reported of late.
type causes struct {
	mu    sync.Mutex
	total *rate.Limiter
	known map[string]*cause
}

type cause struct {
	free    time.Time // when it may be reported again
	leftOut int       // since it was reported
}

func newCauses() *causes {
	return &causes{total: rate.NewLimiter(rate.Limit(perMinute)/60, burst), known: make(map[string]*cause)}
}

// admit reports whether a cause may be reported now, and then how many times it was left out before.
func (c *causes) admit(name string, now time.Time) (leftOut int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.known[name]
	if k != nil && now.Before(k.free) || !c.total.AllowN(now, 1) {
		if k != nil {
			k.leftOut++
		}
		return 0, false
	}
	if k == nil {
		c.makeRoom()
		k = new(cause)
		c.known[name] = k
	}
	leftOut = k.leftOut
	k.leftOut, k.free = 0, now.Add(causeInterval)
	return leftOut, true
}

// giveBack takes note that a report got lost that was admitted with leftOut.
func (c *causes) giveBack(name string, leftOut int, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.known[name]; k != nil {
		k.leftOut += leftOut + 1
		if soon := now.Add(retryInterval); soon.Before(k.free) {
			k.free = soon
		}
	}
}

// makeRoom keeps the map bounded. It runs for a new cause that is reported, so no more often than the total rate allows.
func (c *causes) makeRoom() {
	if len(c.known) < maxCauses {
		return
	}
	var oldest string
	var free time.Time
	for name, k := range c.known {
		if oldest == "" || k.free.Before(free) {
			oldest, free = name, k.free
		}
	}
	delete(c.known, oldest)
}

// naming are the attributes that name a cause. No other says what is to be done about it.
var naming = []string{"provider", "feed", "work", "while", "secret", "store", "board", "event"}

// fingerprint is what equal causes have in common, whatever the error, address or time.
func fingerprint(e Entry, fields []field, s stack) []string {
	print := []string{e.Logger, constant(e.Message)}
	for _, name := range naming {
		if value, ok := lookUp(fields, name); ok {
			print = append(print, name+" "+cut(value, maxName))
		}
	}
	if function := s.innermost(); function != "" {
		print = append(print, "in="+function)
	}
	return print
}

// causeName is the fingerprint as a key. A zero byte stands in no name.
func causeName(print []string) string { return strings.Join(print, "\x00") }

// maxName is how much of a text tells causes apart, in bytes.
const maxName = 200

// constant is what remains of a text without what may change from one time to the next: words with a digit in them, such as
// addresses, ports, times and identifiers. Our own messages are constant anyway; those of Caddy are often errors.
func constant(text string) string {
	words := strings.Fields(cut(text, maxName))
	for i, word := range words {
		if strings.ContainsAny(word, "0123456789") || strings.HasPrefix(word, "{id=") { // which Caddy makes up for each error
			words[i] = "#"
		}
	}
	return strings.Join(words, " ")
}
