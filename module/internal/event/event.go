// Package event tells what happens to the parts of the engine, each thing once: it remembers what was said, over reloads
// too, and keeps what nobody has taken yet in a bounded queue.
package event

import (
	"sync"
	"sync/atomic"
	"time"
)

// The names of the events. They are public, as are the members of their data.
const (
	ProviderDown = "ip_reputation_provider_down"
	ProviderUp   = "ip_reputation_provider_up"
	Throttled    = "ip_reputation_throttled"
	QuotaSpent   = "ip_reputation_quota_spent"
	KeyRefused   = "ip_reputation_key_refused"
	KeyExpiring  = "ip_reputation_key_expiring"
	FeedStale    = "ip_reputation_feed_stale"
	FeedFresh    = "ip_reputation_feed_fresh"
	BlockBurst   = "ip_reputation_block_burst"
	RedisAway    = "ip_reputation_redis_away"
	RedisBack    = "ip_reputation_redis_back"
)

// Names are those of all events.
var Names = []string{
	ProviderDown, ProviderUp, Throttled, QuotaSpent, KeyRefused, KeyExpiring, FeedStale, FeedFresh, BlockBurst, RedisAway, RedisBack,
}

// Event is one thing that happened. The values of its data are strings and whole numbers; times are strings of RFC 3339 in
// UTC.
type Event struct {
	Name string
	Data map[string]any
}

// Desk is where the parts of the engine report. It is safe for concurrent use and never waits, so that it may be called with
// locks held. What it remembers has the order of what it says.
type Desk struct {
	// History is how much there must be of it before a burst is told: what is usual would look like a rise after a restart.
	// Default: 5m.
	History time.Duration

	queue   chan Event
	dropped atomic.Uint64

	mu        sync.Mutex
	providers map[string]*provider
	feeds     map[string]*feed
	redisAway time.Time // since when; zero while nobody was told that it is
	blocks    blocks
}

// New returns a Desk whose queue has room for so many events.
func New(room int) *Desk {
	d := &Desk{History: 5 * time.Minute, queue: make(chan Event, room)}
	d.Reset()
	return d
}

// Events is the queue.
func (d *Desk) Events() <-chan Event { return d.queue }

// Dropped returns how many events found the queue full, since the process began.
func (d *Desk) Dropped() uint64 { return d.dropped.Load() }

// Reset forgets everything, and what is in the queue: what was said to a server that has ended is said to the next one anew.
func (d *Desk) Reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.providers = make(map[string]*provider)
	d.feeds = make(map[string]*feed)
	d.redisAway = time.Time{}
	d.blocks = blocks{}
	for {
		select {
		case <-d.queue:
		default:
			return
		}
	}
}

// Keep forgets the providers and feeds that are not named, and Redis where there is none: they are in no configuration any
// more.
func (d *Desk) Keep(providers, feeds []string, redis bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	keep(d.providers, providers)
	keep(d.feeds, feeds)
	if !redis {
		d.redisAway = time.Time{}
	}
}

func keep[T any](all map[string]T, names []string) {
	kept := make(map[string]bool, len(names))
	for _, name := range names {
		kept[name] = true
	}
	for name := range all {
		if !kept[name] {
			delete(all, name)
		}
	}
}

// say puts an event into the queue. It is called with the lock held.
func (d *Desk) say(name string, data map[string]any) {
	select {
	case d.queue <- Event{name, data}:
	default:
		d.dropped.Add(1)
	}
}

// Clock writes a time as the data of events has it, and nothing for the zero time.
func Clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// seconds returns how long it is since a time, in whole seconds.
func seconds(since time.Time) int { return int(time.Since(since).Round(time.Second) / time.Second) }
