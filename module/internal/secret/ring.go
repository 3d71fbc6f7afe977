package secret

// Ring is the secrets that stand for each other, in the order that they were written: the keys of one account, of which
// the old and the new one overlap while they are rotated. A Ring does not change, and opens, starts and closes nothing.
//
// What a service refuses is remembered elsewhere, by key, since that outlives the configuration. Here is what there is to
// try, in the order in which to try it:
//
//	for key, secret := range ring.Each {
//		report, err := provider.Check(ctx, reputation.Query{Addr: addr, Key: key})
//		switch reputation.ResultOf(err) {
//		case reputation.ResultRefused:
//			secret.Refresh() // there may be a new value already
//		case reputation.ResultSkippedBreaker: // this key is set aside
//		default:
//			return report, err
//		}
//	}
type Ring struct {
	refreshers []*Refresher
}

// NewRing returns the Ring of some secrets.
func NewRing(refreshers ...*Refresher) *Ring {
	return &Ring{refreshers: append([]*Refresher(nil), refreshers...)}
}

// onStack is how many values are compared with each other without an allocation.
const onStack = 8

// Each yields the values that there are now, with the Refreshers that hold them. Secrets without a value are left out, and a
// value that several hold is yielded once, with the first of them. It takes no lock and, up to eight values, allocates
// nothing. Range over it: `for key, secret := range ring.Each`.
func (r *Ring) Each(yield func(key string, secret *Refresher) bool) {
	var stack [onStack]string
	seen := stack[:0]
next:
	for _, k := range r.refreshers {
		value, ok := k.Current()
		if !ok {
			continue
		}
		// The values that were yielded, not those that are there now: one of them may have changed meanwhile.
		for _, s := range seen {
			if s == value {
				continue next
			}
		}
		seen = append(seen, value)
		if !yield(value, k) {
			return
		}
	}
}
