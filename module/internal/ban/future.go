package ban

import (
	"slices"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
)

// clockPatience is how long changes of the future stay as they are. Rather than the clock that made
// them, the present one may be wrong: after a start it may not be set yet.
const clockPatience = 10 * time.Minute

// correct makes changes of the future present ones, once the clock says for a while that they are of
// the future: until then other instances do not take them, and they would last too long.
func (s *Store) correct(all state, now time.Time) state {
	changes := all.ofFuture(now)
	switch {
	case changes.len() == 0:
		s.future = time.Time{}
		return all
	case s.future.IsZero() || now.Before(s.future):
		s.future = now
		return all
	case now.Sub(s.future) < clockPatience:
		return all
	}
	for _, list := range changes {
		for i := range list {
			list[i] = list[i].madeNow(now)
		}
	}
	s.log.Warn("bans and exemptions were made while the clock was ahead, and count from now on", "count", changes.len())
	all = all.with(changes, now)
	s.publish(all)
	s.changed.Notify()
	_ = s.save() // it logs its error, and is tried again
	return all
}

// ofFuture returns the changes that were made by a clock that was ahead.
func (s state) ofFuture(now time.Time) (changes entries) {
	for _, all := range []entries{s.live, s.tombstones} {
		for i, list := range all {
			for _, e := range list {
				if e.ofFuture(now) {
					changes[i] = append(changes[i], e)
				}
			}
		}
	}
	for _, list := range changes {
		slices.SortFunc(list, func(a, b stored) int { return a.Prefix.Compare(b.Prefix) })
	}
	return changes
}

// ofFuture reports whether e was made by a clock that was ahead, so far that other instances do not
// take it.
func (e stored) ofFuture(now time.Time) bool {
	return time.UnixMilli(e.Version).Sub(now) > replica.MaxAhead
}

// madeNow returns e as if it were made now. It lasts as long as it was meant to.
func (e stored) madeNow(now time.Time) stored {
	length := e.Expires.Sub(e.Created)
	kept := !e.Keep.IsZero()
	e.Created, e.Version, e.Keep = now.UTC().Truncate(time.Second), now.UnixMilli(), time.Time{}
	switch {
	case e.Removed:
		e.Expires = time.Time{}
		e.Expires = e.end()
	case !e.Expires.IsZero():
		e.Expires = roundUp(earliest(now.Add(length), replica.LastTime.Add(-time.Second)))
	}
	if longest := (stored{Version: e.Version}).end(); kept && longest.After(e.end()) {
		e.Keep = longest
	}
	return e
}
