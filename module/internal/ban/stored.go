package ban

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
)

const (
	// tombstoneLife is how long the tombstone of an entry without an end is stored. An instance that
	// was down no longer than that cannot bring the entry back.
	tombstoneLife = 30 * 24 * time.Hour

	// grace is how much longer than its entry a tombstone is stored, since the clocks of instances
	// differ.
	grace = time.Hour
)

// stored is the last change to a kind and prefix: an entry or its removal. It is a line of the
// file. Instances exchange it without Keep.
type stored struct {
	Entry

	// Version orders the changes to a kind and prefix: the later one has the larger version. It is
	// the time of the change in Unix milliseconds or, if that is not larger, one more than the
	// version before.
	Version int64 `json:"version"`

	// Removed means that the entry was removed. Expires is then when the tombstone is dropped.
	Removed bool `json:"removed,omitempty"`

	// Keep is until when the entry stays as a tombstone after its end, because it replaced one that
	// would last longer and that an instance may still have. Zero means not at all. Each instance
	// computes it from the changes that it has seen.
	Keep time.Time `json:"keep,omitzero"`
}

// normalize returns e in its stored form, or an error.
func (e stored) normalize() (stored, error) {
	var err error
	if e.Entry, err = e.Entry.normalize(); err != nil {
		return stored{}, err
	}
	if e.Version == 0 { // written by a release without versions
		e.Version = max(0, e.Created.UnixMilli())
	}
	if err := replica.CheckVersion(e.Version); err != nil {
		return stored{}, err
	}
	if e.Removed {
		e.Expires = e.end()
	}
	e.Keep = earliest(roundUp(e.Keep), replica.LastTime)
	if !e.Keep.After(e.end()) {
		e.Keep = time.Time{}
	}
	return e, nil
}

// end returns when e ends or, if it has no end, when its tombstone could be dropped at the
// earliest.
func (e stored) end() time.Time {
	if e.Expires.IsZero() {
		return earliest(roundUp(time.UnixMilli(e.Version).Add(tombstoneLife)), replica.LastTime)
	}
	return e.Expires
}

// over reports whether e is not in force.
func (e stored) over(now time.Time) bool { return e.Removed || e.ended(now) }

// obsolete reports whether e is a tombstone that is no longer needed.
func (e stored) obsolete(now time.Time) bool {
	return e.over(now) && !latest(latest(e.end(), e.Keep), e.remembered()).After(now)
}

// tombstone returns the tombstone of e.
func (e stored) tombstone(version int64) stored {
	gone := stored{Entry: e.Entry, Version: version, Removed: true}
	if !gone.Expires.IsZero() {
		gone.Expires = earliest(gone.Expires.Add(grace), replica.LastTime)
	}
	gone.Expires = latest(gone.end(), e.Keep)
	return gone
}

// ID implements replica.Value.
func (e stored) ID() (name string, version int64) { return e.name(), e.Version }

// Newer implements replica.Value. Of different changes with the same version, all instances choose
// the same one.
func (e stored) Newer(other stored) bool {
	if e.Version != other.Version {
		return e.Version > other.Version
	}
	return !e.same(other) && bytes.Compare(e.value(), other.value()) > 0
}

// same reports whether the two are the same change.
func (e stored) same(other stored) bool {
	e.Keep, other.Keep = time.Time{}, time.Time{}
	return e == other
}

// Join implements replica.Value: it returns the newer of two changes to the same kind and prefix.
// Its Keep lasts until the other one cannot come back.
//
// An operator's ban stands against that of a rule which was made without knowledge of it. It becomes
// the newer one, the same on all instances.
func (e stored) Join(other stored) stored {
	winner, loser := e, other
	if other.Newer(e) {
		winner, loser = other, e
	}
	if loser.standsAgainst(winner) {
		version := min(winner.Version+1, replica.LastTime.UnixMilli())
		winner, loser = loser, winner
		winner.Version = version
	}
	winner.Keep = latest(e.Keep, other.Keep)
	switch end := winner.end(); {
	case loser.Removed:
		winner.Keep = latest(winner.Keep, loser.Expires)
	case loser.Expires.IsZero():
		// based on the winner's version, so that joining them again changes nothing
		winner.Keep = latest(winner.Keep, stored{Version: winner.Version}.end())
	case loser.Expires.After(end):
		winner.Keep = latest(winner.Keep, earliest(loser.Expires.Add(grace), replica.LastTime))
	}
	if !winner.Keep.After(winner.end()) {
		winner.Keep = time.Time{}
	}
	return winner
}

// standsAgainst reports whether e is an operator's and was in force when a rule made the other one. A
// copy of the other one without its cause, which an earlier release has made, is none of an operator.
func (e stored) standsAgainst(other stored) bool {
	isCopy := e.Version == other.Version && e.Created.Equal(other.Created) && e.Expires.Equal(other.Expires)
	return e.Kind == Ban && !isCopy && e.Cause.By == Operator && !e.Removed &&
		other.Cause.By != Operator && !other.Removed &&
		(e.Expires.IsZero() || e.Expires.After(other.Created))
}

// name returns the key of e among all changes.
func (e stored) name() string { return e.Kind.String() + " " + e.Prefix.String() }

// value returns e as a line of JSON, in the form that instances exchange.
func (e stored) value() []byte {
	e.Keep = time.Time{}
	var b bytes.Buffer
	_ = lineEncoder(&b).Encode(e) // a normalized entry can be encoded
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// lineEncoder returns an encoder that writes one readable line per value.
func lineEncoder(b *bytes.Buffer) *json.Encoder {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	return enc
}

// latest returns the later one of two times.
func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// earliest returns the earlier one of two times.
func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
