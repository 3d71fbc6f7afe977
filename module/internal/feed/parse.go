package feed

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// content collects what a list says while it is read.
type content struct {
	spec     *Spec
	strict   bool   // the first wrong entry ends the reading
	unit     string // what is counted: lines, or the entries of a document
	prefixes []netip.Prefix
	skipped  int // good lines that list nobody, such as those below the minimum count
	wrong    int
	first    error // what is wrong with the first wrong line
}

// newContent returns an empty content with room for the expected number of entries.
func newContent(spec *Spec, expected int64) *content {
	return &content{spec: spec, prefixes: make([]netip.Prefix, 0, expected)}
}

// add takes one entry.
func (c *content) add(number int, entry []byte) error {
	p, ok := parsePrefix(entry)
	switch {
	case !ok:
		return c.reject(number, entry, "is not an address or a CIDR")
	case !c.spec.Own && tooWide(p):
		return c.reject(number, entry, "is too wide for a list of others: /8 and, in IPv6, /16 are the widest")
	}
	c.prefixes = append(c.prefixes, p)
	return nil
}

func (c *content) reject(number int, entry []byte, why string) error {
	c.wrong++
	if c.first == nil {
		const shown = 48 // enough to recognise an entry by
		if len(entry) > shown {
			entry = append(entry[:shown:shown], "..."...)
		}
		c.first = fmt.Errorf("%s %d: %q %s", c.unit, number, c.spec.scrub(string(entry)), why)
	}
	if c.strict {
		return &failure{result: ResultUnparsable, err: c.first}
	}
	return nil
}

// readList reads one part of a list, or a file, into c.
func readList(r io.Reader, c *content) error {
	c.unit = "line"
	switch f := c.spec.Format; f.Encoding {
	case NDJSON:
		return readNDJSON(r, f.Members, c)
	case JSON:
		return readJSON(r, f.Members, c)
	case CSV:
		return readCSV(r, f.Members[0], c)
	}
	return readText(r, c.spec.Format.MinCount, c)
}

func readText(r io.Reader, minCount int, c *content) error {
	return eachLine(r, func(number int, line []byte) error {
		if line == nil {
			return c.reject(number, nil, "is a line that is too long")
		}
		entry, rest := firstField(line)
		if len(entry) == 0 {
			return nil
		}
		if minCount > 0 {
			second, _ := firstField(rest)
			count, err := strconv.Atoi(string(second))
			if err != nil {
				return c.reject(number, line, "has no count in the second field")
			}
			if count < minCount {
				c.skipped++
				return nil
			}
		}
		return c.add(number, entry)
	})
}

// firstField returns the first field of a line and what follows its separator. The field of a comment is empty.
func firstField(line []byte) (field, rest []byte) {
	start := 0
	for start < len(line) && (line[start] == ' ' || line[start] == '\t') {
		start++
	}
	for i := start; i < len(line); i++ {
		switch line[i] {
		case ' ', '\t', ',':
			return line[start:i], line[i+1:]
		case '#', ';':
			return line[start:i], nil
		case '/':
			if i+1 < len(line) && line[i+1] == '/' {
				return line[start:i], nil
			}
		}
	}
	return line[start:], nil
}

func readNDJSON(r io.Reader, members []string, c *content) error {
	return eachLine(r, func(number int, line []byte) error {
		if line == nil {
			return c.reject(number, nil, "is a line that is too long")
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			return nil
		}
		var object map[string]json.RawMessage
		if err := json.Unmarshal(line, &object); err != nil {
			return c.reject(number, line, "is not a JSON object")
		}
		if string(object["type"]) == `"metadata"` && !hasAny(object, members) {
			return nil
		}
		return addMembers(object, members, number, line, c)
	})
}

func hasAny(object map[string]json.RawMessage, members []string) bool {
	return slices.ContainsFunc(members, func(m string) bool { return object[m] != nil })
}

