package memory

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/blockfile"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// A snapshot is, with integers in big-endian order:
//
//	magic    16 bytes, version included
//	records  in blocks, see blockfile: key (8) · uses (1) · number of answers (1) · head (8) · answers (16 each)
//
// Snapshots of the first version can be read, too. They have the uses in the upper 4 bits of one
// byte, the number of answers in the lower 4, and another head: see record.SetFirstHead.
const (
	magic      = "ip-rep records 2"
	firstMagic = "ip-rep records 1"

	recordHead = 18
	answerSize = 16
	maxRecord  = recordHead + record.MaxAnswers*answerSize

	// maxAge is the age up to which Load takes an answer.
	maxAge = 30 * 24 * time.Hour
)

// errDamaged means that a snapshot's bytes are not those that were written.
var errDamaged = fmt.Errorf("%w: what could not be read will be asked again; it is replaced within minutes",
	blockfile.ErrDamaged)

// Save writes a snapshot of the table. The table may be read and
// changed meanwhile; each record is consistent.
func (t *Table) Save(w io.Writer) error {
	_, err := io.WriteString(w, magic)
	blocks, entry := blockfile.NewWriter(w), make([]byte, 0, maxRecord)
	if err == nil {
		t.each(func(key record.Key, used uint64, r *record.Record) bool {
			entry = appendRecord(entry[:0], key, used, r)
			err = blocks.Write(entry)
			return err == nil
		})
	}
	if err == nil {
		err = blocks.Close()
	}
	if err != nil {
		return fmt.Errorf("write snapshot of memory: %w", err)
	}
	return nil
}

func appendRecord(b []byte, key record.Key, used uint64, r *record.Record) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(key))
	at := len(b)
	b = append(b, byte(used), 0)
	b = binary.BigEndian.AppendUint64(b, r.Head())
	for i := range r.Answers {
		a := &r.Answers[i]
		if a.Source == 0 {
			break
		}
		x, y := r.Words(a)
		b = binary.BigEndian.AppendUint64(b, x)
		b = binary.BigEndian.AppendUint64(b, y)
		b[at+1]++
	}
	return b
}

// Load adds the records of a snapshot to the table and returns how many. It leaves out subjects
// that are in the table, answers fetched after now or more than 30 days before, answers of other
// sources than the given ones, if any are given, and records without other answers. A damaged
// snapshot is loaded up to the damaged block, and an error is returned.
func (t *Table) Load(r io.Reader, now time.Time, sources ...record.SourceID) (int, error) {
	loaded := 0
	head := make([]byte, len(magic))
	if err := blockfile.ReadFull(r, head); err != nil {
		return 0, readError(0, err)
	}
	layout := layouts[string(head)]
	if layout.head == 0 {
		return 0, fmt.Errorf("read snapshot of memory: it begins with %q instead of %q: "+
			"not a snapshot, or of another version; remove the file", head, magic)
	}
	blocks := blockfile.NewReader(r)
	for number := 0; ; number++ {
		records, err := blocks.Next()
		if err != nil {
			return loaded, readError(number, err)
		}
		if len(records) == 0 {
			return loaded, nil
		}
		for len(records) > 0 {
			n, err := t.loadRecord(&layout, records, now, sources, &loaded)
			if err != nil {
				return loaded, readError(number, err)
			}
			records = records[n:]
		}
	}
}

func readError(block int, err error) error {
	if errors.Is(err, blockfile.ErrDamaged) {
		err = errDamaged
	}
	return fmt.Errorf("read snapshot of memory, block %d: %w", block, err)
}

// layout is the form of a record in one version of the snapshot.
type layout struct {
	head   int // bytes before the answers
	counts func(b []byte) (used uint64, answers int)
	facts  func(*record.Record, uint64)
}

var layouts = map[string]layout{
	magic: {
		head:   recordHead,
		counts: func(b []byte) (uint64, int) { return uint64(min(b[0], maxUses)), int(b[1]) },
		facts:  (*record.Record).SetHead,
	},
	firstMagic: {
		head:   recordHead - 1,
		counts: func(b []byte) (uint64, int) { return uint64(b[0] >> 4), int(b[0] & 15) },
		facts:  (*record.Record).SetFirstHead,
	},
}

// loadRecord adds the record at the beginning of b and returns its length. It increments loaded
// unless the record is left out: see Load.
func (t *Table) loadRecord(l *layout, b []byte, now time.Time, sources []record.SourceID, loaded *int) (int, error) {
	if len(b) < l.head {
		return 0, errDamaged
	}
	key := record.Key(binary.BigEndian.Uint64(b))
	used, answers := l.counts(b[8:])
	size := l.head + answers*answerSize
	if answers > record.MaxAnswers || len(b) < size {
		return 0, errDamaged
	}
	var r record.Record
	l.facts(&r, binary.BigEndian.Uint64(b[l.head-8:]))
	oldest, newest := record.Seconds(now.Add(-maxAge)), record.Seconds(now)
	for a := b[l.head:size]; len(a) > 0; a = a[answerSize:] {
		first := binary.BigEndian.Uint64(a)
		answer := record.AnswerFrom(first, binary.BigEndian.Uint64(a[8:]))
		if answer.Source != 0 && answer.Answered() && oldest <= answer.Fetched && answer.Fetched <= newest {
			r.Set(answer)
			r.SetGiven(first)
		}
	}
	if len(sources) > 0 {
		r.Retain(sources)
	}
	if r.Answers[0].Source != 0 && t.add(key, max(used, newUses), &r) {
		*loaded++
	}
	return size, nil
}
