package listformat

import (
	"bufio"
	"bytes"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/jsonstream"
)

// NDJSON has one JSON object a line, which is an entry. If no member is named, the addresses are
// looked for, as in JSON. Lines with "type":"metadata" and without an entry are skipped.
const NDJSON Encoding = "ndjson"

var ndjson = notation{encoding: NDJSON, check: checkMembers, read: readNDJSON}

func readNDJSON(r *bufio.Reader, f *Format, c *collector) error {
	text := new(bytes.Reader)
	in := bufio.NewReader(text)
	var scan *jsonstream.Reader
	var read func(number int, line []byte) error
	end := func() error { return nil }
	if members := c.members(f); len(members) > 0 {
		d := newJSONList(members, c)
		scan, read = &d.scan, d.readLine
	} else {
		s := newJSONSearch(c)
		scan, read, end = &s.scan, s.readLine, s.finish
	}
	err := EachLine(r, func(number int, line []byte) error {
		if line == nil {
			return c.reject(number, nil, tooLong)
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			return nil
		}
		restart := func() {
			text.Reset(line)
			in.Reset(text)
			scan.Reset(in)
		}
		// The whole line is checked first, so that nothing is taken of one that is wrong at its end.
		if restart(); !scan.IsObject() {
			return c.reject(number, line, "is not a JSON object")
		}
		restart()
		return read(number, line)
	})
	if err != nil {
		return err
	}
	return end()
}

func (d *jsonList) readLine(number int, line []byte) error {
	d.number, d.line = number, line
	err := d.entryObject(true)
	d.meta.end(d.c)
	return err
}

func (s *jsonSearch) readLine(number int, line []byte) error {
	s.number, s.line = number, line
	before := s.taken
	if err := s.value(); err != nil {
		return err
	}
	isMetadata := s.meta.isMetadata
	s.meta.end(s.c)
	if s.taken > before || isMetadata {
		return nil
	}
	return s.c.reject(number, line, "has no address")
}
