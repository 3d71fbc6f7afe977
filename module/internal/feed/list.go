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
)

const (
	// A list may hold a few wrong lines: above both of these it is not what it was.
	tolerableWrong      = 5
	tolerableWrongShare = 0.1

	// shrinkable is the number of lines below which a list may lose any number of them.
	shrinkable = 10

	// manualFloor is how often a publisher is asked when an operator insists.
	manualFloor = time.Minute

	// The least time, and number of refreshes, without a success until a list is stale.
	leastPatience    = 24 * time.Hour
	patientRefreshes = 3

	firstBackoff = time.Minute
	startSpread  = 2 * time.Second
)

// list keeps one list current.
type list struct {
	set         *Set
	number      int // in the snapshots
	spec        Spec
	fingerprint string
	copyPath    string // "" when nothing is kept on disk: local files and values are there anyway
	waitPath    string

	turn chan struct{} // held while refreshing
	wake chan struct{} // something happened that may make a refresh due

	pushed *pushed // of a list that is pushed; nil for others

	mu sync.Mutex
	st state
}

// state is written by the holder of the list's turn; a rebuild takes pending away.
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
	next        time.Time
	leaveAlone  time.Time
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

// open brings the list to where it was, without calling out. It writes nothing: what is on disk may belong to a Set that
// goes on running because the configuration that this one is for is refused.
func (l *list) open(dir string) error {
	now := time.Now()
	switch l.spec.kind() {
	case KindValues:
		ranges := iplist.NewRanges(slices.Clone(l.spec.Values))
		sum, entries := digest(ranges)
		l.st.loaded, l.st.pending, l.st.lastSuccess = true, &ranges, now
		l.st.header = copyHeader{lines: len(l.spec.Values), entries: entries, sum: sum, fetched: now}
	case KindFile:
		l.st.lastAttempt = now
		c, read, err := l.readFile()
		if err != nil {
			return fmt.Errorf("list %s: %w", l.spec.Name, err)
		}
		l.st.read = read
		if _, err := l.accept(c, nil); err != nil {
			return fmt.Errorf("list %s: %s: %w", l.spec.Name, l.spec.File, err)
		}
		l.st.lastSuccess = now
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
	return nil
}

func (l *list) openCopy(now time.Time) {
	l.st.next = now.Add(rand.N(startSpread))
	if l.copyPath == "" {
		return
	}
	h, ranges, confirmed, err := loadCopy(l.copyPath, l.fingerprint)
	switch {
	case err == nil:
		if confirmed.After(now) { // a clock was wrong; ask rather than wait for it
			confirmed = time.Time{}
		} else if due := confirmed.Add(spread(l.spec.Refresh, 0.1)); due.After(l.st.next) {
			l.st.next = due
		}
		l.st.loaded, l.st.header, l.st.pending, l.st.stored, l.st.lastSuccess = true, h, &ranges, true, confirmed
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errForeign):
	default:
		l.set.logger.Warn("the copy of a list cannot be read; the list is fetched anew", "feed", l.spec.Name, "file", l.copyPath, "error", err)
	}
	if until := loadWait(l.waitPath, l.fingerprint, now); until.After(l.st.next) {
		l.st.next, l.st.leaveAlone = until, until
	}
}

