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

// list is one list and its refreshes.
type list struct {
	set         *Set
	number      int // index in a Snapshot
	further     int // the member of the Index that its second part is
	spec        Spec
	fingerprint string
	shareKey    string // see Shared
	holder      string // the name of this list as the holder of a lease
	copyPath    string // "" if there is no copy on disk: values need none
	waitPath    string // the file that stores throttledUntil
	shrunkPath  string // the file that stores state.shrunk

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
	first    error // what is wrong with the first ignored line
	pending  *body // the last good list, until a snapshot holds it
	stored   bool  // the last good list is on disk
	storeErr error
	shared   string // the version of the shared copy that is in force here
	read     readFile

	lastSuccess time.Time
	lastAttempt time.Time
	lastResult  Result
	lastErr     error
	failures    int
	next        time.Time // when the next refresh is due

	throttledUntil time.Time // the publisher asked for no request before

	shrunk    Shrunk  // what was fetched since the last success of a list that lost too much
	accepted  *Shrunk // the last such list that was believed
	accepting bool    // an operator believes what the next fetch brings
}

func newList(set *Set, number int, spec Spec) *list {
	return &list{
		set:         set,
		number:      number,
		spec:        spec,
		fingerprint: spec.fingerprint(),
		shareKey:    spec.shareKey(),
		holder:      newHolder(),
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
		values := &body{ranges: iplist.NewRanges(slices.Clone(l.spec.Values))}
		for _, asn := range l.spec.ASNValues {
			values.names = append(values.names, nameOfASN(asn))
		}
		values.names = values.names.sorted()
		sum, entries := digest(values)
		l.st.loaded, l.st.pending, l.st.lastSuccess = true, values, now
		l.st.header = copyHeader{
			lines: len(l.spec.Values) + len(l.spec.ASNValues), entries: entries, sum: sum, fetched: now,
		}
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
			l.shrunkPath = filepath.Join(dir, l.spec.Name+shrunkSuffix)
		}
		l.openCopy(now)
	}
}

