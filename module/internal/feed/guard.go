package feed

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/atomicfile"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/regularfile"
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

// A list that lost more than MaxShrink allows is refused: most often the publisher had a bad day. If it goes on
// bringing a list of that size, the list has really shrunk, and is believed.

const (
	shrunkSuffix = ".shrunk" // what was seen of a list that shrank
	maxShrunk    = 1 << 10

	// confirmTime is the shortest time between the first and the last fetch that make a list believed.
	confirmTime = 24 * time.Hour

	// acceptedShown is how long Status says that a list which shrank was believed.
	acceptedShown = 7 * 24 * time.Hour
)

// Shrunk is a list that lost more than it may, as it was fetched.
type Shrunk struct {
	Before int       `json:"before"` // lines of the list in force
	Lines  int       `json:"lines"`  // lines of the first such list
	Seen   int       `json:"seen"`   // fetches that brought a list of about that size
	Since  time.Time `json:"since"`  // the first of them

	At time.Time `json:"at,omitzero"` // when it was believed
}

// loses reports whether a list loses more than the share when its lines change from before to after.
func loses(before, after int, share float64) bool {
	return float64(after) < float64(before)*(1-share)
}

// seenAgain returns what was seen when a fetch brings one more such list. A list of quite another size, in force or
// fetched, begins anew: neither of both may lose more than the share to the other.
func (s Shrunk) seenAgain(before, lines int, share float64, now time.Time) Shrunk {
	if s.Before != before || loses(s.Lines, lines, share) || loses(lines, s.Lines, share) || s.Since.After(now) {
		return Shrunk{Before: before, Lines: lines, Seen: 1, Since: now.UTC().Truncate(time.Second)}
	}
	s.Seen++
	return s
}

// confirmed reports whether enough fetches have agreed, for long enough.
func (s Shrunk) confirmed(fetches int, now time.Time) bool {
	return fetches > 0 && s.Seen >= fetches && now.Sub(s.Since) >= confirmTime
}

// guardSize refuses a fetched list that lost more than it may, until it is confirmed or an operator accepts it. It
// reports whether the list shrank so much.
func (l *list) guardSize(c received, before int) (shrank bool, err error) {
	if before < minGuarded || !loses(before, c.lines, *l.spec.MaxShrink) || l.copyRemoved() {
		return false, nil
	}
	believed := false
	if c.direct {
		l.mu.Lock()
		l.st.shrunk = l.st.shrunk.seenAgain(before, c.lines, *l.spec.MaxShrink, c.confirmed)
		seen := l.st.shrunk
		believed = l.st.accepting || seen.confirmed(*l.spec.Confirm, c.confirmed)
		l.mu.Unlock()
		l.storeShrunk(seen)
	}
	if believed {
		return true, nil
	}
	return true, refuse(ResultShrunk, "the list shrank from %d lines to %d: %s "+
		"`caddy ip-reputation refresh %s --accept`; `max_shrink` allows it for good",
		before, c.lines, l.awaits(), l.spec.Name)
}

// accepts reports whether an operator believes what the next fetch brings.
func (l *list) accepts() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.st.accepting
}

// awaits says what makes a list that shrank believed, before the command that does.
func (l *list) awaits() string {
	if *l.spec.Confirm == 0 {
		return "if that is right,"
	}
	return fmt.Sprintf("it is believed once %d fetches over a day or more agree, or at once by", *l.spec.Confirm)
}

// logShrunk logs that a list which shrank is believed, and keeps it for Status.
func (l *list) logShrunk(before, lines int) {
	l.mu.Lock()
	seen, accepted := l.st.shrunk, l.st.accepting
	l.st.accepted = &Shrunk{Before: before, Lines: lines, Seen: seen.Seen, Since: seen.Since, At: time.Now()}
	l.mu.Unlock()
	why := fmt.Sprintf("%d fetches agree", seen.Seen)
	if accepted {
		why = "an operator accepted it"
	}
	l.set.logger.Warn("a list that shrank is believed", "feed", l.spec.Name, "before", before, "lines", lines,
		"why", why, "since", seen.Since)
}

// storeShrunk writes what was seen of a list that shrank, so that a restart does not begin anew.
func (l *list) storeShrunk(s Shrunk) {
	if l.shrunkPath == "" || !l.set.writes.Load() {
		return
	}
	text, err := json.Marshal(storedShrunk{l.fingerprint, s})
	if err == nil {
		err = atomicfile.WriteBytes(l.shrunkPath, append(text, '\n'))
	}
	if err != nil {
		l.set.logger.Warn("how often a list that shrank was fetched cannot be written to disk, so that a restart counts anew",
			"feed", l.spec.Name, "error", err)
	}
}

type storedShrunk struct {
	Spec string `json:"spec"` // fingerprint
	Shrunk
}

// loadShrunk reads what storeShrunk wrote. What belongs to another list, or to another clock, is not taken.
func (l *list) loadShrunk(now time.Time) {
	text, err := regularfile.Read(l.shrunkPath, maxShrunk)
	if err != nil {
		return
	}
	var s storedShrunk
	if json.Unmarshal(text, &s) == nil && s.Spec == l.fingerprint && s.Before == l.st.header.lines &&
		!s.Since.After(now) && s.Seen > 0 && s.Lines >= 0 {
		l.st.shrunk = s.Shrunk
	}
}

// forgetShrunk is for when a good list came: the next one that shrinks is counted anew. mu must be held.
func (l *list) forgetShrunk() {
	if l.st.shrunk == (Shrunk{}) {
		return
	}
	l.st.shrunk = Shrunk{}
	if l.shrunkPath != "" && l.set.writes.Load() {
		removeFile(l.shrunkPath)
	}
}
