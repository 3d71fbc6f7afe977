package ban

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/regularfile"
)

const (
	// maxLine is the maximum size of one entry in JSON.
	maxLine = 2048

	// maxFile is the maximum size of the file: the maximum number of entries and of tombstones.
	maxFile = 2 * maxEntries * maxLine
)

// readFile returns the content of the file at the given time, and the number of its invalid
// entries. A missing file is empty. The error wraps errDamaged if the file is not a list of entries
// at all.
func readFile(path string, now time.Time) (all state, unusable int, err error) {
	data, err := regularfile.Read(path, maxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return state{}, 0, nil
	case errors.Is(err, regularfile.ErrTooLarge):
		return state{}, 0, fmt.Errorf("%w: %w", errDamaged, err)
	case err != nil:
		return state{}, 0, err
	}
	return decode(data, now)
}

var errDamaged = errors.New("not a list of bans and exemptions")

// decode parses the content of a file. It skips invalid entries.
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
		case !e.obsolete(now):
			usable = append(usable, e)
			if !e.over(now) {
				live++
			}
		}
	}
	lastOne := func(_, b stored) stored { return b } // later lines may be added by hand
	return state{}.with(entriesOf(usable, lastOne), now), unusable, nil
}

// parse parses a line.
func parse(line []byte) (stored, error) {
	var e stored
	if err := json.Unmarshal(line, &e); err != nil {
		return stored{}, err
	}
	return e.normalize()
}

// encode writes one entry per line, for people and for grep: entries in force come first.
func encode(all state) ([]byte, error) {
	var b bytes.Buffer
	enc := lineEncoder(&b)
	b.WriteString("[\n")
	first := true
	for _, list := range [][]stored{all.live[0], all.live[1], all.tombstones[0], all.tombstones[1]} {
		for _, e := range list {
			if !first {
				b.Truncate(b.Len() - 1) // the line feed, to follow the comma
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
