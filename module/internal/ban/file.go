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

// maxFile bounds what is read: an entry of the longest kind takes less than 2 KiB.
const maxFile = maxEntries * 2048

// readFile returns what the file at path holds at the given time, and how many of its entries are unusable. No file is
// an empty one. An error that wraps errDamaged says that the file's contents are not a list of entries at all.
func readFile(path string, now time.Time) (s entries, unusable int, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return entries{}, 0, nil
	}
	if err != nil {
		return entries{}, 0, err
	}
	defer func() { _ = f.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return entries{}, 0, err
	}
	return decode(data, now)
}

var errDamaged = errors.New("not a list of bans and exemptions")

// decode reads a file's contents. One unusable entry does not cost the others.
func decode(data []byte, now time.Time) (s entries, unusable int, err error) {
	if len(data) > maxFile {
		return entries{}, 0, fmt.Errorf("%w: larger than %d bytes", errDamaged, maxFile)
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return entries{}, 0, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if raw == nil {
		return entries{}, 0, fmt.Errorf("%w: null", errDamaged)
	}
	var usable []Entry
	for _, r := range raw {
		var e Entry
		err := json.Unmarshal(r, &e)
		if err == nil {
			e, err = e.normalize()
		}
		switch {
		case err != nil || len(usable) == maxEntries:
			unusable++
		case !e.ended(now):
			usable = append(usable, e)
		}
	}
	return entriesOf(usable), unusable, nil
}

// encode writes one entry a line, for people and for grep.
func encode(s entries) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	b.WriteString("[\n")
	first := true
	for _, list := range s {
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
