package ban

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

const (
	// maxLine bounds the JSON of one entry.
	maxLine = 2048

	// maxFile bounds what is read: as many entries as there can be, and as many removals.
	maxFile = 2 * maxEntries * maxLine
)

// readFile returns what the file at path holds at the given time, and how many of its entries are unusable. No file is
// an empty one. An error that wraps errDamaged says that the file's contents are not a list of entries at all.
func readFile(path string, now time.Time) (all state, unusable int, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, 0, nil
	}
	if err != nil {
		return state{}, 0, err
	}
	defer func() { _ = f.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return state{}, 0, err
	}
	return decode(data, now)
}

var errDamaged = errors.New("not a list of bans and exemptions")

// decode reads a file's contents. One unusable entry does not cost the others.
func decode(data []byte, now time.Time) (all state, unusable int, err error) {
	if len(data) > maxFile {
		return state{}, 0, fmt.Errorf("%w: larger than %d bytes", errDamaged, maxFile)
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return state{}, 0, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if raw == nil {
		return state{}, 0, fmt.Errorf("%w: null", errDamaged)
	}
	var usable []stored
	live := 0
	for _, r := range raw {
		e, err := parse(r)
		switch {
		case err != nil || live == maxEntries && !e.over(now):
			unusable++
		case !e.forgotten(now):
			usable = append(usable, e)
			if !e.over(now) {
				live++
			}
		}
	}
	lastOne := func(_, b stored) stored { return b } // a line that was added by hand
	return state{}.with(entriesOf(usable, lastOne), now), unusable, nil
}

// parse reads a line.
func parse(line []byte) (stored, error) {
	var e stored
	if err := json.Unmarshal(line, &e); err != nil {
		return stored{}, err
	}
	return e.normalize()
}

// encode writes one entry a line, for people and for grep: what is in force comes first.
func encode(all state) ([]byte, error) {
	var b bytes.Buffer
	enc := lineEncoder(&b)
	b.WriteString("[\n")
	first := true
	for _, list := range [][]stored{all.live[0], all.live[1], all.past[0], all.past[1]} {
		for _, e := range list {
			if !first {
				b.Truncate(b.Len() - 1) // the line's end, to come after the comma
				b.WriteString(",\n")
			}
			first = false
			if err := enc.Encode(e); err != nil {
				return nil, fmt.Errorf("encoding the %s of %s: %w", e.Kind, e.Prefix, err)
			}
		}
	}
	b.WriteString("]\n")
	return b.Bytes(), nil
}
