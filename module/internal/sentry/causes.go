package sentry

import (
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// causeInterval is the shortest time between two reports of a cause.
	causeInterval = 10 * time.Minute

	// retryInterval is the same after a lost report.
	retryInterval = time.Minute

	// maxCauses bounds how many causes are remembered. One more replaces the cause that may be reported soonest.
	maxCauses = 256

	// All causes together are reported by this token bucket: in a minute, at most the sum of both.
	perMinute = 20
	burst     = 10
)

// causes limits how often each cause is reported, and all together.
type causes struct {
	mu    sync.Mutex
	total *rate.Limiter
	known map[string]*cause
}

type cause struct {
	free    time.Time // when it may be reported again
	leftOut int       // entries since then
}

func newCauses() *causes {
	return &causes{total: rate.NewLimiter(rate.Limit(perMinute)/60, burst), known: make(map[string]*cause)}
}

// admit reports whether a cause may be reported now. If so, it returns how many entries were left out since
// the last report.
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

// restore undoes admit for a lost report: it adds leftOut again, and allows the next report soon.
func (c *causes) restore(name string, leftOut int, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.known[name]; k != nil {
		k.leftOut += leftOut + 1
		if soon := now.Add(retryInterval); soon.Before(k.free) {
			k.free = soon
		}
	}
}

// makeRoom keeps the map bounded. It runs only for a new cause that is reported, which the total rate limits.
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

// naming are the attributes that are part of a cause. Entries that differ in others have the same cure.
var naming = []string{"provider", "feed", "work", "while", "secret", "store", "map", "event"}

// fingerprint returns what entries of one cause have in common, whatever their error, address or time.
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

// causeName returns the fingerprint as a key. No name has a zero byte.
func causeName(print []string) string { return strings.Join(print, "\x00") }

// maxName is how many bytes of a text count for its cause.
const maxName = 200

// constant replaces the words of a text that may change each time: those with a digit, such as addresses,
// ports, times and identifiers. Our own messages are constant; those of Caddy are often errors.
func constant(text string) string {
	words := strings.Fields(cut(text, maxName))
	for i, word := range words {
		if strings.ContainsAny(word, "0123456789") || strings.HasPrefix(word, "{id=") { // which Caddy invents for each error
			words[i] = "#"
		}
	}
	return strings.Join(words, " ")
}
