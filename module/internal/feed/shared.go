package feed

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed/fetch"
)

// Shared is where instances share the last good copy of a list with URLs, so that one instance fetches
// it for all. Every method bounds its own time. An error means that nothing is shared: the instance then
// fetches the list itself. A copy holds no secret: neither URLs nor headers.
type Shared interface {
	// Await returns when it is known whether copies can be shared, soon after the start, or when ctx
	// ends.
	Await(ctx context.Context)

	// ClaimList returns what is shared of a list, and makes the holder the one who fetches it, for the
	// time of the lease, unless the copy is younger than young.
	ClaimList(ctx context.Context, list, holder string, young, lease time.Duration) (SharedClaim, error)

	// LoadList returns the text of a copy.
	LoadList(ctx context.Context, list, version string) ([]byte, error)

	// StoreList shares a copy and ends the lease. Without a text it confirms the version, which is an
	// error if its text is gone. before is the version that was shared until now.
	StoreList(ctx context.Context, list, holder, version, before string, text []byte, keep time.Duration) error

	// ReleaseList ends the lease without a copy. Nobody may claim the list before pause has passed.
	ReleaseList(ctx context.Context, list, holder string, pause time.Duration) error
}

// SharedClaim is the answer to a claim. If the copy is younger than was asked for, nobody fetches.
type SharedClaim struct {
	Version string        // of the copy; empty if there is none
	Age     time.Duration // since the publisher has last confirmed it
	Mine    bool          // the holder is to fetch the list
	Pause   time.Duration // how long the publisher wants to be left alone
}

// MaxShared is how large a copy may be, compressed, to be shared. A larger list is fetched by each
// instance.
const MaxShared = 4 << 20

const (
	// fetchLease is how long a lease lasts without being renewed. If its holder dies, another instance
	// fetches the list after this time.
	fetchLease = 15 * time.Second

	// elsewherePause is how often an instance looks whether another one has fetched the list.
	elsewherePause = time.Second

	// newerBy is by how much a shared copy that is due must be newer than an instance's own to be taken.
	newerBy = time.Minute
)

// elsewhereError means that another instance is fetching the list.
type elsewhereError struct{ pause time.Duration }

func (e *elsewhereError) Error() string { return "another instance is fetching it" }

// newHolder returns a name for a holder of leases.
func newHolder() string { return rand.Text() }

// attemptURL refreshes the list from the shared copy if that is younger than young, else from the
// publisher.
func (l *list) attemptURL(ctx context.Context, young time.Duration) (Result, time.Time, error) {
	shared := l.set.shared
	if shared == nil {
		return l.fetch(ctx)
	}
	if l.copyRemoved() || l.accepts() {
		young = 0 // an operator wants what the publisher has, whatever was there before
	}
	claim, err := shared.ClaimList(ctx, l.shareKey, l.holder, young, fetchLease)
	if err != nil {
		return l.fetch(ctx)
	}
	taken, confirmed, err := l.takeShared(ctx, claim, young)
	if claim.Version != "" && claim.Age < young {
		if err == nil {
			return taken, confirmed, nil
		}
		// It cannot be used here: this instance fetches the list for itself, and for the others.
		l.set.logger.Debug("the shared copy of a list cannot be used", "feed", l.spec.Name, "error", err)
		if claim, err = shared.ClaimList(ctx, l.shareKey, l.holder, 0, fetchLease); err != nil {
			return l.fetch(ctx)
		}
	}
	switch {
	case claim.Pause > 0:
		return ResultThrottled, time.Time{}, &failure{
			result: ResultThrottled, retryAfter: min(claim.Pause, fetch.MaxPause),
			err: fmt.Errorf("another instance was asked to leave %s alone", l.spec.origin()),
		}
	case !claim.Mine:
		return 0, time.Time{}, &elsewhereError{elsewherePause}
	}
	result, confirmed, err := l.fetchWithLease(ctx)
	l.share(ctx, claim, err)
	return result, confirmed, err
}

func (l *list) fetchWithLease(ctx context.Context) (Result, time.Time, error) {
	defer l.holdLease(ctx)()
	return l.fetch(ctx)
}

// takeShared makes the shared copy the last good list, if it is young, or if this instance has none that
// is as new. It is parsed and guarded as what a publisher sends.
func (l *list) takeShared(ctx context.Context, claim SharedClaim, young time.Duration) (Result, time.Time, error) {
	now := time.Now()
	confirmed := now.Add(-claim.Age)
	l.mu.Lock()
	inForce, last := l.st.loaded && l.st.shared == claim.Version, l.st.lastSuccess
	l.mu.Unlock()
	switch {
	case claim.Version == "", claim.Age >= young && !confirmed.After(last.Add(newerBy)):
		return 0, confirmed, nil
	case inForce:
		return l.confirm(confirmed), confirmed, nil
	}
	text, err := l.set.shared.LoadList(ctx, l.shareKey, claim.Version)
	if err != nil {
		return 0, confirmed, err
	}
	c, err := l.readShared(text)
	if err != nil {
		return 0, confirmed, err
	}
	c.confirmed = confirmed
	if c.fetched.After(confirmed) { // the clock of the other instance is wrong
		c.fetched = confirmed
	}
	result, err := l.accept(c)
	if err != nil {
		return result, confirmed, err
	}
	l.mu.Lock()
	l.st.shared, l.st.lastSuccess = claim.Version, confirmed
	l.mu.Unlock()
	l.set.builder.request()
	return result, confirmed, nil
}

// holdLease renews the lease until the returned function is called.
func (l *list) holdLease(ctx context.Context) (release func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.set.guard("renewing the lease of "+l.spec.Name, func() {
			renewal := time.NewTicker(fetchLease / 3)
			defer renewal.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-renewal.C:
					_, _ = l.set.shared.ClaimList(ctx, l.shareKey, l.holder, 0, fetchLease)
				}
			}
		})
	}()
	return func() {
		cancel()
		<-done
	}
}

// share shares what was fetched, or says that nothing was. What goes wrong is Redis's, which logs it.
func (l *list) share(ctx context.Context, claim SharedClaim, failed error) {
	ctx = context.WithoutCancel(ctx) // a lease that nobody ends delays the other instances
	var pause time.Duration
	if f := (*failure)(nil); errors.As(failed, &f) && f.result == ResultThrottled {
		pause = f.retryAfter
	}
	var version string
	var text []byte
	if failed == nil {
		version, text = l.sharedText(claim.Version)
	}
	if version == "" {
		_ = l.set.shared.ReleaseList(ctx, l.shareKey, l.holder, pause)
		return
	}
	keep := max(minPatience, patienceRefreshes*l.spec.Refresh)
	err := l.set.shared.StoreList(ctx, l.shareKey, l.holder, version, claim.Version, text, keep)
	if err != nil && text == nil { // the shared text may be gone
		if _, text = l.sharedText(""); text != nil {
			err = l.set.shared.StoreList(ctx, l.shareKey, l.holder, version, "", text, keep)
		}
	}
	if err != nil {
		_ = l.set.shared.ReleaseList(ctx, l.shareKey, l.holder, 0)
		return
	}
	l.mu.Lock()
	l.st.shared = version
	l.mu.Unlock()
}
