package listformat

import (
	"bufio"
	"bytes"
	"errors"
	"iter"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
)

// CSV has one record a line, of which one column is the entry: the one that Members names by the
// header line, or by its number, from 1. With none, it is the only one that holds addresses in all
// records at the beginning. Without addresses, the first line is a header. Lines that begin with
// "#", ";" or "//" are comments.
const CSV Encoding = "csv"

var csvTable = notation{encoding: CSV, check: checkCSV, read: readCSV, looks: looksLikeCSV}

func checkCSV(f *Format) error {
	if len(f.Members) > 1 {
		return errors.New("name the one CSV column that holds the address")
	}
	return nil
}

// looksLikeCSV recognises a record with an address, other than those that Text reads. In an own list
// and one of autonomous systems, only a header line makes a CSV.
func looksLikeCSV(c *collector, line []byte) bool {
	return !c.options.Own && c.list.AddASN == nil && bytes.IndexByte(line, ',') >= 0 &&
		!looksLikeText(c, line) && c.entryColumns(line) != 0
}

// hasCSVHeader reports whether the first line names the columns of the first record.
func (c *collector) hasCSVHeader(lines [][]byte) bool {
	const near = 10 // a record at the beginning may be wrong
	if len(lines) == 0 || bytes.IndexByte(lines[0], ',') < 0 || c.entryColumns(lines[0]) != 0 {
		return false
	}
	isRecord := func(line []byte) bool { return c.entryColumns(line) != 0 }
	record := slices.IndexFunc(lines[:min(len(lines), near)], isRecord)
	if record < 0 {
		return false
	}
	names := 0
	for name, ended := range csvFields(lines[0]) {
		if names++; !ended || len(name) == 0 || name[0] != '_' && !isLetter(name[0]) {
			return false
		}
	}
	_, fields := findColumn(lines[record], "")
	return names == fields
}

// entryColumns returns which of the first 64 columns of a record hold an entry.
func (c *collector) entryColumns(line []byte) (columns uint64) {
	i := 0
	for field, ended := range csvFields(line) {
		if !ended {
			return 0
		}
		isEntry := isAddress(field)
		if c.list.AddASN != nil {
			_, isEntry = address.ParseASN(field)
		}
		if isEntry {
			columns |= 1 << i
		}
		if i++; i == 64 {
			break
		}
	}
	return columns
}

// csvColumn is where the entries of a table are.
type csvColumn struct {
	name    string // as the operator or the header has it
	at      int
	columns int  // that a record may have
	header  bool // the first line is one
}

func readCSV(r *bufio.Reader, f *Format, c *collector) error {
	var column csvColumn
	var quote openQuote
	begun := false
	start, _ := r.Peek(sampled) // an error comes again from the next read
	sample := c.sampleCSV(sampleLines(start))
	return EachLine(r, func(number int, line []byte) error {
		switch {
		case line == nil && !begun:
			return refuse(ErrUnparsable, "the header line %s", tooLong)
		case line == nil:
			return c.reject(number, nil, tooLong)
		case quote.covers(line):
			return c.reject(number, line, "belongs to a quoted field of a line before")
		case len(bytes.TrimSpace(line)) == 0 || isComment(line):
			return nil
		case !begun:
			begun = true
			var err error
			if column, err = c.csvColumn(f, line, sample); err != nil || column.header {
				return err
			}
		}
		entry, fields, ok := csvField(line, column.at)
		switch {
		case !ok:
			return c.reject(number, line, "has a quoted field that does not end on its line")
		case fields <= column.at:
			return c.reject(number, line, "lacks the column "+column.name)
		case fields > column.columns:
			return c.reject(number, line, "has more fields than the header line")
		}
		return c.add(number, entry)
	})
}

// openQuote is a quoted field that has not ended on the lines before. Such a field may hold what
// anybody wrote, such as a user agent: its lines are no records. One that goes on for longer than
// longestField is a stray quote.
type openQuote struct {
	open   bool
	length int
}

const longestField = 16 << 10

// covers reports whether a line begins in a quoted field, and notes whether its end is in one.
func (q *openQuote) covers(line []byte) bool {
	covered := q.open && q.length <= longestField
	if covered {
		q.length += len(line) + 1
		var ended bool
		if _, line, ended = cutQuoted(line); !ended {
			return true
		}
		_, line, _ = bytes.Cut(line, []byte(","))
	} else if len(line) == 0 || isComment(line) {
		return false
	}
	*q = openQuote{}
	for _, ended := range csvFields(line) {
		q.open = !ended
	}
	return covered
}

// csvSample is what the first lines of a table show.
type csvSample struct {
	header bool
	any    bool   // some have an entry
	common uint64 // the columns that hold one in all lines with any
}

