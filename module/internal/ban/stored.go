package ban

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
)

const (
	// keepRemoval is how long the removal of an entry without an end is remembered: so long can an instance be off and
	// not bring the entry back.
	keepRemoval = 30 * 24 * time.Hour

	// grace is how long what could bring back an entry is remembered beyond the entry's end, since the clocks of
	// instances differ.
	grace = time.Hour
)

// stored is what the last change to a kind and prefix left: an entry, or the removal of one. It is a line of the file
// and, but for Keep, what instances exchange.
type stored struct {
	Entry

	// Version orders the changes to a kind and prefix: the later one has the larger version. It is the time of the
	// change in Unix milliseconds, or one more than the version of what was changed if that is larger.
	Version int64 `json:"version"`

	// Removed says that the entry was removed. It then ends when no instance can bring it back any more.
	Removed bool `json:"removed,omitempty"`

	// Keep is how long this is remembered when it is over, because it took the place of what would last longer: an
	// instance that missed the change still has that. The zero time means not at all. Each instance finds it out by
	// itself, of what it has seen.
	Keep time.Time `json:"keep,omitzero"`
}

// normalize returns e in the one form that is stored, or what is wrong with it.
func (e stored) normalize() (stored, error) {
	var err error
	if e.Entry, err = e.Entry.normalize(); err != nil {
		return stored{}, err
	}
	if e.Version == 0 { // written before there were versions
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

// end returns when e is over, or, for an entry without an end, until when its removal would be remembered at least.
func (e stored) end() time.Time {
	if e.Expires.IsZero() {
		return earliest(roundUp(time.UnixMilli(e.Version).Add(keepRemoval)), replica.LastTime)
	}
	return e.Expires
}

// over reports whether e is not in force.
func (e stored) over(now time.Time) bool { return e.Removed || e.ended(now) }

// forgotten reports whether e is over and cannot keep anything from coming back.
func (e stored) forgotten(now time.Time) bool {
	return e.over(now) && !latest(e.end(), e.Keep).After(now)
}

// removed returns the removal of e.
func (e stored) removed(version int64) stored {
	gone := stored{Entry: e.Entry, Version: version, Removed: true}
	if !gone.Expires.IsZero() {
		gone.Expires = earliest(gone.Expires.Add(grace), replica.LastTime)
	}
	gone.Expires = latest(gone.end(), e.Keep)
	return gone
}

// ID implements replica.Value.
func (e stored) ID() (name string, version int64) { return e.name(), e.Version }

// Newer implements replica.Value: it reports whether e comes after other, which is of the same kind and prefix. Of
// different ones with the same version all instances take the same.
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

// Join implements replica.Value: it returns the newer of two of the same kind and prefix, which is remembered until the
// other one cannot come back.
func (e stored) Join(other stored) stored {
	winner, loser := e, other
	if other.Newer(e) {
		winner, loser = other, e
	}
	winner.Keep = latest(e.Keep, other.Keep)
	switch end := winner.end(); {
	case loser.Removed:
		winner.Keep = latest(winner.Keep, loser.Expires)
	case loser.Expires.IsZero():
		// from the winner's version, so that joining them again changes nothing
		winner.Keep = latest(winner.Keep, stored{Version: winner.Version}.end())
	case loser.Expires.After(end):
		winner.Keep = latest(winner.Keep, earliest(loser.Expires.Add(grace), replica.LastTime))
	}
	if !winner.Keep.After(winner.end()) {
		winner.Keep = time.Time{}
	}
	return winner
}

// name returns what identifies e among all changes.
func (e stored) name() string { return e.Kind.String() + " " + e.Prefix.String() }

// value returns e as a line of JSON, as instances exchange it.
func (e stored) value() []byte {
	e.Keep = time.Time{}
	var b bytes.Buffer
	_ = lineEncoder(&b).Encode(e) // what is normalized can be encoded
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// lineEncoder returns an encoder of one line each that people can read.
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
