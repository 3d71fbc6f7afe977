package recorder

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"strconv"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// A file of the spool is lines of JSON. A checksum stands before each. The first line is a header.
const (
	formatVersion = 1

	// journalVersion is that of journals, which have lines that earlier versions do not know.
	journalVersion = 2

	// incidentVersion is that of files with incidents. Earlier versions leave such a file to a later one.
	incidentVersion = 3

	sumSize = len("0123abcd ")

	// maxLine is the maximum length of a line. Written lines are much shorter, since their texts
	// are bounded.
	maxLine = 64 << 10

	// maxFile is how much of a file is read: several times the size of a full window.
	maxFile = 128 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// line has exactly one of Header, Decision, Again, Change and Incident.
type line struct {
	Header   *header           `json:"history,omitempty"`
	Decision *history.Decision `json:"decision,omitempty"`
	Number   *int32            `json:"n,omitempty"` // of the decision, in journals
	Again    *again            `json:"again,omitempty"`
	Change   *history.Change   `json:"change,omitempty"`
	Incident *history.Incident `json:"incident,omitempty"`
}

// again counts further requests of a decision whose line is above.
type again struct {
	Number int32     `json:"n"`
	Count  int64     `json:"count"`
	Last   time.Time `json:"last"`
	Status string    `json:"status"`
	Score  *uint8    `json:"score,omitempty"` // the highest of all
}

func (a *again) valid() bool {
	return a.Count > 0 && a.Count < 1<<40 && validTime(a.Last) && (a.Score == nil || *a.Score <= 100)
}

// header is the first line.
type header struct {
	Version int    `json:"version"`
	ID      string `json:"id"`
	Entries int64  `json:"entries,omitempty"` // of a batch
	Machine string `json:"machine,omitempty"` // of a journal: who writes it
}

// errVersion means that a file was written by a later version.
var errVersion = errors.New("a later version of the plugin has written it")

func parseID(text string) (id history.ID, ok bool) {
	if len(text) != 2*len(id) {
		return id, false
	}
	_, err := hex.Decode(id[:], []byte(text))
	return id, err == nil && id.String() == text // refuses upper case
}

// endLine completes the line that begins at from: it writes the checksum into the room before the
// JSON.
func endLine(b []byte, from int) []byte {
	text := b[from+sumSize:]
	if len(text)+1 > maxLine-sumSize {
		return b[:from] // unreachable: all texts are bounded
	}
	var sum [4]byte
	binary.BigEndian.PutUint32(sum[:], crc32.Checksum(text, castagnoli))
	hex.Encode(b[from:], sum[:])
	b[from+sumSize-1] = ' '
	return append(b, '\n')
}

// appendLine appends a line. It omits a line that JSON cannot represent, which a collector never
// makes.
func appendLine(b []byte, l line) []byte {
	text, err := json.Marshal(l)
	if err != nil {
		return b
	}
	from := len(b)
	return endLine(append(append(b, make([]byte, sumSize)...), text...), from)
}

// appendDecision appends the line of a decision. It is written by hand: a flood of addresses makes
// a row of each, twice, and encoding/json took half of the time. n is its number in a journal; -1:
// none.
func appendDecision(b []byte, d *history.Decision, n int32) []byte {
	from := len(b)
	b = append(b, make([]byte, sumSize)...)
	b = appendTime(append(b, `{"decision":{"minute":`...), d.Minute)
	b = append(d.Address.AppendTo(append(b, `,"address":"`...)), '"')
	for _, text := range [...]struct{ name, value string }{
		{`,"host":`, d.Host}, {`,"rule":`, d.Rule}, {`,"action":`, d.Action}, {`,"mode":`, d.Mode},
		{`,"request_id":`, d.RequestID}, {`,"status":`, d.Status}, {`,"config":`, d.Config},
	} {
		b = appendText(append(b, text.name...), text.value)
	}
	b = strconv.AppendInt(append(b, `,"count":`...), d.Count, 10)
	b = appendTime(append(b, `,"first":`...), d.First)
	b = appendTime(append(b, `,"last":`...), d.Last)
	b = append(appendScore(b, d.Score), '}')
	if n >= 0 {
		b = strconv.AppendInt(append(b, `,"n":`...), int64(n), 10)
	}
	return endLine(append(b, '}'), from)
}

func appendAgain(b []byte, a *again) []byte {
	from := len(b)
	b = append(b, make([]byte, sumSize)...)
	b = strconv.AppendInt(append(b, `{"again":{"n":`...), int64(a.Number), 10)
	b = strconv.AppendInt(append(b, `,"count":`...), a.Count, 10)
	b = appendTime(append(b, `,"last":`...), a.Last)
	b = appendScore(appendText(append(b, `,"status":`...), a.Status), a.Score)
	return endLine(append(b, "}}"...), from)
}

func appendScore(b []byte, score *uint8) []byte {
	if score == nil {
		return b
	}
	return strconv.AppendInt(append(b, `,"score":`...), int64(*score), 10)
}

func appendTime(b []byte, at time.Time) []byte {
	return append(at.AppendFormat(append(b, '"'), time.RFC3339Nano), '"')
}

func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f || s[i] == '"' || s[i] == '\\' {
			text, _ := json.Marshal(s) // never fails for a string
			return append(b, text...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// writeBatch writes a batch in the format that readContent reads.
func writeBatch(w io.Writer, b *history.Batch) error {
	version := formatVersion
	if len(b.Incidents) > 0 {
		version = incidentVersion
	}
	buffer := appendLine(nil, line{Header: &header{Version: version, ID: b.ID.String(), Entries: entriesOf(b)}})
	for i := range b.Decisions {
		buffer = appendDecision(buffer, &b.Decisions[i], -1)
		if len(buffer) >= maxLine {
			if _, err := w.Write(buffer); err != nil {
				return err
			}
			buffer = buffer[:0]
		}
	}
	if _, err := w.Write(buffer); err != nil {
		return err
	}
	for i := range b.Changes {
		if _, err := w.Write(appendLine(buffer[:0], line{Change: &b.Changes[i]})); err != nil {
			return err
		}
	}
	for i := range b.Incidents {
		if _, err := w.Write(appendLine(buffer[:0], line{Incident: &b.Incidents[i]})); err != nil {
			return err
		}
	}
	return nil
}

// content is the parsed content of a file.
type content struct {
	window  window
	header  *header
	entries int64           // according to the header; 0: unknown
	broken  int             // damaged lines
	rows    map[int32]int32 // of the window, by their numbers in a journal
}

// lost returns how many entries cannot be read: according to the header or, without one, one per
// damaged line.
func (c *content) lost() int64 {
	if c.entries > 0 {
		return max(c.entries-c.window.entries, 0)
	}
	return int64(c.broken)
}

// readContent reads a file of the spool. It skips damaged lines. It fails only on errVersion and on
// read errors.
func readContent(r io.Reader) (*content, error) {
	c := &content{}
	in := bufio.NewReaderSize(io.LimitReader(r, maxFile), maxLine)
	for first := true; ; first = false {
		text, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			c.broken++
			if err = skipLine(in); err == nil {
				continue
			}
		case err == nil:
			if err := c.add(text, first); err != nil {
				return c, err
			}
			continue
		}
		if errors.Is(err, io.EOF) { // the process was killed while it wrote an incomplete last line
			return c, nil
		}
		return c, err
	}
}

func skipLine(in *bufio.Reader) error {
	for {
		if _, err := in.ReadSlice('\n'); !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// add adds one line.
func (c *content) add(text []byte, first bool) error {
	l, ok := parseLine(text)
	switch {
	case !ok:
		c.broken++
	case l.Header != nil:
		if l.Header.Version < formatVersion || l.Header.Version > incidentVersion {
			return errVersion
		}
		c.header = l.Header
		if first && l.Header.Entries > 0 && l.Header.Entries < 1<<40 {
			c.entries = l.Header.Entries
		}
	case l.Decision != nil && validDecision(l.Decision):
		c.decision(l.Decision, l.Number)
	case l.Again != nil && l.Again.valid() && c.again(l.Again):
	case l.Change != nil && validChange(l.Change):
		c.window.change(l.Change)
	case l.Incident != nil && validIncident(l.Incident):
		c.window.addIncident(l.Incident)
	default:
		c.broken++
	}
	return nil
}

func (c *content) decision(d *history.Decision, number *int32) {
	n := c.window.add(d)
	if number == nil {
		return
	}
	if c.rows == nil {
		c.rows = make(map[int32]int32)
	}
	c.rows[*number] = n
}

// again reports whether the line of the decision was above.
func (c *content) again(a *again) bool {
	n, ok := c.rows[a.Number]
	if !ok {
		return false
	}
	row := &c.window.decisions[n]
	merge(row, &history.Decision{Count: a.Count, First: row.First, Last: a.Last, Status: a.Status, Score: a.Score})
	c.window.entries += a.Count
	return true
}

// parseLine parses a line, which ends with a line feed.
func parseLine(text []byte) (l line, ok bool) {
	sum, text, ok := bytes.Cut(bytes.TrimSuffix(text, []byte("\n")), []byte(" "))
	if !ok || len(sum) != 8 {
		return l, false
	}
	want, err := strconv.ParseUint(string(sum), 16, 32)
	if err != nil || uint32(want) != crc32.Checksum(text, castagnoli) {
		return l, false
	}
	return l, json.Unmarshal(text, &l) == nil
}

// readHeader returns the header of a file; a zero one if there is none.
func readHeader(r io.Reader) (h header, err error) {
	in := bufio.NewReaderSize(r, 4096)
	text, err := in.ReadSlice('\n')
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		return h, err
	}
	c := &content{}
	if err = c.add(text, true); c.header != nil {
		h = *c.header
	}
	h.Entries = c.entries
	return h, err
}
