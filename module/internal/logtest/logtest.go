// Package logtest provides a log that tests can read.
package logtest

import (
	"bytes"
	"log/slog"
	"strconv"
	"strings"
	"sync"
)

// Log stores what is written to it. The zero value is ready, and it is safe for concurrent use.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String returns what was written.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Take returns what was written since the last Take, and clears it.
func (l *Log) Take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}

// Lines returns the entries that contain a text.
func (l *Log) Lines(with string) (list []string) {
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, with) {
			list = append(list, strings.TrimSuffix(line, "\n"))
		}
	}
	return list
}

// Value returns the value of an attribute in an entry of the logger, or "".
func Value(entry, name string) string {
	_, value, _ := strings.Cut(entry, " "+name+"=")
	if quoted, err := strconv.QuotedPrefix(value); err == nil {
		value, _ = strconv.Unquote(quoted)
		return value
	}
	value, _, _ = strings.Cut(value, " ")
	return value
}

// Logger returns a logger that writes to it, a line for each entry.
func (l *Log) Logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
