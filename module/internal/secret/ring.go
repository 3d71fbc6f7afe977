package secret

// Ring holds secrets that can replace each other, in the order of the configuration: the keys of
// one account, of which the old and the new one overlap during a rotation. A Ring is immutable. It
// does not open, start or close its Refreshers.
//
// A Ring does not store which keys a service has refused: that outlives the configuration. It only
// gives the order in which to try them:
//
//	for key, secret := range ring.Each {
//		report, err := provider.Check(ctx, reputation.Query{Addr: addr, Key: key})
//		switch reputation.ResultOf(err) {
//		case reputation.ResultRefused:
//			secret.Refresh() // the store may have a new value
//		case reputation.ResultSkippedBreaker: // this key is set aside
//		default:
//			return report, err
//		}
//	}
type Ring struct {
	refreshers []*Refresher
}

// NewRing returns a Ring of secrets.
func NewRing(refreshers ...*Refresher) *Ring {
	return &Ring{refreshers: append([]*Refresher(nil), refreshers...)}
}

// stackValues is how many values Each compares without an allocation.
const stackValues = 8

// Each yields the current values with their Refreshers. It skips secrets without a value, and
// yields equal values once, with the first Refresher. It takes no lock and, up to eight values,
// allocates nothing. Use it in a range loop: `for key, secret := range ring.Each`.
func (r *Ring) Each(yield func(key string, secret *Refresher) bool) {
	var stack [stackValues]string
	seen := stack[:0]
next:
	for _, refresher := range r.refreshers {
		value, ok := refresher.Current()
		if !ok {
			continue
		}
		// Compare with the yielded values, since the current ones may have changed meanwhile.
		for _, s := range seen {
			if s == value {
				continue next
			}
		}
		seen = append(seen, value)
		if !yield(value, refresher) {
			return
		}
	}
}
