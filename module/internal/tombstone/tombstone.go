// Package tombstone records for a day which subjects operators deleted. Older data about them then
// cannot come back from an instance, or from Redis, that missed the deletion. Package replica
// spreads the tombstones to all instances; a file keeps them over a restart.
package tombstone

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
)

const (
	// lifetime is how long an instance can be down and still learn of a deletion.
	lifetime = 24 * time.Hour

	// maxTombstones is the maximum number of tombstones. The newest are kept.
	maxTombstones = 10_000

	// maxLine is the maximum size of one tombstone in JSON.
	maxLine = 512
)

// Tombstone means that the data about a subject from before a time is deleted. It is an element of
// the file. Instances exchange it without Pending.
type Tombstone struct {
	Subject netip.Prefix `json:"subject"`

	// At is the time of the deletion, in whole seconds.
	At time.Time `json:"forgotten"`

	// Version orders the deletions of one subject, in Unix milliseconds.
	Version int64 `json:"version"`

	// Pending means that the subject is not yet deleted in Redis. Other instances receive the
	// tombstone only afterwards: otherwise they would load the deleted data from Redis again.
	Pending bool `json:"pending,omitempty"`
}

// ID implements replica.Value.
func (t Tombstone) ID() (name string, version int64) { return t.Subject.String(), t.Version }

// Newer implements replica.Value.
func (t Tombstone) Newer(than Tombstone) bool {
	if t.Version != than.Version {
		return t.Version > than.Version
	}
	return t.entry().Newer(than.entry())
}

// Join implements replica.Value. The newer tombstone replaces the older one.
func (t Tombstone) Join(with Tombstone) Tombstone {
	if with.Newer(t) {
		return with
	}
	return t
}

func (t Tombstone) expires() time.Time { return t.At.Add(lifetime).Truncate(time.Second) }

func (t Tombstone) expired(now time.Time) bool { return t.expires().Before(now) }

// ofFuture reports whether t was made by a clock that was ahead, so far that other instances do not
// take it.
func (t Tombstone) ofFuture(now time.Time) bool {
	latest := now.Add(replica.MaxAhead)
	return t.At.After(latest) || time.UnixMilli(t.Version).After(latest)
}

// madeNow returns t as if it were made now. More is forgotten then, never less.
func (t Tombstone) madeNow(now time.Time) Tombstone {
	t.At, t.Version = now.UTC().Truncate(time.Second), now.UnixMilli()
	return t
}

// entry returns t as a replica entry.
func (t Tombstone) entry() replica.Entry {
	t.Pending = false
	value, _ := json.Marshal(t) // a valid tombstone can be encoded
	return replica.Entry{Name: t.Subject.String(), Version: t.Version, Expires: t.expires(), Value: value}
}

// parseEntry parses an entry of another instance, which can have any content.
func parseEntry(e replica.Entry, now time.Time) (Tombstone, error) {
	if err := e.Check(now); err != nil {
		return Tombstone{}, err
	}
	t, err := parse(e.Value)
	if err != nil {
		return Tombstone{}, err
	}
	t.Pending = false
	if t.ofFuture(now) {
		return Tombstone{}, fmt.Errorf("it is of %s: compare the clocks of the instances", t.At.Format(time.RFC3339))
	}
	if t.Subject.String() != e.Name || t.Version != e.Version {
		return Tombstone{}, fmt.Errorf("it is version %d of %s, not %d", t.Version, t.Subject, e.Version)
	}
	return t, nil
}

// parse parses one tombstone.
func parse(text []byte) (Tombstone, error) {
	if len(text) > maxLine {
		return Tombstone{}, fmt.Errorf("it has %d bytes, %d at most can be a tombstone", len(text), maxLine)
	}
	var t Tombstone
	if err := json.Unmarshal(text, &t); err != nil {
		return Tombstone{}, err
	}
	t.At = t.At.UTC()
	switch {
	case !t.Subject.IsValid():
		return Tombstone{}, errors.New("the subject is missing")
	case t.At.Year() < 1970 || t.At.After(replica.LastTime):
		return Tombstone{}, fmt.Errorf("it is of %s, which is no time of a clock", t.At.Format(time.RFC3339))
	}
	return t, replica.CheckVersion(t.Version)
}
