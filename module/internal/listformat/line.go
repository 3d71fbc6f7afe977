package listformat

import (
	"bufio"
	"errors"
	"io"
)

// MaxLine is the length, in bytes, above which a line is wrong.
const MaxLine = 64 << 10

// EachLine calls f with every line of r and its number, from 1. The line is without its line break
// and valid during the call only. It is nil if it is longer than MaxLine.
func EachLine(r io.Reader, f func(number int, line []byte) error) error {
	lines := bufio.NewReaderSize(r, MaxLine)
	for number := 1; ; number++ {
		line, err := lines.ReadSlice('\n')
		long := false
		for errors.Is(err, bufio.ErrBufferFull) {
			long = true
			_, err = lines.ReadSlice('\n')
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if long {
			line = nil
		} else if line == nil {
			line = []byte{}
		}
		if n := len(line); n > 0 && line[n-1] == '\n' {
			line = line[:n-1]
		}
		if n := len(line); n > 0 && line[n-1] == '\r' {
			line = line[:n-1]
		}
		if err != nil && !long && len(line) == 0 {
			return nil
		}
		if err2 := f(number, line); err2 != nil {
			return err2
		}
		if err != nil {
			return nil //nolint:nilerr // it is the end of the list
		}
	}
}
