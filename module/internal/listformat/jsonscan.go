package listformat

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxDepth is how deep arrays and objects of a document may be nested.
const maxDepth = 32

// jsonScanner reads a JSON document piece by piece, since encoding/json bounds neither the depth of
// a document nor the length of a string. It holds one string at a time, of at most MaxLine bytes.
type jsonScanner struct {
	in     *bufio.Reader
	offset int64 // of the next byte, for errors
	depth  int
	text   []byte // the last string or literal, as it is written
	plain  bool   // it needs no decoding
}

// jsonError says what is wrong with a document, as the rest of a sentence about it.
type jsonError struct{ text string }

func (e *jsonError) Error() string { return e.text }

var (
	errBreaksOff = &jsonError{"breaks off"}
	errTooDeep   = &jsonError{fmt.Sprintf("is nested deeper than %d levels", maxDepth)}
)

func (s *jsonScanner) wrong(why string) error {
	return &jsonError{fmt.Sprintf("is wrong at byte %d: %s", s.offset, why)}
}

func (s *jsonScanner) byte() (byte, error) {
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

func (s *jsonScanner) back() {
	_ = s.in.UnreadByte() // a byte was read just now
	s.offset--
}

func isJSONSpace(b byte) bool { return b == ' ' || b == '\t' || b == '\r' || b == '\n' }

// next returns the first byte that is not a space, without taking it.
func (s *jsonScanner) next() (byte, error) {
	for {
		switch b, err := s.byte(); {
		case err != nil:
			return 0, err
		case !isJSONSpace(b):
			s.back()
			return b, nil
		}
	}
}

// end reports whether nothing but spaces follows.
func (s *jsonScanner) end() (bool, error) {
	for {
		switch b, err := s.in.ReadByte(); {
		case errors.Is(err, io.EOF):
			return true, nil
		case err != nil:
			return false, err
		case !isJSONSpace(b):
			return false, nil
		}
	}
}

// array calls element before each element, which it must read.
func (s *jsonScanner) array(element func() error) error { return s.list('[', ']', element) }

// object calls member with each name, before the value, which it must read. The name is valid until
// the next read.
func (s *jsonScanner) object(member func(name []byte) error) error {
	return s.list('{', '}', func() error {
		name, isString, err := s.scalar()
		if err != nil {
			return err
		}
		if b, err := s.next(); err != nil {
			return err
		} else if !isString || b != ':' {
			return s.wrong("a name and a colon are expected")
		}
		_, _ = s.byte() // the colon
		return member(name)
	})
}

// list reads from the opening to the closing bracket.
func (s *jsonScanner) list(opening, closing byte, item func() error) error {
	if b, err := s.byte(); err != nil {
		return err
	} else if b != opening {
		return s.wrong("another value is expected")
	}
	if s.depth++; s.depth > maxDepth {
		return errTooDeep
	}
	defer func() { s.depth-- }()
	for first := true; ; first = false {
		b, err := s.next()
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
			if b, err := s.next(); err != nil {
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

// scalar reads a string, number, true, false or null. The value is a literal unless isString. It is
// valid until the next read.
func (s *jsonScanner) scalar() (value []byte, isString bool, err error) {
	first, err := s.next()
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
func (s *jsonScanner) read(isString bool) error {
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
		case len(s.text) == MaxLine:
			return &jsonError{fmt.Sprintf("has a string of more than 64 KiB at byte %d", s.offset)}
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
func (s *jsonScanner) readPlain() {
	buffered, _ := s.in.Peek(min(s.in.Buffered(), MaxLine-len(s.text)))
	n := 0
	for n < len(buffered) && buffered[n] != '"' && isPlain(buffered[n]) {
		n++
	}
	s.text = append(s.text, buffered[:n]...)
	_, _ = s.in.Discard(n) // they are buffered
	s.offset += int64(n)
}

// skip reads a value of any kind.
func (s *jsonScanner) skip() error {
	switch b, err := s.next(); {
	case err != nil:
		return err
	case b == '[':
		return s.array(s.skip)
	case b == '{':
		return s.object(func([]byte) error { return s.skip() })
	}
	_, _, err := s.scalar()
	return err
}

func newLineScanner(line []byte) *jsonScanner {
	return &jsonScanner{in: bufio.NewReader(bytes.NewReader(line))}
}

// isObject reports whether the document is an object, without an error.
func (s *jsonScanner) isObject() bool {
	if b, err := s.next(); err != nil || b != '{' || s.skip() != nil {
		return false
	}
	ended, err := s.end()
	return err == nil && ended
}
