package feed

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/regularfile"
)

const (
	pollInterval = 10 * time.Second       // for file systems without notifications, such as NFS
	quietTime    = 100 * time.Millisecond // after this time without an event, a file counts as complete
	maxQuietWait = time.Second            // after this time, a file is read even if events go on

	// mtimeResolution is how coarse modification times may be: a file that is younger may change
	// again without a new modification time.
	mtimeResolution = 50 * time.Millisecond
)

// readFile identifies the version of a file that was read. The zero value means that none was.
type readFile struct {
	info fs.FileInfo
	racy bool // it was so young that a later change may not show in its modification time
}

// parts returns the date of the file: the one found in it, or else when it was modified.
func (r readFile) parts(c *content) []validators {
	now := time.Now()
	date := credible(c.Published, now)
	if date.IsZero() {
		date = credible(r.info.ModTime(), now)
	}
	return []validators{{Published: date}}
}

// same reports whether the file at path is still as it was read.
func (r readFile) same(path string) bool {
	info, err := os.Stat(path)
	return err == nil && r.info != nil && !r.racy && os.SameFile(info, r.info) &&
		info.Size() == r.info.Size() && info.ModTime().Equal(r.info.ModTime())
}

// readFile reads the local file. Errors name the file, and the line if there is one. With strict, the
// first wrong line of an own list is an error.
func (l *list) readFile(strict bool) (*content, readFile, error) {
	f, info, err := regularfile.Open(l.spec.File, math.MaxInt64) // the unpacker has the bound
	if errors.Is(err, regularfile.ErrNotRegular) {
		return nil, readFile{}, fmt.Errorf("%w: name a file with one entry a line", err)
	}
	if err != nil {
		return nil, readFile{}, err // names the file
	}
	defer f.Close()
	read := readFile{info: info, racy: time.Since(info.ModTime()) < mtimeResolution}
	all := l.spec.newContent()
	unpacker := l.spec.unpacker()
	body, err := unpacker.Open(f)
	if err == nil {
		err = l.spec.read(body, strict && l.spec.Own, all)
	}
	if err != nil {
		return nil, read, &failure{result: classify(err), err: fmt.Errorf("%s: %w", l.spec.File, err)}
	}
	return all, read, nil
}

// refreshOnChange reads the file again whenever it has changed, until the Set is closed.
func (l *list) refreshOnChange() {
	l.storeFile()
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	for {
		polled := false
		select {
		case <-l.set.ctx.Done():
			return
		case <-poll.C:
			polled = true
		case <-l.wake:
			l.awaitQuiet()
		}
		l.mu.Lock()
		read, failed := l.st.read, l.st.lastErr != nil
		l.mu.Unlock()
		// After a failure, each poll reads the file: changed permissions, for example, do not
		// change its modification time.
		if !read.same(l.spec.File) || polled && failed {
			_, _ = l.refresh(l.set.ctx, (*list).always) // recordAttempt has logged it
		}
	}
}

// awaitQuiet waits until no events have come for quietTime, so that the file is probably complete.
func (l *list) awaitQuiet() {
	latest := time.NewTimer(maxQuietWait)
	defer latest.Stop()
	quiet := time.NewTimer(quietTime)
	defer quiet.Stop()
	for {
		select {
		case <-l.wake:
			quiet.Reset(quietTime)
		case <-quiet.C:
			return
		case <-latest.C:
			return
		case <-l.set.ctx.Done():
			return
		}
	}
}

// watcher wakes a list when its directory changes. It watches directories instead of files, since
// the watch of a file ends when the file is replaced, and since a mounted Kubernetes volume changes
// by a symbolic link beside the file.
type watcher struct {
	events *fsnotify.Watcher // nil if the system has no notifications
	logger *slog.Logger
	lists  map[string][]*list
}

func newWatcher(logger *slog.Logger) *watcher {
	w := &watcher{logger: logger, lists: make(map[string][]*list)}
	events, err := fsnotify.NewWatcher()
	if err != nil {
		logger.Warn("changes of files are noticed by looking from time to time only",
			"every", pollInterval, "error", err)
		return w
	}
	w.events = events
	return w
}

// add watches the directory of a list. It must not be called after run.
func (w *watcher) add(l *list) {
	if w.events == nil {
		return
	}
	dirs := []string{filepath.Dir(l.spec.File)}
	if target, err := filepath.EvalSymlinks(l.spec.File); err == nil && filepath.Dir(target) != dirs[0] {
		dirs = append(dirs, filepath.Dir(target))
	}
	for _, dir := range dirs {
		if err := w.events.Add(dir); err != nil {
			w.logger.Warn("changes of a file are noticed by looking from time to time only",
				"every", pollInterval, "feed", l.spec.Name, "directory", dir, "error", err)
			continue
		}
		w.lists[dir] = append(w.lists[dir], l)
	}
	l.signal() // it may have changed since it was read
}

// run wakes the lists of changed directories until ctx ends.
func (w *watcher) run(ctx context.Context) {
	if w.events == nil {
		return
	}
	defer w.events.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case event, ok := <-w.events.Events:
			if !ok {
				return
			}
			for _, l := range w.lists[filepath.Dir(event.Name)] {
				l.signal()
			}
		case err, ok := <-w.events.Errors:
			if !ok {
				return
			}
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				w.signalAll() // the directory of a lost event is unknown
				continue
			}
			w.logger.Warn("watching files", "error", err)
		}
	}
}

func (w *watcher) signalAll() {
	for _, lists := range w.lists {
		for _, l := range lists {
			l.signal()
		}
	}
}
