// Package event turns reports of other packages into events, and puts them into a bounded queue. It
// emits each event once, even across reloads.
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
	BanBurst     = "ip_reputation_ban_burst"
	RedisAway    = "ip_reputation_redis_away"
	RedisBack    = "ip_reputation_redis_back"
)

// Names are the names of all events.
var Names = []string{
	ProviderDown, ProviderUp, Throttled, QuotaSpent, KeyRefused, KeyExpiring,
	FeedStale, FeedFresh, BlockBurst, BanBurst, RedisAway, RedisBack,
}

// Event is one event. Its data are strings and whole numbers; times are RFC 3339 strings in UTC.
type Event struct {
	Name string
	Data map[string]any
}

// Emitter receives reports and emits events. It is safe for concurrent use and never blocks, so it
// may be called with locks held.
type Emitter struct {
	// History is how long blocks must have been observed before a burst is emitted. Without it,
	// usual traffic after a restart would look like a rise. Default: 5m.
	History time.Duration

	queue   chan Event
	dropped atomic.Uint64

	mu        sync.Mutex
	providers map[string]*provider
	feeds     map[string]*feed
	redisAway time.Time // when RedisAway was emitted; zero after RedisBack
	blocks    blocks
}

// New returns an Emitter with a queue of the given size.
func New(room int) *Emitter {
	e := &Emitter{History: 5 * time.Minute, queue: make(chan Event, room)}
	e.Reset()
	return e
}

// Events returns the queue.
func (e *Emitter) Events() <-chan Event { return e.queue }

// Dropped returns how many events were dropped because the queue was full.
func (e *Emitter) Dropped() uint64 { return e.dropped.Load() }

// Reset clears the state and the queue, so that a restarted server emits all events again.
func (e *Emitter) Reset() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.providers = make(map[string]*provider)
	e.feeds = make(map[string]*feed)
	e.redisAway = time.Time{}
	e.blocks = blocks{}
	for {
		select {
		case <-e.queue:
		default:
			return
		}
	}
}

// Retain removes the state of providers and feeds that are not named, and of Redis unless redis is
// true, because no configuration uses them any more.
func (e *Emitter) Retain(providers, feeds []string, redis bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	retain(e.providers, providers)
	retain(e.feeds, feeds)
	if !redis {
		e.redisAway = time.Time{}
	}
}

func retain[T any](all map[string]T, names []string) {
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

// emit puts an event into the queue. The caller holds the lock.
func (e *Emitter) emit(name string, data map[string]any) {
	select {
	case e.queue <- Event{name, data}:
	default:
		e.dropped.Add(1)
	}
}

// Clock formats a time for the data of an event; "" for the zero time.
func Clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// seconds returns the whole seconds since a time.
func seconds(since time.Time) int { return int(time.Since(since).Round(time.Second) / time.Second) }
