package listformat

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// NDJSON has one JSON object a line, which is an entry. Lines with "type":"metadata" and without
// the members are skipped.
const NDJSON Encoding = "ndjson"

var ndjson = notation{encoding: NDJSON, check: checkNDJSON, read: readNDJSON}

func checkNDJSON(f *Format) error {
	if len(f.Members) == 0 {
		return errors.New("name the JSON member that holds the address")
	}
	return nil
}

func readNDJSON(r io.Reader, f *Format, c *collector) error {
	text := new(bytes.Reader)
	in := bufio.NewReader(text)
	d := newJSONList(f.Members, c)
	return EachLine(r, func(number int, line []byte) error {
		if line == nil {
			return c.reject(number, nil, tooLong)
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			return nil
		}
		restart := func() {
			text.Reset(line)
			in.Reset(text)
			d.scan = jsonScanner{in: in, text: d.scan.text}
		}
		// The whole line is checked first, so that nothing is taken of one that is wrong at its end.
		if restart(); !d.scan.isObject() {
			return c.reject(number, line, "is not a JSON object")
		}
		restart()
		d.number, d.line, d.isMetadata = number, line, false
		return d.entryObject(true)
	})
}