// addMembers takes every entry that an object holds; an object without any is wrong.
func addMembers(object map[string]json.RawMessage, members []string, number int, raw []byte, c *content) error {
	found := false
	for _, m := range members {
		var entry *string
		if value, ok := object[m]; !ok || json.Unmarshal(value, &entry) == nil && entry == nil {
			continue // absent, or null
		}
		found = true
		if entry == nil {
			if err := c.reject(number, object[m], "is not a string"); err != nil {
				return err
			}
			continue
		}
		if err := c.add(number, []byte(strings.TrimSpace(*entry))); err != nil {
			return err
		}
	}
	if !found {
		return c.reject(number, raw, "has no member "+strings.Join(members, " or "))
	}
	return nil
}

// readJSON reads one element at a time, so that a large document does not become a larger tree.
func readJSON(r io.Reader, members []string, c *content) error {
	c.unit = "entry"
	d := json.NewDecoder(r)
	number := 0
	array := func() error {
		for d.More() {
			number++
			var raw json.RawMessage
			if err := d.Decode(&raw); err != nil {
				return err
			}
			if err := addElement(raw, members, number, c); err != nil {
				return err
			}
		}
		_, err := d.Token()
		return err
	}
	err := func() error {
		open, err := d.Token()
		switch {
		case err != nil:
			return err
		case open == json.Delim('['):
			return array()
		case open != json.Delim('{'):
			return refuse(ResultUnparsable, "the JSON document is neither an array nor an object")
		}
		return eachArray(d, array)
	}()
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			return refuse(ResultUnparsable, "more follows the JSON document: use the ndjson format for one object a line")
		}
	}
	return jsonFailure(err)
}

// eachArray calls array for each member of an object that is one, and passes over the others.
func eachArray(d *json.Decoder, array func() error) error {
	arrays := 0
	for d.More() {
		if _, err := d.Token(); err != nil { // the name
			return err
		}
		value, err := d.Token()
		switch {
		case err != nil:
			return err
		case value == json.Delim('['):
			arrays++
			err = array()
		case value == json.Delim('{'):
			err = skipObject(d)
		}
		if err != nil {
			return err
		}
	}
	if arrays == 0 {
		return refuse(ResultUnparsable, "the JSON object holds no array")
	}
	_, err := d.Token()
	return err
}

// skipObject passes over the rest of an object whose beginning was read.
func skipObject(d *json.Decoder) error {
	for depth := 1; depth > 0; {
		t, err := d.Token()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
	return nil
}

func addElement(raw json.RawMessage, members []string, number int, c *content) error {
	var entry *string
	if json.Unmarshal(raw, &entry) == nil && entry != nil {
		return c.add(number, []byte(strings.TrimSpace(*entry)))
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil || object == nil {
		return c.reject(number, raw, "is neither a string nor an object")
	}
	return addMembers(object, members, number, raw, c)
}

// jsonFailure tells a document that is wrong from a connection that is.
func jsonFailure(err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return refuse(ResultUnparsable, "the JSON document breaks off or is wrong at byte %d: %w", syntax.Offset, err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return refuse(ResultUnparsable, "the JSON document breaks off")
	}
	return err
}

func readCSV(r io.Reader, column string, c *content) error {
	rows := csv.NewReader(r)
	rows.Comment = '#'
	rows.FieldsPerRecord = -1
	rows.LazyQuotes = true
	rows.ReuseRecord = true
	rows.TrimLeadingSpace = true
	header, err := rows.Read()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if wrong := (*csv.ParseError)(nil); errors.As(err, &wrong) {
		return refuse(ResultUnparsable, "the header line is not CSV: %w", err)
	}
	if err != nil {
		return err
	}
	at := slices.IndexFunc(header, func(h string) bool { return strings.EqualFold(strings.TrimSpace(h), column) })
	if at < 0 {
		return refuse(ResultUnparsable, "no CSV column is named %q; the header line is %.200q", column, c.spec.scrub(strings.Join(header, ",")))
	}
	for {
		row, err := rows.Read()
		var wrong *csv.ParseError
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &wrong):
			if err := c.reject(wrong.Line, nil, "is not CSV"); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		}
		number, _ := rows.FieldPos(0)
		if at >= len(row) {
			err = c.reject(number, []byte(strings.Join(row, ",")), "lacks the column "+column)
		} else {
			err = c.add(number, []byte(strings.TrimSpace(row[at])))
		}
		if err != nil {
			return err
		}
	}
}
