package aws

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/secret/internal/guest"
)

const (
	// describeInterval is how often it is asked when a secret ends. The answer rarely changes, and each question costs.
	describeInterval = time.Hour

	// describeTimeout is how long that may take. Whoever waits for it has the secret already.
	describeTimeout = 2 * time.Second

	tagExpires = "expires"
)

// end is when a secret ends, as far as AWS says. Either may be zero.
type end struct {
	expires time.Time // somebody has to act before
	rotates time.Time // AWS replaces the value itself until then
}

// tag notes what a tag says about the end, and reports whether that can be read.
func (e *end) tag(key, value *string) bool {
	if key == nil || value == nil || !strings.EqualFold(*key, tagExpires) {
		return true
	}
	expires, ok := guest.End(*value)
	e.expires = guest.Earlier(e.expires, expires)
	return ok
}

// apply notes the end in a secret. A rotation is one that moves on by itself, like that of a lease.
func (e end) apply(s *reputation.Secret, now time.Time) {
	s.Expires = guest.Earlier(e.expires, e.rotates)
	if !e.rotates.IsZero() && s.Expires.Equal(e.rotates) {
		s.TTL = max(e.rotates.Sub(now), 0)
	}
}

// expiry knows when a secret ends. It keeps that for an hour, and no value: dates are asked for with calls of their own.
type expiry struct {
	secret string // its name, for the log

	mu      sync.Mutex
	asked   time.Time
	version string // that the answer is about
	known   end
	told    bool
}

// of returns the end of a version. It is asked for once an hour and with every new version. Whoever may read the secret need
// not be allowed to ask, so a failure is none: nothing is known then, or what was known stays.
func (x *expiry) of(ctx context.Context, version string, ask func(context.Context) (end, error)) end {
	x.mu.Lock()
	if version == x.version && time.Since(x.asked) < describeInterval {
		defer x.mu.Unlock()
		return x.known
	}
	if version != x.version {
		x.known = end{}
	}
	x.version, x.asked = version, time.Now()
	x.mu.Unlock()

	limited, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	found, err := ask(limited)

	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case err == nil && version == x.version:
		x.known = found
	case err != nil && ctx.Err() == nil && !x.told:
		x.told = true
		// that something was refused is said of keys elsewhere
		why := strings.TrimPrefix(err.Error(), reputation.ErrRefused.Error()+": ")
		guest.Info("it is not known when the secret ends, so nobody will be warned before", "secret_name", x.secret, "error", why,
			"cure", "allow Caddy to ask for it, or write the end into the configuration")
	}
	return x.known
}

// warn tells of a tag that cannot be read. The tag may hold anything, so it is not repeated.
func (x *expiry) warn() {
	guest.Warn("the tag `expires` of the secret cannot be read", "secret_name", x.secret, "cure", guest.HowToWriteAnEnd)
}
