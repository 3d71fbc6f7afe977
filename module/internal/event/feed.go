package event

import "time"

// staleEvery is how often it is said that a feed is stale: once a day, but for a moment, since it is looked at now and then.
const staleEvery = 24*time.Hour - time.Minute

// Feed is how a list that is fetched is doing.
type Feed struct {
	Name string

	// LastSuccess is when its publisher last confirmed it; zero for never.
	LastSuccess time.Time

	// Patience is how long it may be without a success.
	Patience time.Duration

	// Why says what the last attempt failed of.
	Why string
}

// feed is what was said of one feed.
type feed struct {
	first time.Time // when it was first seen
	said  time.Time // when it was last said to be stale; zero while it is fresh
}

// LookAtFeeds says which of the feeds are stale, each once a day, and which are fresh again. It returns those of which it has
// said now that they are stale.
func (d *Desk) LookAtFeeds(feeds []Feed) (stale []Feed) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for _, f := range feeds {
		seen := d.feeds[f.Name]
		if seen == nil {
			seen = &feed{first: now}
			d.feeds[f.Name] = seen
		}
		since := f.LastSuccess
		if since.IsZero() {
			since = seen.first
		}
		switch isStale := now.Sub(since) >= f.Patience; {
		case isStale && (seen.said.IsZero() || now.Sub(seen.said) >= staleEvery):
			seen.said = now
			stale = append(stale, f)
			d.say(FeedStale, map[string]any{"feed": f.Name, "last_success": Clock(f.LastSuccess), "why": f.Why})
		case !isStale && !seen.said.IsZero():
			seen.said = time.Time{}
			d.say(FeedFresh, map[string]any{"feed": f.Name})
		}
	}
	return stale
}
