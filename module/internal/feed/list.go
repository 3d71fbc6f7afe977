package feed

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/iplist"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/listformat"
)

// list is one list and its refreshes.
type list struct {
	set         *Set
	number      int // index in a Snapshot
	spec        Spec
	fingerprint string
	copyPath    string // "" if there is no copy on disk: values need none
	waitPath    string // the file that stores throttledUntil

	turn chan struct{} // a lock that is held while refreshing
	wake chan struct{} // see signal

	pushed *pushed // nil unless the list is pushed

	mu sync.Mutex
	st state
}

// state is written by the goroutine that holds the list's turn. A
// rebuild sets pending to nil, nothing else does.
type state struct {
	loaded   bool
	header   copyHeader // of the last good list
	ignored  int
	first    error          // what is wrong with the first ignored line
	pending  *iplist.Ranges // the last good list, until a snapshot holds it
	stored   bool           // the last good list is on disk
	storeErr error
	read     readFile

	lastSuccess time.Time
	lastAttempt time.Time
	lastResult  Result
	lastErr     error
	failures    int
	next        time.Time // when the next refresh is due

	throttledUntil time.Time // the publisher asked for no request before
}

func newList(set *Set, number int, spec Spec) *list {
	return &list{
		set:         set,
		number:      number,
		spec:        spec,
		fingerprint: spec.fingerprint(),
		turn:        make(chan struct{}, 1),
		wake:        make(chan struct{}, 1),
	}
}

// open loads the list without a request. It writes nothing to disk: the files belong to the Set
// that runs until this configuration is accepted.
func (l *list) open(dir string) {
	now := time.Now()
	switch l.spec.kind() {
	case KindValues:
		ranges := iplist.NewRanges(slices.Clone(l.spec.Values))
		sum, entries := digest(ranges)
		l.st.loaded, l.st.pending, l.st.lastSuccess = true, &ranges, now
		l.st.header = copyHeader{lines: len(l.spec.Values), entries: entries, sum: sum, fetched: now}
	case KindFile:
		l.openFile(dir, now)
	case KindPushed:
		if l.pushed = new(pushed); dir != "" {
			l.copyPath = filepath.Join(dir, l.spec.Name+pushedSuffix)
		}
		l.openPushed()
	case KindURL:
		if dir != "" {
			l.copyPath = filepath.Join(dir, l.spec.Name+copySuffix)
			l.waitPath = filepath.Join(dir, l.spec.Name+waitSuffix)
		}
		l.openCopy(now)
	}
}

func (l *list) openCopy(now time.Time) {
	l.st.next = now.Add(rand.N(startSpread))
	if l.copyPath == "" {
		return
	}
	h, ranges, confirmed, err := loadCopy(l.copyPath, l.fingerprint)
	switch {
	case err == nil:
		if confirmed.After(now) { // the clock was wrong: refresh now instead of waiting for that time
			confirmed = time.Time{}
		} else if due := confirmed.Add(l.jitteredRefresh()); due.After(l.st.next) {
			l.st.next = due
		}
		l.st.loaded, l.st.header, l.st.pending = true, h, &ranges
		l.st.stored, l.st.lastSuccess = true, confirmed
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errForeign):
	default:
		l.set.logger.Warn("the copy of a list cannot be read; the list is fetched anew",
			"feed", l.spec.Name, "file", l.copyPath, "error", err)
	}
	if until := loadWait(l.waitPath, l.fingerprint, now); until.After(l.st.next) {
		l.st.next, l.st.throttledUntil = until, until
	}
}

