package ban

import "time"

const (
	// burstMin is from how many networks in ten minutes on a burst can be.
	burstMin = 50

	// calm is for how long there must be no more of it.
	calm = 15 * time.Minute
)

// Burst finds out that clients of so many of the recent networks are to be banned that it must be a mistake, or one proxy
// for many visitors. The zero Burst is ready. It is not safe for concurrent use.
type Burst struct {
	since, last time.Time // zero while there is none
}

// Look judges of how many of the recent networks clients were to be banned, whether they were or not. Above share, a burst
// begins. It ends after a time of calm. Look reports whether there is one, and whether that is new.
func (b *Burst) Look(offenders, networks int, share float64, now time.Time) (burst, changed bool) {
	before := !b.since.IsZero()
	switch {
	case offenders >= burstMin && float64(offenders) > share*float64(networks):
		if b.last = now; !before {
			b.since = now
		}
	case before && now.Sub(b.last) >= calm:
		*b = Burst{}
	}
	return !b.since.IsZero(), before == b.since.IsZero()
}
