package feed

import (
	"errors"
	"io/fs"
	"os"
)

const (
	// A list with more wrong lines than both of these is refused: its format has probably changed.
	maxWrong      = 5
	maxWrongShare = 0.1

	// minGuarded is the number of lines from which on MaxShrink applies.
	minGuarded = 10
)

// validate refuses content that is implausible by itself.
func (l *list) validate(c received) error {
	lines := c.lines
	good := lines + c.Skipped
	wrongShare := float64(c.Wrong) / float64(max(good+c.Wrong, 1))
	switch {
	case c.Wrong > 0 && good == 0, !l.spec.Own && c.Wrong > maxWrong && wrongShare > maxWrongShare:
		return refuse(ResultUnparsable, "%d of %d lines are wrong; %w", c.Wrong, good+c.Wrong,
			c.FirstWrong)
	case lines == 0 && !l.spec.AllowEmpty:
		return refuse(ResultEmpty, "the list is empty; if that is right, write `allow_empty` into the feed")
	}
	return nil
}

// copyRemoved reports whether an operator has removed the copy on disk, and with it what a list is
// compared with.
func (l *list) copyRemoved() bool {
	l.mu.Lock()
	stored := l.st.stored
	l.mu.Unlock()
	if !stored || l.copyPath == "" {
		return false
	}
	_, err := os.Stat(l.copyPath)
	return errors.Is(err, fs.ErrNotExist)
}