// refresh makes one attempt to refresh the list, unless check returns an error. After a change it
// requests a rebuild, and returns a channel that is closed once the snapshot has the change.
func (l *list) refresh(
	ctx context.Context, check func(l *list, now time.Time) error,
) (shown <-chan struct{}, err error) {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("refreshing %s: %w", l.spec.Name, ctx.Err())
	}
	now := time.Now()
	l.mu.Lock()
	if err = check(l, now); err == nil {
		l.st.lastAttempt = now
	}
	l.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("refreshing %s: %w", l.spec.Name, err)
	}
	result, err := l.attempt(ctx)
	if err != nil && ctx.Err() != nil {
		// The caller has cancelled, or the Set is closing: the publisher did not fail.
		return nil, fmt.Errorf("refreshing %s: %w", l.spec.Name, ctx.Err())
	}
	l.recordAttempt(result, err)
	l.set.observe(l.spec.Name, result)
	if l.spec.kind() == KindURL {
		l.signal() // the next refresh may now be due earlier
	}
	if err != nil {
		return nil, fmt.Errorf("refreshing %s: %w", l.spec.Name, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.st.pending != nil {
		shown = l.set.builder.request()
	}
	return shown, nil
}

// attempt reads the list again. A panic, such as a malformed document
// may cause, counts as a failed attempt.
func (l *list) attempt(ctx context.Context) (result Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			result, err = ResultError, fmt.Errorf("panic: %v", p)
		}
	}()
	l.mu.Lock()
	known, lines := l.st.header.parts, l.st.header.lines // zero without a good list
	l.mu.Unlock()
	var c *listformat.List
	var parts []validators
	if l.spec.kind() == KindFile {
		var read readFile
		c, read, err = l.readFile(false)
		l.mu.Lock()
		l.st.read = read
		l.mu.Unlock()
	} else {
		c, parts, err = l.set.fetcher.fetch(ctx, &l.spec, known, lines)
		if err == nil && c == nil {
			return l.confirm(), nil
		}
	}
	if err != nil {
		return classify(err), err
	}
	if result, err = l.accept(c, parts); err != nil {
		err = fmt.Errorf("%s: %w", l.spec.origin(), err)
	}
	return result, err
}

// confirm handles the answer that the list has not changed.
func (l *list) confirm() Result {
	l.mu.Lock()
	h := l.st.header
	l.mu.Unlock()
	return l.storeCopy(&h, l.ranges, ResultUnchanged)
}

// ranges returns the last good list.
func (l *list) ranges() iplist.Ranges {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.st.pending != nil {
		return *l.st.pending
	}
	return l.set.Current().Index.Lists()[l.number]
}

// accept makes c the last good list, to be published by the next
// snapshot, or returns why it is refused.
func (l *list) accept(c *listformat.List, parts []validators) (Result, error) {
	l.mu.Lock()
	loaded, old := l.st.loaded, l.st.header
	l.mu.Unlock()
	if err := l.validate(c, loaded, old.lines); err != nil {
		return classify(err), err
	}
	h := copyHeader{
		name: l.spec.Name, source: l.spec.origin(), spec: l.fingerprint,
		fetched: time.Now(), lines: len(c.Prefixes), parts: parts,
	}
	ranges := iplist.NewRanges(c.Prefixes)
	if !l.spec.Own {
		ranges = ranges.Without(reserved)
	}
	h.sum, h.entries = digest(ranges)
	if h.entries == 0 && !l.spec.AllowEmpty {
		return ResultEmpty, refuse(ResultEmpty, "the list holds reserved addresses only")
	}
	result := ResultOK
	if loaded && old.sum == h.sum {
		result, h.fetched = ResultUnchanged, old.fetched
	}
	result = l.storeCopy(&h, func() iplist.Ranges { return ranges }, result)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.st.loaded, l.st.header, l.st.ignored, l.st.first = true, h, c.Wrong, c.FirstWrong
	if l.spec.Own && c.Wrong > 0 {
		l.set.logger.Error("wrong lines of your own list are not in force",
			"feed", l.spec.Name, "file", l.spec.File,
			"ignored", c.Wrong, "first_ignored", c.FirstWrong)
	}
	if !loaded || old.sum != h.sum {
		l.st.pending = &ranges
		l.set.logger.Info("list in force",
			"feed", l.spec.Name, "entries", h.entries, "lines", h.lines,
			"ignored", c.Wrong, "first_ignored", c.FirstWrong)
	}
	return result, nil
}

// storeCopy writes the list that h describes to disk, confirmed now. An unchanged list is written
// again only if its copy was removed, damaged or replaced. It returns the given result, or
// ResultNotStored if writing fails.
func (l *list) storeCopy(h *copyHeader, ranges func() iplist.Ranges, result Result) Result {
	if l.copyPath == "" || !l.set.writes.Load() {
		return result
	}
	now := time.Now()
	var err error
	if result != ResultUnchanged || !confirmCopy(l.copyPath, h, now) {
		err = saveCopy(l.copyPath, h, ranges(), now)
	}
	if l.recordStored(err); err != nil {
		return ResultNotStored
	}
	return result
}

// recordStored records whether the copy on disk could be written, and logs if it could not.
func (l *list) recordStored(err error) {
	l.mu.Lock()
	l.st.stored, l.st.storeErr = err == nil, err
	l.mu.Unlock()
	if err != nil {
		l.set.logger.Warn("a list cannot be written to disk; it stays in memory",
			"feed", l.spec.Name, "error", err)
	}
}
