package feed

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"
)

// A local file has a copy on disk too. It is in force after a start at which the file is missing, or
// nothing in it can be used: to refuse the start would leave the sites without a server.

// CheckFile returns an error if the local file of a spec cannot be read or parsed, and for one wrong
// line of an own list. Open is not as strict: CheckFile is for when somebody waits for the answer.
// For other specs it does nothing.
func CheckFile(s Spec) error {
	s, err := s.complete()
	if err != nil || s.File == "" {
		return err
	}
	l := newList(nil, 0, s)
	c, _, err := l.readFile(true)
	if err == nil {
		if err = l.validate(receivedNow(c, nil)); err != nil {
			err = fmt.Errorf("%s: %w", s.File, err)
		}
	}
	if err != nil {
		return fmt.Errorf("list %s: %w", s.Name, err)
	}
	return nil
}

// openFile reads the local file, or else its copy.
func (l *list) openFile(dir string, now time.Time) {
	l.st.lastAttempt = now
	c, read, err := l.readFile(false)
	l.st.read = read
	if err == nil {
		_, _, err = l.acceptNow(c, read.parts(c)) // it stores nothing, without a copyPath
	}
	if dir != "" {
		l.copyPath = filepath.Join(dir, l.spec.Name+copySuffix)
	}
	if err == nil {
		l.st.lastSuccess = now
		return
	}
	l.st.failures, l.st.lastResult, l.st.lastErr = 1, classify(err), err
	const cure = "mend the file, which acts at once; `caddy validate` checks it"
	attributes := []any{"feed", l.spec.Name, "file", l.spec.File, "error", err, "cure", cure}
	if l.openFileCopy(now) {
		l.set.logger.Error("the file of a list cannot be used; its copy is in force", attributes...)
	} else {
		l.set.logger.Error("the file of a list cannot be used, and there is no copy: the list is empty", attributes...)
	}
}

// openFileCopy makes the copy of a file the list, and reports whether there is one.
func (l *list) openFileCopy(now time.Time) bool {
	if l.copyPath == "" {
		return false
	}
	h, read, confirmed, err := loadCopy(l.copyPath, l.fingerprint)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errForeign) {
			l.set.logger.Warn("the copy of a list cannot be read", "feed", l.spec.Name, "file", l.copyPath, "error", err)
		}
		return false
	}
	if confirmed.After(now) { // the clock was wrong
		confirmed = time.Time{}
	}
	l.st.loaded, l.st.header, l.st.pending = true, h, read
	l.st.stored, l.st.lastSuccess = true, confirmed
	return true
}

// storeFile writes the copy of a file that was read at the start. Open itself writes nothing.
func (l *list) storeFile() {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	l.mu.Lock()
	good := l.st.loaded && l.st.lastErr == nil
	l.mu.Unlock()
	if good {
		l.confirm(time.Now())
	}
}