func (l *list) openCopy(now time.Time) {
	l.st.next = now.Add(rand.N(startSpread))
	if l.copyPath == "" {
		return
	}
	h, read, confirmed, err := loadCopy(l.copyPath, l.fingerprint)
	switch {
	case err == nil:
		if confirmed.After(now) { // the clock was wrong: refresh now instead of waiting for that time
			confirmed = time.Time{}
		} else if due := confirmed.Add(l.jitteredRefresh()); due.After(l.st.next) {
			l.st.next = due
		}
		l.st.loaded, l.st.header, l.st.pending = true, h, read
		l.st.stored, l.st.lastSuccess = true, confirmed
		l.loadShrunk(now)
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
	before, young := l.st.lastAttempt, l.spec.Refresh
	if now.Before(l.st.next) { // an operator wants it newer than that
		young = manualInterval
	}
	if err = check(l, now); err == nil {
		l.st.lastAttempt = now
	}
	l.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("refreshing %s: %w", l.spec.Name, err)
	}
	result, confirmed, err := l.attempt(ctx, young)
	if elsewhere := (*elsewhereError)(nil); errors.As(err, &elsewhere) {
		l.postpone(before, elsewhere.pause)
		return nil, fmt.Errorf("refreshing %s: %w", l.spec.Name, err)
	}
	if err != nil && ctx.Err() != nil {
		// The caller has cancelled, or the Set is closing: the publisher did not fail.
		return nil, fmt.Errorf("refreshing %s: %w", l.spec.Name, ctx.Err())
	}
	l.recordAttempt(result, err, confirmed)
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

// received is a list that was read, and what is known of it.
type received struct {
	*content
	parts     []validators
	lines     int       // in the source
	fetched   time.Time // when it was new
	confirmed time.Time // when its source has last confirmed it
	direct    bool      // it comes from the source itself, and from no other instance
}

func receivedNow(c *content, parts []validators) received {
	now := time.Now()
	return received{content: c, parts: parts, lines: c.Lines, fetched: now, confirmed: now, direct: true}
}

// attempt reads the list again, and returns when its source has confirmed it. A shared copy is taken if
// it is younger than young. A panic, such as a malformed document may cause, counts as a failed attempt.
func (l *list) attempt(ctx context.Context, young time.Duration) (result Result, confirmed time.Time, err error) {
	defer func() {
		if p := recover(); p != nil {
			result, err = ResultError, fmt.Errorf("panic: %v", p)
		}
	}()
	if l.spec.kind() != KindFile {
		return l.attemptURL(ctx, young)
	}
	c, read, err := l.readFile(false)
	l.mu.Lock()
	l.st.read = read
	l.mu.Unlock()
	if err != nil {
		return classify(err), time.Time{}, err
	}
	return l.acceptNow(c, read.parts(c))
}

// fetch reads the list from its publisher.
func (l *list) fetch(ctx context.Context) (Result, time.Time, error) {
	l.mu.Lock()
	known := l.st.header.parts // none without a good list
	l.mu.Unlock()
	c, parts, err := fetchParts(ctx, l.set.client, &l.spec, known)
	switch {
	case err != nil:
		return classify(err), time.Time{}, fetchFailure(err)
	case c == nil:
		now := time.Now()
		return l.confirm(now), now, nil
	}
	return l.acceptNow(c, parts)
}

// acceptNow is accept for what has just been read.
func (l *list) acceptNow(c *content, parts []validators) (Result, time.Time, error) {
	r := receivedNow(c, parts)
	result, err := l.accept(r)
	if err != nil {
		err = fmt.Errorf("%s: %w", l.spec.origin(), err)
	}
	return result, r.confirmed, err
}

// confirm handles the answer that the list has not changed.
func (l *list) confirm(at time.Time) Result {
	l.mu.Lock()
	h := l.st.header
	l.mu.Unlock()
	return l.storeCopy(&h, l.body, ResultUnchanged, at)
}

// body returns the last good list.
func (l *list) body() *body {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.st.pending != nil {
		return l.st.pending
	}
	current := l.set.Current()
	return &body{current.Index.Lists()[l.number], current.named.lists[l.number]}
}

// accept makes c the last good list, to be published by the next
// snapshot, or returns why it is refused.
func (l *list) accept(c received) (Result, error) {
	l.mu.Lock()
	loaded, old := l.st.loaded, l.st.header
	l.mu.Unlock()
	if err := l.validate(c); err != nil {
		return classify(err), err
	}
	shrank := false
	if loaded && l.spec.kind() == KindURL {
		var err error
		if shrank, err = l.guardSize(c, old.lines); err != nil {
			return classify(err), err
		}
	}
	h := copyHeader{
		name: l.spec.Name, source: l.spec.origin(), spec: l.fingerprint,
		fetched: c.fetched, lines: c.lines, parts: c.parts,
	}
	got := &body{c.ranges.Ranges(), c.names.sorted()}
	if got.size() > l.spec.MaxEntries {
		return ResultTooLarge, l.spec.tooMany()
	}
	if !l.spec.Own {
		got.ranges = got.ranges.Without(reserved)
		if got.ranges.IsMost() {
			return ResultTooLarge, refuse(ResultTooLarge, "the list covers more than half of the Internet: if that is right, "+
				"make a file of your own of it, and name that in `deny` or `exempt`")
		}
	}
	h.sum, h.entries = digest(got)
	if h.entries == 0 && !l.spec.AllowEmpty {
		return ResultEmpty, refuse(ResultEmpty, "the list holds reserved addresses only")
	}
	result := ResultOK
	if loaded && old.sum == h.sum {
		result, h.fetched = ResultUnchanged, old.fetched
	}
	result = l.storeCopy(&h, func() *body { return got }, result, c.confirmed)
	if shrank {
		l.logShrunk(old.lines, h.lines)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.st.loaded, l.st.header, l.st.ignored, l.st.first = true, h, c.Wrong, c.FirstWrong
	if l.spec.Own && c.Wrong > 0 {
		l.set.logger.Error("wrong lines of your own list are not in force",
			"feed", l.spec.Name, "file", l.spec.File,
			"ignored", c.Wrong, "first_ignored", c.FirstWrong)
	}
	if !loaded || old.sum != h.sum {
		l.st.pending, l.st.shared = got, ""
		l.set.logger.Info("list in force",
			"feed", l.spec.Name, "entries", h.entries, "lines", h.lines,
			"ignored", c.Wrong, "first_ignored", c.FirstWrong)
	}
	return result, nil
}

// storeCopy writes the list that h describes to disk, confirmed at the given time. An unchanged list is written
// again only if its copy was removed, damaged or replaced. It returns the given result, or
// ResultNotStored if writing fails.
func (l *list) storeCopy(h *copyHeader, content func() *body, result Result, at time.Time) Result {
	if l.copyPath == "" || !l.set.writes.Load() {
		return result
	}
	var err error
	if result != ResultUnchanged || !confirmCopy(l.copyPath, h, at) {
		err = saveCopy(l.copyPath, h, content(), at)
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
