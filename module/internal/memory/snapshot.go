package memory

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// A snapshot is, with integers in big-endian order:
//
//	magic   16 bytes, version included
//	blocks  length of the payload (4) · its CRC-32C (4) · payload
//
// A payload begins with the block's number (4), counted from 0, and goes on with records:
//
//	key (8) · uses (upper 4 bits) and number of answers (lower 4) · head (8) · answers (16 each)
//
// The last block has no records. Each block can be checked by itself, so that reading takes little memory, and nothing
// is believed before it has been checked.
const (
	magic = "ip-rep records 1"

	blockHead   = 8
	blockNumber = 4
	maxPayload  = 64 << 10
	recordHead  = 17
	answerSize  = 16
	maxRecord   = recordHead + record.MaxAnswers*answerSize

	// maxAge is how long ago an answer may have been fetched to be worth bringing back.
	maxAge = 30 * 24 * time.Hour
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errDamaged is the cause when a snapshot's bytes are not those that were written.
var errDamaged = errors.New("damaged or cut off: what could not be read will be asked again; it is replaced at the next stop")

// Save writes a snapshot of the table. Each record in it is whole; the table may be used and changed meanwhile.
func (t *Table) Save(w io.Writer) error {
	_, err := io.WriteString(w, magic)
	number, block := uint32(0), newBlock()
	if err == nil {
		t.each(func(key record.Key, used uint64, r *record.Record) bool {
			block = appendRecord(block, key, used, r)
			if len(block) > cap(block)-maxRecord {
				err = writeBlock(w, block, number)
				number, block = number+1, block[:blockHead+blockNumber]
			}
			return err == nil
		})
	}
	if err == nil && len(block) > blockHead+blockNumber {
		err = writeBlock(w, block, number)
		number, block = number+1, block[:blockHead+blockNumber]
	}
	if err == nil {
		err = writeBlock(w, block, number)
	}
	if err != nil {
		return fmt.Errorf("write snapshot of memory: %w", err)
	}
	return nil
}

// newBlock returns a block without records; they are appended, up to its capacity.
func newBlock() []byte { return make([]byte, blockHead+blockNumber, blockHead+maxPayload) }

// writeBlock fills in a block's head and number and writes it.
func writeBlock(w io.Writer, block []byte, number uint32) error {
	binary.BigEndian.PutUint32(block[0:], uint32(len(block)-blockHead))
	binary.BigEndian.PutUint32(block[blockHead:], number)
	binary.BigEndian.PutUint32(block[4:], crc32.Checksum(block[blockHead:], castagnoli))
	_, err := w.Write(block)
	return err
}

func appendRecord(b []byte, key record.Key, used uint64, r *record.Record) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(key))
	at := len(b)
	b = append(b, byte(used<<4))
	b = binary.BigEndian.AppendUint64(b, r.Head())
	for _, a := range r.Answers {
		if a.Source == 0 {
			break
		}
		x, y := a.Words()
		b = binary.BigEndian.AppendUint64(b, x)
		b = binary.BigEndian.AppendUint64(b, y)
		b[at]++
	}
	return b
}

// Load adds the records of a snapshot to the table and returns how many. Left out are subjects that are there already,
// answers fetched after now or more than 30 days before, and records without any other. A snapshot that is damaged is
// loaded up to the damage, and an error returned; blocks of up to 64 KiB are verified before they are believed.
func (t *Table) Load(r io.Reader, now time.Time) (int, error) {
	loaded := 0
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, readError(0, err)
	}
	if string(head) != magic {
		return 0, fmt.Errorf("read snapshot of memory: it begins with %q instead of %q: "+
			"not a snapshot, or of another version; remove the file", head, magic)
	}
	buffer := make([]byte, maxPayload)
	for number := uint32(0); ; number++ {
		payload, err := readBlock(r, buffer, number)
		if err != nil {
			return loaded, readError(number, err)
		}
		if len(payload) == 0 {
			return loaded, nil
		}
		for len(payload) > 0 {
			n, err := t.loadRecord(payload, now, &loaded)
			if err != nil {
				return loaded, readError(number, err)
			}
			payload = payload[n:]
		}
	}
}

func readError(number uint32, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errDamaged
	}
	return fmt.Errorf("read snapshot of memory, block %d: %w", number, err)
}

// readBlock returns the records of the next block, verified, in buffer.
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

// loadRecord adds the record that b begins with, counts it in loaded if something of it was worth adding, and returns
// its length.
func (t *Table) loadRecord(b []byte, now time.Time, loaded *int) (int, error) {
	if len(b) < recordHead {
		return 0, errDamaged
	}
	key, used, answers := record.Key(binary.BigEndian.Uint64(b)), uint64(b[8]>>4), int(b[8]&15)
	size := recordHead + answers*answerSize
	if answers > record.MaxAnswers || len(b) < size {
		return 0, errDamaged
	}
	var r record.Record
	for a := b[recordHead:size]; len(a) > 0; a = a[answerSize:] {
		answer := record.AnswerFrom(binary.BigEndian.Uint64(a), binary.BigEndian.Uint64(a[8:]))
		oldest, newest := record.Seconds(now.Add(-maxAge)), record.Seconds(now)
		if answer.Source != 0 && answer.Answered() && oldest <= answer.Fetched && answer.Fetched <= newest {
			r.Set(answer)
		}
	}
	if r.Answers[0].Source != 0 {
		r.SetHead(binary.BigEndian.Uint64(b[9:]))
		if t.add(key, max(used, newUses), &r) {
			*loaded++
		}
	}
	return size, nil
}