func (c *collector) sampleCSV(lines [][]byte) csvSample {
	sample := csvSample{header: c.hasCSVHeader(lines), common: math.MaxUint64}
	var quote openQuote
	for _, line := range lines {
		if quote.covers(line) {
			continue
		}
		if columns := c.entryColumns(line); columns != 0 {
			sample.common, sample.any = sample.common&columns, true
		}
	}
	return sample
}

// csvColumn finds the column of the entries.
func (c *collector) csvColumn(f *Format, first []byte, sample csvSample) (column csvColumn, err error) {
	column.header, column.columns = sample.header, math.MaxInt
	if column.header {
		_, column.columns = findColumn(first, "")
	}
	if len(f.Members) == 0 {
		if column.at, _ = findColumn(first, "asn"); column.at >= 0 && column.header && c.list.AddASN != nil {
			column.name = "asn"
			return column, nil
		}
		column.at, err = sample.column()
		column.name = strconv.Itoa(column.at + 1)
		return column, err
	}
	column.name = f.Members[0]
	if number, err := strconv.Atoi(column.name); err == nil && number > 0 {
		column.at = number - 1
		return column, nil
	}
	column.header = true
	if column.at, column.columns = findColumn(first, column.name); column.at < 0 {
		return column, refuse(ErrUnparsable, "no CSV column is named %q; the header line is %.200q", column.name,
			c.redact(string(first)))
	}
	return column, nil
}

// column returns the only column that holds an entry in all good lines. Without any, it is the first.
func (s csvSample) column() (int, error) {
	const cure = "name one with `field`, by its name in the header line or by its number"
	switch {
	case !s.any:
		return 0, nil
	case s.common == 0:
		return 0, refuse(ErrUnparsable, "no CSV column holds addresses in all lines: "+cure)
	case bits.OnesCount64(s.common) == 1:
		return bits.TrailingZeros64(s.common), nil
	}
	var numbers []string
	for ; s.common != 0; s.common &= s.common - 1 {
		numbers = append(numbers, strconv.Itoa(bits.TrailingZeros64(s.common)+1))
	}
	return 0, refuse(ErrUnparsable, "several CSV columns hold addresses, and it is unknown which are meant: "+
		cure+": %s", strings.Join(numbers, ", "))
}

// findColumn returns the position of the column in a header line, or -1, and the number of columns.
func findColumn(header []byte, column string) (at, columns int) {
	at = -1
	for name := range csvFields(header) {
		if at < 0 && strings.EqualFold(string(name), column) {
			at = columns
		}
		columns++
	}
	return at, columns
}

// csvField returns the field at a position of a record, and the number of fields without empty
// ones at the end. ok is false if a quoted field does not end.
func csvField(line []byte, at int) (field []byte, fields int, ok bool) {
	i := 0
	for text, ended := range csvFields(line) {
		if !ended {
			return nil, 0, false
		}
		if i == at {
			field = text
		}
		if i++; len(text) > 0 || i <= at+1 {
			fields = i
		}
	}
	return field, fields, true
}

// csvFields yields the fields of a record, without spaces around them, and whether they end. A
// quote within a field does not end it, unless a comma or the end of the line follows.
func csvFields(line []byte) iter.Seq2[[]byte, bool] {
	return func(yield func([]byte, bool) bool) {
		for more := true; more; {
			var field []byte
			line = bytes.TrimLeftFunc(line, unicode.IsSpace)
			if len(line) > 0 && line[0] == '"' {
				var ended bool
				if field, line, ended = cutQuoted(line[1:]); !ended {
					yield(nil, false)
					return
				}
				_, line, more = bytes.Cut(line, []byte(","))
			} else {
				field, line, more = bytes.Cut(line, []byte(","))
			}
			if !yield(bytes.TrimSpace(field), true) {
				return
			}
		}
	}
}

// cutQuoted returns the text up to the quote that ends a field, and the rest, which is empty or
// begins with a comma.
func cutQuoted(line []byte) (field, rest []byte, ended bool) {
	for from := 0; ; {
		end := bytes.IndexByte(line[from:], '"')
		if end < 0 {
			return nil, nil, false
		}
		end += from
		rest = bytes.TrimLeftFunc(line[end+1:], unicode.IsSpace)
		switch {
		case bytes.HasPrefix(line[end+1:], []byte(`"`)): // two quotes stand for one
			from = end + 2
		case len(rest) == 0 || rest[0] == ',':
			return bytes.ReplaceAll(line[:end], []byte(`""`), []byte(`"`)), rest, true
		default:
			from = end + 1
		}
	}
}
