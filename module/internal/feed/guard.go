package feed

import (
	"errors"
	"fmt"
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

// validate refuses content that is implausible.
func (l *list) validate(c received, loaded bool, before int) error {
	lines := c.lines
	good := lines + c.Skipped
	wrongShare := float64(c.Wrong) / float64(max(good+c.Wrong, 1))
	switch {
	case c.Wrong > 0 && good == 0, !l.spec.Own && c.Wrong > maxWrong && wrongShare > maxWrongShare:
		return refuse(ResultUnparsable, "%d of %d lines are wrong; %w", c.Wrong, good+c.Wrong,
			c.FirstWrong)
	case lines == 0 && !l.spec.AllowEmpty:
		return refuse(ResultEmpty, "the list is empty; if that is right, write `allow_empty` into the feed")
	case l.spec.kind() == KindURL && loaded && before >= minGuarded &&
		float64(lines) < float64(before)*(1-*l.spec.MaxShrink) && !l.copyRemoved():
		cure := "restart"
		if l.copyPath != "" {
			cure = fmt.Sprintf("remove %s and run `caddy ip-reputation refresh %s`", l.copyPath, l.spec.Name)
		}
		return refuse(ResultShrunk, "the list shrank from %d lines to %d; if that is right, %s; "+
			"`max_shrink` of a feed allows it for good", before, lines, cure)
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
