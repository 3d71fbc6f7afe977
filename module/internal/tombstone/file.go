package tombstone

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/atomicfile"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/regularfile"
)

// maxFile is the maximum size of the file.
const maxFile = maxTombstones * maxLine

func (s *Store) load() {
	list, err := readFile(s.path, s.now())
	if err != nil {
		s.log.Warn("what was to be forgotten of late cannot be read",
			slog.String("file", s.path), slog.Any("error", err))
	}
	s.all.Merge(list)
}

// readFile returns the valid tombstones of a file; none if it does not exist.
func readFile(path string, now time.Time) ([]Tombstone, error) {
	data, err := regularfile.Read(path, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decode(data, now)
}

// decode parses the content of a file. It skips invalid tombstones.
func decode(data []byte, now time.Time) (list []Tombstone, err error) {
	var raw []json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, err
	}
	for _, r := range raw {
		t, parseErr := parse(r)
		switch {
		case parseErr != nil:
			err = fmt.Errorf("an entry is not usable: %w", parseErr)
		case !t.expired(now):
			list = append(list, t)
		}
	}
	return list, err
}

// save drops expired tombstones and writes the rest to the file. The caller holds s.mu. If writing
// fails, the tombstones are lost with the process.
func (s *Store) save() {
	now := s.now()
	s.all.Delete(func(t Tombstone) bool { return t.expired(now) })
	s.unsaved = s.detached
	if s.path == "" || s.detached {
		return
	}
	text, err := json.Marshal(s.all.All())
	if err == nil {
		err = atomicfile.WriteBytes(s.path, append(text, '\n'))
	}
	if err != nil {
		s.log.Warn("what is to be forgotten cannot be written", slog.Any("error", err))
	}
}
