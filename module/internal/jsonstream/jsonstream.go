// Package jsonstream reads a JSON document value by value, since encoding/json bounds neither the depth
// of a document nor the length of a string.
package jsonstream

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// MaxDepth is how deep arrays and objects of a document may be nested.
const MaxDepth = 32

// maxString is the largest size of a string or literal, in bytes, as it is written.
const maxString = 64 << 10

// Reader reads one document. It holds one string at a time. A Reader without Reset reads nothing.
type Reader struct {
	in     *bufio.Reader
	offset int64 // of the next byte, for errors
	depth  int
	text   []byte // the last string or literal, as it is written
	plain  bool   // it needs no decoding
}

// New returns a reader of the document in r.
func New(r io.Reader) *Reader { return &Reader{in: bufio.NewReaderSize(r, maxString)} }

// Reset begins the document that in holds.
func (s *Reader) Reset(in *bufio.Reader) { *s = Reader{in: in, text: s.text} }

// Error says what is wrong with a document, as the rest of a sentence about it. Other errors are those
// of reading.
type Error struct{ text string }

// Error implements error.
func (e *Error) Error() string { return e.text }

// ErrMore means that something follows the document.
var ErrMore = &Error{"is followed by something else"}

var (
	errBreaksOff = &Error{"breaks off"}
	errTooDeep   = &Error{fmt.Sprintf("is nested deeper than %d levels", MaxDepth)}
)

func (s *Reader) wrong(why string) error {
	return &Error{fmt.Sprintf("is wrong at byte %d: %s", s.offset, why)}
}

func (s *Reader) byte() (byte, error) {
	b, err := s.in.ReadByte()
	if err == nil {
		s.offset++
		return b, nil
	}
	if errors.Is(err, io.EOF) {
		err = errBreaksOff
	}
	return 0, err
}

func (s *Reader) back() {
	_ = s.in.UnreadByte() // a byte was read just now
	s.offset--
}

func isSpace(b byte) bool { return b == ' ' || b == '\t' || b == '\r' || b == '\n' }

// Peek returns the first byte of the next value: '{' of an object, '[' of an array, 'n' of null.
func (s *Reader) Peek() (byte, error) {
	for {
		switch b, err := s.byte(); {
		case err != nil:
			return 0, err
		case !isSpace(b):
			s.back()
			return b, nil
		}
	}
}

// End returns ErrMore unless nothing but spaces follows.
func (s *Reader) End() error {
	for {
		switch b, err := s.in.ReadByte(); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case !isSpace(b):
			return ErrMore
		}
	}
}

// Array calls element before each element of an array, which it must read.
func (s *Reader) Array(element func() error) error { return s.list('[', ']', element) }

// Object calls member with the name of each member of an object, before its value, which it must read.
// The name is valid until the next read.
func (s *Reader) Object(member func(name []byte) error) error {
	return s.list('{', '}', func() error {
		name, isString, err := s.Scalar()
		if err != nil {
			return err
		}
		if b, err := s.Peek(); err != nil {
			return err
		} else if !isString || b != ':' {
			return s.wrong("a name and a colon are expected")
		}
		_, _ = s.byte() // the colon
		return member(name)
	})
}

// list reads from the opening to the closing bracket.
func (s *Reader) list(opening, closing byte, item func() error) error {
	if b, err := s.byte(); err != nil {
		return err
	} else if b != opening {
		return s.wrong("another value is expected")
	}
	if s.depth++; s.depth > MaxDepth {
		return errTooDeep
	}
	defer func() { s.depth-- }()
	for first := true; ; first = false {
		b, err := s.Peek()
		if err != nil {
			return err
		}
		switch {
		case b == closing:
			_, _ = s.byte()
			return nil
		case first:
		case b != ',':
			return s.wrong("a comma or the end is expected")
		default:
			_, _ = s.byte()
			if b, err := s.Peek(); err != nil {
				return err
			} else if b == closing {
				return s.wrong("a value is expected behind the comma")
			}
		}
		if err := item(); err != nil {
			return err
		}
	}
}

// Scalar reads a string, number, true, false or null. The value is a literal unless isString. It is
// valid until the next read.
func (s *Reader) Scalar() (value []byte, isString bool, err error) {
	first, err := s.Peek()
	if err != nil {
		return nil, false, err
	}
	isString = first == '"'
	if err := s.read(isString); err != nil {
		return nil, isString, err
	}
	if !isString {
		if !json.Valid(s.text) {
			return nil, false, s.wrong("neither a string, a number, true, false nor null")
		}
		return s.text, false, nil
	}
	if s.plain {
		return s.text[1 : len(s.text)-1], true, nil
	}
	var decoded string
	if err := json.Unmarshal(s.text, &decoded); err != nil {
		return nil, true, s.wrong(err.Error())
	}
	return []byte(decoded), true, nil
}

// read reads one string or literal into s.text.
func (s *Reader) read(isString bool) error {
	s.text, s.plain = s.text[:0], true
	for escaped := false; ; {
		b, err := s.byte()
		if err != nil {
			return err
		}
		switch {
		case isString && b == '"' && !escaped && len(s.text) > 0:
			s.text = append(s.text, b)
			return nil
		case !isString && bytes.IndexByte([]byte(",:]} \t\r\n"), b) >= 0:
			s.back()
			return nil
		case len(s.text) == maxString:
			return &Error{fmt.Sprintf("has a string of more than 64 KiB at byte %d", s.offset)}
		}
		s.text = append(s.text, b)
		s.plain = s.plain && isPlain(b)
		escaped = b == '\\' && !escaped
		if isString && !escaped {
			s.readPlain()
		}
	}
}

// isPlain reports whether a byte of a string stands for itself. The quote ends the string.
func isPlain(b byte) bool { return b >= ' ' && b < 0x7f && b != '\\' }

// readPlain reads the plain bytes of a string that are buffered already, all at once.
func (s *Reader) readPlain() {
	buffered, _ := s.in.Peek(min(s.in.Buffered(), maxString-len(s.text)))
	n := 0
	for n < len(buffered) && buffered[n] != '"' && isPlain(buffered[n]) {
		n++
	}
	s.text = append(s.text, buffered[:n]...)
	_, _ = s.in.Discard(n) // they are buffered
	s.offset += int64(n)
}

// Skip reads a value of any kind.
func (s *Reader) Skip() error {
	switch b, err := s.Peek(); {
	case err != nil:
		return err
	case b == '[':
		return s.Array(s.Skip)
	case b == '{':
		return s.Object(func([]byte) error { return s.Skip() })
	}
	_, _, err := s.Scalar()
	return err
}

// IsObject reports whether the document is an object, without an error.
func (s *Reader) IsObject() bool {
	if b, err := s.Peek(); err != nil || b != '{' || s.Skip() != nil {
		return false
	}
	return s.End() == nil
}
