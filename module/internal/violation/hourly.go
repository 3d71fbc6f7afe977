package violation

import (
	"sync"
	"time"
)

// hourly counts events of an hour by name. The zero value is ready, and it is safe for concurrent use.
// Names are words of the configuration.
type hourly struct {
	mu    sync.Mutex
	names map[string]*[60]minuteCount // by minute of the hour
}

type minuteCount struct {
	minute int64 // since 1970
	count  int
}

// add counts an event.
func (h *hourly) add(name string, at time.Time) {
	minute := at.Unix() / 60
	h.mu.Lock()
	defer h.mu.Unlock()
	minutes := h.names[name]
	if minutes == nil {
		if h.names == nil {
			h.names = make(map[string]*[60]minuteCount)
		}
		minutes = new([60]minuteCount)
		h.names[name] = minutes
	}
	m := &minutes[uint64(minute)%60] // a clock may be before 1970
	if m.minute != minute {
		*m = minuteCount{minute: minute}
	}
	m.count++
}

// counts returns how many events there were in the last hour, by name; names without any are left out.
func (h *hourly) counts(now time.Time) map[string]int {
	minute := now.Unix() / 60
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make(map[string]int)
	for name, minutes := range h.names {
		for _, m := range minutes {
			if m.minute > minute-60 && m.minute <= minute {
				all[name] += m.count
			}
		}
	}
	return all
}
