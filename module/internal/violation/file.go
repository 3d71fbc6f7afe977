package violation

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/blockfile"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// The file is, with integers in big-endian order:
//
//	magic     16 bytes, version included
//	seed      16 bytes, of the hashes of paths
//	subjects  in blocks, see blockfile: key (8) · good answers (8) · number of slots (1) · slots (32 each)
const (
	magic = "ip-rep violatns1"

	subjectHead = 17
	slotSize    = 8 * slotWords
	maxSubject  = subjectHead + MaxNames*slotSize
)

// encode writes all subjects.
func (s *Store) encode(w io.Writer) error {
	if _, err := w.Write(append([]byte(magic), s.seed[:]...)); err != nil {
		return err
	}
	blocks, entry := blockfile.NewWriter(w), make([]byte, 0, maxSubject)
	var err error
	s.table.each(func(key record.Key, subject *Subject, good uint64) {
		if err == nil {
			entry = appendSubject(entry[:0], key, subject, good)
			err = blocks.Write(entry)
		}
	})
	if err != nil {
		return err
	}
	return blocks.Close()
}

func appendSubject(b []byte, key record.Key, s *Subject, good uint64) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(key))
	b = binary.BigEndian.AppendUint64(b, good)
	at := len(b)
	b = append(b, 0)
	for i := range s.Slots {
		slot := &s.Slots[i]
		if slot.Last == 0 {
			break
		}
		x, y := slot.words()
		for _, word := range []uint64{x, y, slot.paths[0], slot.paths[1]} {
			b = binary.BigEndian.AppendUint64(b, word)
		}
		b[at]++
	}
	return b
}

// decode adds the subjects of a file, where they have more than is known, and returns how many. Of a
// damaged file, those before the damage are added, and the error wraps blockfile.ErrDamaged. An empty
// store adopts the file's seed; with another one, paths cannot be compared, and are forgotten.
func (s *Store) decode(r io.Reader, adopt bool, now time.Time) (added int, err error) {
	var head [len(magic) + len(s.seed)]byte
	if err := blockfile.ReadFull(r, head[:]); err != nil {
		return 0, err
	}
	if string(head[:len(magic)]) != magic {
		return 0, fmt.Errorf("%w: it begins with %q instead of %q", blockfile.ErrDamaged, head[:len(magic)], magic)
	}
	theirs := seed(head[len(magic):])
	if adopt {
		s.seed = theirs
	}
	for blocks := blockfile.NewReader(r); ; {
		subjects, err := blocks.Next()
		if err != nil || len(subjects) == 0 {
			return added, err
		}
		for len(subjects) > 0 {
			n, ok := s.decodeSubject(subjects, theirs == s.seed, now)
			if n == 0 {
				return added, blockfile.ErrDamaged
			}
			if ok {
				added++
			}
			subjects = subjects[n:]
		}
	}
}

// decodeSubject adds the subject at the beginning of b and returns its length, or 0 if it is
// damaged. Slots of the future are left out: a clock was wrong.
func (s *Store) decodeSubject(b []byte, paths bool, now time.Time) (n int, added bool) {
	if len(b) < subjectHead {
		return 0, false
	}
	key, good := record.Key(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint64(b[8:])
	slots := int(b[subjectHead-1])
	if n = subjectHead + slots*slotSize; slots > MaxNames || len(b) < n {
		return 0, false
	}
	if reputation.IsReserved(key.Subject().Addr()) {
		return n, false
	}
	for b = b[subjectHead:n]; len(b) > 0; b = b[slotSize:] {
		word := func(i int) uint64 { return binary.BigEndian.Uint64(b[8*i:]) }
		slot := slotOf(word(0), word(1))
		if paths {
			slot.paths = [2]uint64{word(2), word(3)}
		}
		if slot.Last != 0 && !slot.forgotten(now) && s.merge(key, &slot, good, now) {
			added = true
		}
	}
	return n, added
}
