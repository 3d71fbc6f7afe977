package listformat

import (
	"bufio"
	"errors"
	"io"
)

// JSONReader reads a JSON document value by value, with the same bounds as a list: encoding/json
// bounds neither the depth of a document nor the length of a string.
type JSONReader struct{ scan jsonScanner }

// NewJSONReader returns a reader of the document in r.
func NewJSONReader(r io.Reader) *JSONReader {
	return &JSONReader{jsonScanner{in: bufio.NewReaderSize(r, MaxLine)}}
}

// Peek returns the first byte of the next value: '{' of an object, '[' of an array, 'n' of null.
func (r *JSONReader) Peek() (byte, error) { return r.scan.next() }

// Array calls element before each element of an array, which it must read.
func (r *JSONReader) Array(element func() error) error { return r.scan.array(element) }

// Object calls member with the name of each member of an object, before its value, which it must
// read. The name is valid until the next read.
func (r *JSONReader) Object(member func(name []byte) error) error { return r.scan.object(member) }

// Scalar reads a string, number, true, false or null. The value is a literal unless isString. It is
// valid until the next read.
func (r *JSONReader) Scalar() (value []byte, isString bool, err error) { return r.scan.scalar() }

// Skip reads a value of any kind.
func (r *JSONReader) Skip() error { return r.scan.skip() }

// End returns an error unless nothing but spaces follows.
func (r *JSONReader) End() error {
	ended, err := r.scan.end()
	if err == nil && !ended {
		err = &jsonError{"is followed by something else"}
	}
	return err
}

// IsWrongJSON reports whether an error of a JSONReader is about the document, as the rest of a
// sentence about it, and not about reading.
func IsWrongJSON(err error) bool {
	var wrong *jsonError
	return errors.As(err, &wrong)
}