// refresh makes one attempt to bring the list up to date, unless may objects, and asks for a rebuild after a change.
// The channel is closed once the snapshot shows it.
func (l *list) refresh(ctx context.Context, may func(l *list, now time.Time) error) (shown <-chan struct{}, err error) {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("refreshing %s: %w", l.spec.Name, ctx.Err())
	}
	now := time.Now()
	l.mu.Lock()
	if err = may(l, now); err == nil {
		l.st.lastAttempt = now
	}
	l.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("refreshing %s: %w", l.spec.Name, err)
	}
	result, err := l.attempt(ctx)
	if err != nil && ctx.Err() != nil {
		// Whoever asked has left, or the lists are being closed. It says nothing about the publisher.
		return nil, fmt.Errorf("refreshing %s: %w", l.spec.Name, ctx.Err())
	}
	l.note(result, err)
	l.set.observe(l.spec.Name, result)
	if l.spec.kind() == KindURL {
		l.poke() // the next one may be due earlier than its goroutine expects
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

// attempt reads the list anew. A panic, such as one that a strange document provokes, is a failed attempt.
func (l *list) attempt(ctx context.Context) (result Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			result, err = ResultError, fmt.Errorf("panic: %v", p)
		}
	}()
	l.mu.Lock()
	known, lines := l.st.header.parts, l.st.header.lines // none when there was no good list yet
	l.mu.Unlock()
	var c *content
	var parts []validators
	if l.spec.kind() == KindFile {
		var read readFile
		c, read, err = l.readFile()
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

// confirm notes that the publisher says that the last good list is still the newest.
func (l *list) confirm() Result {
	l.mu.Lock()
	h := l.st.header
	l.mu.Unlock()
	return l.keep(&h, l.ranges, ResultUnchanged)
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

// accept makes what was read the last good list, which the next snapshot holds, or says why not.
func (l *list) accept(c *content, parts []validators) (Result, error) {
	l.mu.Lock()
	loaded, old := l.st.loaded, l.st.header
	l.mu.Unlock()
	if err := l.judge(c, loaded, old.lines); err != nil {
		return classify(err), err
	}
	h := copyHeader{name: l.spec.Name, source: l.spec.origin(), spec: l.fingerprint, fetched: time.Now(), lines: len(c.prefixes), parts: parts}
	ranges := iplist.NewRanges(c.prefixes)
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
	result = l.keep(&h, func() iplist.Ranges { return ranges }, result)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.st.loaded, l.st.header, l.st.ignored, l.st.first = true, h, c.wrong, c.first
	if l.spec.Own && c.wrong > 0 {
		l.set.logger.Error("wrong lines of your own list are not in force", "feed", l.spec.Name, "file", l.spec.File,
			"ignored", c.wrong, "first_ignored", c.first)
	}
	if !loaded || old.sum != h.sum {
		l.st.pending = &ranges
		l.set.logger.Info("list in force", "feed", l.spec.Name, "entries", h.entries, "lines", h.lines, "ignored", c.wrong, "first_ignored", c.first)
	}
	return result, nil
}

// keep makes sure that the copy on disk is the list that h describes, confirmed now. One that is unchanged is written
// again only where somebody else has removed, damaged or replaced it. The result is returned, or that this failed.
func (l *list) keep(h *copyHeader, ranges func() iplist.Ranges, result Result) Result {
	if l.copyPath == "" {
		return result
	}
	now := time.Now()
	var err error
	if result != ResultUnchanged || !confirmCopy(l.copyPath, h, now) {
		err = saveCopy(l.copyPath, h, ranges(), now)
	}
	l.mu.Lock()
	l.st.stored, l.st.storeErr = err == nil, err
	l.mu.Unlock()
	if err != nil {
		l.set.logger.Warn("a list cannot be written to disk; it stays in memory", "feed", l.spec.Name, "error", err)
		return ResultNotStored
	}
	return result
}

// judge refuses what cannot be the list.
func (l *list) judge(c *content, loaded bool, before int) error {
	lines := len(c.prefixes)
	good := lines + c.skipped
	wrongShare := float64(c.wrong) / float64(max(good+c.wrong, 1))
	switch {
	case c.wrong > 0 && good == 0, !l.spec.Own && c.wrong > tolerableWrong && wrongShare > tolerableWrongShare:
		return refuse(ResultUnparsable, "%d of %d lines are wrong; %w", c.wrong, good+c.wrong, c.first)
	case lines == 0 && !l.spec.AllowEmpty:
		return refuse(ResultEmpty, "the list is empty")
	case l.spec.kind() == KindURL && loaded && before >= shrinkable && float64(lines) < float64(before)*(1-*l.spec.MaxShrink):
		cure := "allow it to shrink"
		if l.copyPath != "" {
			cure = "allow it to shrink, or remove " + l.copyPath + " and restart"
		}
		return refuse(ResultShrunk, "the list shrank from %d lines to %d; if that is right, %s", before, lines, cure)
	}
	return nil
}

// note remembers how an attempt ended and when the next one is due.
func (l *list) note(result Result, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	repeated := err != nil && l.st.lastErr != nil && err.Error() == l.st.lastErr.Error()
	l.st.lastResult, l.st.lastErr, l.st.leaveAlone = result, err, time.Time{}
	if err == nil {
		l.st.failures, l.st.lastSuccess = 0, now
		l.st.next = now.Add(spread(l.spec.Refresh, 0.1))
		if l.waitPath != "" {
			removeWait(l.waitPath)
		}
		return
	}
	l.st.failures++
	l.st.next = now.Add(spread(l.backoff(), 0.25))
	var f *failure
	if errors.As(err, &f) && f.retryAfter > 0 {
		l.st.leaveAlone = now.Add(f.retryAfter)
		if l.st.leaveAlone.After(l.st.next) {
			l.st.next = l.st.leaveAlone
		}
		if l.waitPath != "" {
			if err := saveWait(l.waitPath, l.fingerprint, l.st.leaveAlone); err != nil {
				l.set.logger.Warn("until when a publisher wants to be left alone cannot be written to disk", "feed", l.spec.Name, "error", err)
			}
		}
	}
	tell := l.set.logger.Warn
	if repeated { // said already, and Status goes on saying it
		tell = l.set.logger.Debug
	}
	attributes := []any{"feed", l.spec.Name, "result", result.String(), "error", err}
	if l.st.loaded {
		tell("a list cannot be refreshed; the last good one stays in force", attributes...)
	} else {
		tell("a list cannot be refreshed, and there is no earlier one", attributes...)
	}
}

// backoff doubles from firstBackoff up to the refresh interval.
func (l *list) backoff() time.Duration {
	wait := firstBackoff
	for i := 1; i < l.st.failures && wait < l.spec.Refresh; i++ {
		wait *= 2
	}
	return min(wait, max(l.spec.Refresh, firstBackoff))
}

// spread lengthens a wait by a random part of the given share, so that many instances do not ask all at once. It never
// shortens it: publishers count.
func spread(wait time.Duration, share float64) time.Duration {
	return wait + time.Duration(rand.Float64()*share*float64(wait))
}
