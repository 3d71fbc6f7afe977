// Package tombstone remembers for a day which subjects operators deleted, so that what was learnt of one before does
// not come back from an instance, or from a shared memory, that missed the deletion. Instances agree on them as
// package replica describes; a file lets them outlive a restart.
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
	// lifetime is how long an instance can be away and still learn of a deletion.
	lifetime = 24 * time.Hour

	// maxTombstones bounds memory and the file: of more, the newest are remembered.
	maxTombstones = 10_000

	// maxLine bounds the JSON of one tombstone.
	maxLine = 512
)

// Tombstone says that what was learnt of a subject until a time is deleted. It is an element of the file and, but for
// Pending, what instances exchange.
type Tombstone struct {
	Subject netip.Prefix `json:"subject"`

	// At is the time of the deletion, in whole seconds.
	At time.Time `json:"forgotten"`

	// Version orders the deletions of one subject, in Unix milliseconds.
	Version int64 `json:"version"`

	// Pending says that the shared memory has not deleted the subject yet. The other instances learn of it afterwards, or
	// they would load from there what is to be deleted.
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

// Join implements replica.Value. Nothing has to be remembered of the older one.
func (t Tombstone) Join(with Tombstone) Tombstone {
	if with.Newer(t) {
		return with
	}
	return t
}

func (t Tombstone) expires() time.Time { return t.At.Add(lifetime).Truncate(time.Second) }

func (t Tombstone) expired(now time.Time) bool { return t.expires().Before(now) }

// entry returns t as instances exchange it.
func (t Tombstone) entry() replica.Entry {
	t.Pending = false
	value, _ := json.Marshal(t) // what was checked can be encoded
	return replica.Entry{Name: t.Subject.String(), Version: t.Version, Expires: t.expires(), Value: value}
}

// parseEntry reads an entry of another instance. It is foreign: it can be anything.
func parseEntry(e replica.Entry, now time.Time) (Tombstone, error) {
	if err := e.Check(now); err != nil {
		return Tombstone{}, err
	}
	t, err := parse(e.Value, now)
	if err != nil {
		return Tombstone{}, err
	}
	t.Pending = false
	if t.Subject.String() != e.Name || t.Version != e.Version {
		return Tombstone{}, fmt.Errorf("it is version %d of %s, not %d", t.Version, t.Subject, e.Version)
	}
	return t, nil
}

// parse reads one tombstone.
func parse(text []byte, now time.Time) (Tombstone, error) {
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
	case t.At.Year() < 1970 || t.At.After(now.Add(replica.MaxAhead)):
		return Tombstone{}, fmt.Errorf("it is of %s: compare the clocks of the instances", t.At.Format(time.RFC3339))
	}
	return t, replica.CheckVersion(t.Version)
}
