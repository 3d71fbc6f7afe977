package feed

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	pollInterval = 10 * time.Second       // where the system gives no notice, such as on network file systems
	quietTime    = 100 * time.Millisecond // without an event, after which a file is taken to be written
	noisyTime    = time.Second            // after which it is read although the events go on

	// racyTime is the age below which a file that is written again may keep its modification time, which file systems
	// and kernels round.
	racyTime = 50 * time.Millisecond
)

// readFile says which state of a file was read. The zero value stands for none.
type readFile struct {
	info fs.FileInfo
	racy bool
}

// same reports whether the file at path is still as it was read.
func (r readFile) same(path string) bool {
	info, err := os.Stat(path)
	return err == nil && r.info != nil && !r.racy && os.SameFile(info, r.info) &&
		info.Size() == r.info.Size() && info.ModTime().Equal(r.info.ModTime())
}

// readFile reads the local file. Its errors name it, and the line.
func (l *list) readFile() (*content, readFile, error) {
	f, err := os.Open(l.spec.File)
	if err != nil {
		return nil, readFile{}, err // names the file
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, readFile{}, err
	}
	if !info.Mode().IsRegular() {
		return nil, readFile{}, fmt.Errorf("%s is not a regular file: name a file with one address or CIDR a line", l.spec.File)
	}
	read := readFile{info: info, racy: time.Since(info.ModTime()) < racyTime}
	const usualLine = 14 // bytes
	c := newContent(&l.spec, min(info.Size(), l.spec.MaxBytes)/usualLine+1)
	l.mu.Lock()
	c.strict = l.spec.Own && !l.st.loaded
	l.mu.Unlock()
	if err := readGuarded(limit(f, l.spec.MaxBytes), c); err != nil {
		return nil, read, &failure{result: classify(err), err: fmt.Errorf("%s: %w", l.spec.File, err)}
	}
	return c, read, nil
}

// refreshOnChange reads the file again whenever it has changed, until the Set is closed.
func (l *list) refreshOnChange() {
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
		// What failed may be cured without a trace in the file, by its permissions for one.
		if !read.same(l.spec.File) || polled && failed {
			_, _ = l.refresh(l.set.ctx, (*list).always) // noted where it happened
		}
	}
}

// awaitQuiet waits until whoever writes the file seems to be done.
func (l *list) awaitQuiet() {
	enough := time.NewTimer(noisyTime)
	defer enough.Stop()
	quiet := time.NewTimer(quietTime)
	defer quiet.Stop()
	for {
		select {
		case <-l.wake:
			quiet.Reset(quietTime)
		case <-quiet.C:
			return
		case <-enough.C:
			return
		case <-l.set.ctx.Done():
			return
		}
	}
}

// watcher wakes the lists whose directory something happened in. Directories are watched, not files: a file that is
// replaced takes its watch with it, and a mounted Kubernetes volume changes by a symbolic link beside the file.
type watcher struct {
	events *fsnotify.Watcher // nil where the system offers none
	logger *slog.Logger
	lists  map[string][]*list
}

func newWatcher(logger *slog.Logger) *watcher {
	w := &watcher{logger: logger, lists: make(map[string][]*list)}
	events, err := fsnotify.NewWatcher()
	if err != nil {
		logger.Warn("changes of files are noticed by looking from time to time only", "every", pollInterval, "error", err)
		return w
	}
	w.events = events
	return w
}

// add must not be called any more once run is.
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
			w.logger.Warn("changes of a file are noticed by looking from time to time only", "every", pollInterval, "feed", l.spec.Name, "directory", dir, "error", err)
			continue
		}
		w.lists[dir] = append(w.lists[dir], l)
	}
	l.poke() // it may have changed since it was read
}

// run passes events on until ctx ends.
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
				l.poke()
			}
		case err, ok := <-w.events.Errors:
			if !ok {
				return
			}
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				w.pokeAll() // which directory it was about is lost
				continue
			}
			w.logger.Warn("watching files", "error", err)
		}
	}
}

func (w *watcher) pokeAll() {
	for _, lists := range w.lists {
		for _, l := range lists {
			l.poke()
		}
	}
}
