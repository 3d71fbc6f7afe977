package listformat

import (
	"bytes"
	"errors"
	"io"
	"iter"
	"strings"
	"unicode"
)

// CSV has a header line that names the columns, and then one record a line. Lines that begin with
// "#" are comments.
const CSV Encoding = "csv"

var csvTable = notation{encoding: CSV, check: checkCSV, read: readCSV}

func checkCSV(f *Format) error {
	if len(f.Members) != 1 {
		return errors.New("name the one CSV column that holds the address")
	}
	return nil
}

func readCSV(r io.Reader, f *Format, c *collector) error {
	column := f.Members[0]
	lacks := "lacks the column " + column
	at, columns := -1, 0
	return EachLine(r, func(number int, line []byte) error {
		switch {
		case line == nil && columns == 0:
			return refuse(ErrUnparsable, "the header line %s", tooLong)
		case line == nil:
			return c.reject(number, nil, tooLong)
		case len(bytes.TrimSpace(line)) == 0 || line[0] == '#':
			return nil
		case columns == 0:
			if at, columns = findColumn(line, column); at < 0 {
				return refuse(ErrUnparsable, "no CSV column is named %q; the header line is %.200q", column,
					c.redact(string(line)))
			}
			return nil
		}
		entry, fields, ok := csvField(line, at)
		switch {
		case !ok:
			return c.reject(number, line, "has a quoted field that does not end on its line")
		case fields <= at:
			return c.reject(number, line, lacks)
		case fields > columns:
			return c.reject(number, line, "has more fields than the header line")
		}
		return c.add(number, entry)
	})
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
