package violation

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// The file is, with integers in big-endian order:
//
//	magic   16 bytes, version included
//	seed    16 bytes, of the hashes of paths
//	blocks  length of the payload (4) · its CRC-32C (4) · payload
//
// A payload begins with the block's number (4), counted from 0, and goes on with subjects:
//
//	key (8) · good answers (8) · number of slots (1) · slots (32 each)
//
// The last block has no subjects. Each block is verified before its subjects are used; reading one
// at a time takes little memory.
const (
	magic = "ip-rep violatns1"

	blockHead   = 8
	blockNumber = 4
	maxPayload  = 64 << 10
	subjectHead = 17
	slotSize    = 8 * slotWords
	maxSubject  = subjectHead + MaxNames*slotSize
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errDamaged means that the bytes of a file are not those that were written.
var errDamaged = errors.New("damaged or cut off")

// encode writes all subjects.
func (s *Store) encode(w io.Writer) error {
	_, err := w.Write(append([]byte(magic), s.seed[:]...))
	number, block := uint32(0), make([]byte, blockHead+blockNumber, blockHead+maxPayload)
	flush := func() {
		if err == nil {
			err = writeBlock(w, block, number)
		}
		number, block = number+1, block[:blockHead+blockNumber]
	}
	s.table.each(func(key record.Key, subject *Subject, good uint64) {
		if err != nil {
			return
		}
		block = appendSubject(block, key, subject, good)
		if len(block) > cap(block)-maxSubject {
			flush()
		}
	})
	if len(block) > blockHead+blockNumber {
		flush()
	}
	flush()
	return err
}

func writeBlock(w io.Writer, block []byte, number uint32) error {
	binary.BigEndian.PutUint32(block[0:], uint32(len(block)-blockHead))
	binary.BigEndian.PutUint32(block[blockHead:], number)
	binary.BigEndian.PutUint32(block[4:], crc32.Checksum(block[blockHead:], castagnoli))
	_, err := w.Write(block)
	return err
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
// damaged file, those before the damage are added, and the error wraps errDamaged. An empty store
// adopts the file's seed; with another one, paths cannot be compared, and are forgotten.
func (s *Store) decode(r io.Reader, adopt bool, now time.Time) (added int, err error) {
	var head [len(magic) + len(s.seed)]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, readError(err)
	}
	if string(head[:len(magic)]) != magic {
		return 0, fmt.Errorf("%w: it begins with %q instead of %q", errDamaged, head[:len(magic)], magic)
	}
	theirs := seed(head[len(magic):])
	if adopt {
		s.seed = theirs
	}
	buffer := make([]byte, maxPayload)
	for number := uint32(0); ; number++ {
		payload, err := readBlock(r, buffer, number)
		if err != nil {
			return added, readError(err)
		}
		if len(payload) == 0 {
			return added, nil
		}
		for len(payload) > 0 {
			n, ok := s.decodeSubject(payload, theirs == s.seed, now)
			if n == 0 {
				return added, errDamaged
			}
			if ok {
				added++
			}
			payload = payload[n:]
		}
	}
}

func readError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errDamaged
	}
	return err
}

// readBlock returns the subjects of the next block, verified, in buffer.
func readBlock(r io.Reader, buffer []byte, number uint32) ([]byte, error) {
	var head [blockHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[0:])
	if size < blockNumber || size > maxPayload {
		return nil, errDamaged
	}
	payload := buffer[:size]
	if _, err := io.ReadFull(r, payload); err != nil {
		return nil, err
	}
	if crc32.Checksum(payload, castagnoli) != binary.BigEndian.Uint32(head[4:]) ||
		binary.BigEndian.Uint32(payload) != number {
		return nil, errDamaged
	}
	return payload[blockNumber:], nil
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
