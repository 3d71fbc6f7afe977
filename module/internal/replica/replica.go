// Package replica is a last-writer-wins map that instances agree on by exchanging their entries: of two entries of one
// name the later one holds everywhere, in whatever order, how often and by which way they arrive.
//
// Merge and Map hold the rules. Values keep the form that suits their package: ban has them sorted for an index,
// tombstone in a Map. A Peer is what a carrier such as Redis needs of an instance.
package replica

import (
	"bytes"
	"cmp"
	"fmt"
	"time"
)

// Bounds of what an instance takes from others.
const (
	// MaxAhead is how far ahead of this instance's clock a version can be: one broken clock must not win for ever.
	MaxAhead = 24 * time.Hour

	// MaxName and MaxValue bound an entry, in bytes.
	MaxName  = 256
	MaxValue = 4096

	// MaxEntries bounds one map: as many bans and removals as a store keeps, and some more.
	MaxEntries = 1 << 18
)

// LastTime is the latest time that an entry can hold: JSON has no later year.
var LastTime = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// Entry is one entry of the map, as instances exchange it.
type Entry struct {
	// Name identifies the entry in its map.
	Name string

	// Version orders the entries of one name. It is the time of the change in Unix milliseconds, or more if the clock
	// was behind the one of an earlier change: see NextVersion.
	Version int64

	// Expires is when the entry can be dropped. The zero time means never. It does not count in comparisons.
	Expires time.Time

	// Value is JSON without white space between its parts.
	Value []byte
}

// Newer reports whether the entry takes the place of another one of its name: by its version, and of equal versions by
// its value, compared by byte, so that all instances keep the same one.
func (e Entry) Newer(than Entry) bool {
	return cmp.Or(cmp.Compare(e.Version, than.Version), bytes.Compare(e.Value, than.Value)) > 0
}

// Check returns why nobody may take the entry over, or nil. It does not look into the value.
func (e Entry) Check(now time.Time) error {
	if len(e.Name) > MaxName {
		return fmt.Errorf("its name has %d bytes, %d at most can be one", len(e.Name), MaxName)
	}
	if len(e.Value) > MaxValue {
		return fmt.Errorf("it has %d bytes, %d at most can be an entry", len(e.Value), MaxValue)
	}
	if err := CheckVersion(e.Version); err != nil {
		return err
	}
	if ahead := time.UnixMilli(e.Version).Sub(now); ahead > MaxAhead {
		return fmt.Errorf("it is of %s from now: compare the clocks of the instances", ahead.Round(time.Minute))
	}
	return nil
}

// CheckVersion returns why a number cannot be a version, or nil.
func CheckVersion(version int64) error {
	if version < 0 || version > LastTime.UnixMilli() {
		return fmt.Errorf("the version %d is not a time before the year 10000 in milliseconds", version)
	}
	return nil
}

// NextVersion returns the version of a change to what has the version known, or 0. It is larger than that, even when
// the clock is behind the one by which known was made.
func NextVersion(now time.Time, known int64) int64 { return max(now.UnixMilli(), known+1) }

// Peer is one instance's side of a map. It is safe for concurrent use.
type Peer interface {
	// Entries returns all that the others may know, in no order that counts.
	Entries() []Entry

	// Merge takes over the entries that are newer than what the instance knows, and reports whether it knows newer ones
	// under some of the names. It is given entries in any order, again and late, and checks each itself.
	Merge(entries []Entry) (better bool)

	// Changed returns a channel that is closed at the next change that did not come from Merge. Who takes the channel
	// before Entries, and a new one after each change, misses none.
	Changed() <-chan struct{}
}
