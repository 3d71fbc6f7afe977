package event

import "time"

// staleEvery is how often FeedStale is emitted for a stale feed: once a day. It is a minute
// shorter, since feeds are not checked all the time.
const staleEvery = 24*time.Hour - time.Minute

// Feed is the state of a fetched list.
type Feed struct {
	Name string

	// LastSuccess is when the list was last fetched or confirmed unchanged; zero: never.
	LastSuccess time.Time

	// Patience is how long a feed may be without success before it is stale.
	Patience time.Duration

	// Why is the error of the last attempt.
	Why string
}

// feed records what was emitted for one feed.
type feed struct {
	first time.Time // when it was first seen
	stale time.Time // when FeedStale was last emitted; zero while the feed is fresh
}

// CheckFeeds emits FeedStale for stale feeds, once a day each, and FeedFresh for those that are
// fresh again. It returns the feeds for which it emitted FeedStale.
func (e *Emitter) CheckFeeds(feeds []Feed) (stale []Feed) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	for _, f := range feeds {
		seen := e.feeds[f.Name]
		if seen == nil {
			seen = &feed{first: now}
			e.feeds[f.Name] = seen
		}
		since := f.LastSuccess
		if since.IsZero() {
			since = seen.first
		}
		switch isStale := now.Sub(since) >= f.Patience; {
		case isStale && (seen.stale.IsZero() || now.Sub(seen.stale) >= staleEvery):
			seen.stale = now
			stale = append(stale, f)
			e.emit(FeedStale, map[string]any{"feed": f.Name, "last_success": Clock(f.LastSuccess), "why": f.Why})
		case !isStale && !seen.stale.IsZero():
			seen.stale = time.Time{}
			e.emit(FeedFresh, map[string]any{"feed": f.Name})
		}
	}
	return stale
}
