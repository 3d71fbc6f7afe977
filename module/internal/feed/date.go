package feed

import (
	"net/http"
	"time"
)

// Publishers date their lists: in the list itself, or by Last-Modified. By its date, a list that its publisher gave
// up differs from one that has not changed because nothing happened.

// earliestDate is before every list. Servers that know no date say 1970 or 1980.
var earliestDate = time.Date(1990, time.January, 1, 0, 0, 0, 0, time.UTC)

// dateAhead is by how much a date may be ahead, and then counts as now: many lists name a local time without its zone.
const dateAhead = 24 * time.Hour

// credible returns the date of a list that was read at the given time, or the zero time if it cannot be the date of a
// list. What lies in the future is not believed: it would make a list look new for ever.
func credible(date, read time.Time) time.Time {
	if date.Before(earliestDate) || date.After(read.Add(dateAhead)) {
		return time.Time{}
	}
	if date.After(read) {
		date = read
	}
	return date.UTC().Truncate(time.Second)
}

// date sets the date of the part: the one found in it, or else Last-Modified.
func (v *validators) date(found, read time.Time) {
	if v.Published = credible(found, read); !v.Published.IsZero() {
		return
	}
	if modified, err := http.ParseTime(v.LastModified); err == nil {
		v.Published = credible(modified, read)
	}
}

// believeDates sets the dates of parts that were written by another process, which may have none or another clock.
func (h *copyHeader) believeDates(now time.Time) {
	for i := range h.parts {
		h.parts[i].date(h.parts[i].Published, now)
	}
}

// published returns the newest date of the list's parts: a list is kept up if one of them is.
func (h *copyHeader) published() (newest time.Time) {
	for _, part := range h.parts {
		if part.Published.After(newest) {
			newest = part.Published
		}
	}
	return newest
}
