// Package replica is a last-writer-wins map that instances replicate by exchanging entries. Of two
// entries with the same name, every instance ends up with the later one, in whatever order and
// however often they arrive.
//
// Merge and Map implement the rules. Each package stores values in its own form: ban sorts them for
// an index, tombstone uses a Map. Peer is the interface between an instance and a transport such as
// Redis.
package replica

import (
	"bytes"
	"cmp"
	"fmt"
	"time"
)

// Limits of entries from other instances.
const (
	// MaxAhead is how far ahead of this instance's clock a version may be: one wrong clock must not
	// win for ever.
	MaxAhead = 24 * time.Hour

	// MaxName and MaxValue are the maximum sizes of an entry's parts, in bytes.
	MaxName  = 256
	MaxValue = 4096

	// MaxEntries is the maximum size of one map: all the bans and removals of a store, and some
	// more.
	MaxEntries = 1 << 18
)

// LastTime is the latest time in an entry: RFC 3339 has no later year.
var LastTime = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// Entry is one entry of the map, in the form that instances exchange.
type Entry struct {
	// Name identifies the entry in its map.
	Name string

	// Version orders the entries of one name. It is the time of the change in Unix milliseconds, or
	// later if the clock was behind that of an earlier change: see NextVersion.
	Version int64

	// Expires is when the entry can be dropped; zero means never. Comparisons ignore it.
	Expires time.Time

	// Value is compact JSON.
	Value []byte
}

// Newer reports whether e replaces an entry of the same name: it has a larger version or, at equal
// versions, a larger value in byte order. All instances thus choose the same entry.
func (e Entry) Newer(than Entry) bool {
	return cmp.Or(cmp.Compare(e.Version, than.Version), bytes.Compare(e.Value, than.Value)) > 0
}

// Check returns why an entry is invalid, or nil. It does not check the value.
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

// CheckVersion returns why a version is invalid, or nil.
func CheckVersion(version int64) error {
	if version < 0 || version > LastTime.UnixMilli() {
		return fmt.Errorf("the version %d is not a time before the year 10000 in milliseconds", version)
	}
	return nil
}

// NextVersion returns the version of a change at now. It is larger than known, the version before,
// even if the clock is behind.
func NextVersion(now time.Time, known int64) int64 { return max(now.UnixMilli(), known+1) }

// Peer is one instance's copy of a map. It is safe for concurrent use.
type Peer interface {
	// Entries returns the entries that other instances may receive, in any order.
	Entries() []Entry

	// Merge stores the entries that are newer than the known ones, and reports whether some of the
	// known ones are newer. Entries arrive in any order, repeatedly and late. Merge checks each.
	Merge(entries []Entry) (better bool)

	// Changed returns a channel that is closed at the next change that does not come from Merge. To
	// miss no change, take the channel before calling Entries, and a new one after each change.
	Changed() <-chan struct{}
}
