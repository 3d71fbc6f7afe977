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
	// describeInterval is the time between two requests for the expiry of a secret. It rarely
	// changes, and requests cost money.
	describeInterval = time.Hour

	// describeTimeout is how long such a request may take. The caller has the secret already and
	// waits for this only.
	describeTimeout = 2 * time.Second

	tagExpires = "expires"
)

// lifetime is when a secret expires, according to AWS. Either time may be zero.
type lifetime struct {
	expires time.Time // the operator must act before
	rotates time.Time // AWS replaces the value until then
}

// tag adds the expiry in a tag. It returns false if the tag cannot be read.
func (e *lifetime) tag(key, value *string) bool {
	if key == nil || value == nil || !strings.EqualFold(*key, tagExpires) {
		return true
	}
	expires, ok := guest.ParseExpiry(*value)
	e.expires = guest.Earlier(e.expires, expires)
	return ok
}

// apply sets the expiry of a secret. With a rotation, it also sets the TTL, since the secret is
// then replaced like a lease.
func (e lifetime) apply(s *reputation.Secret, now time.Time) {
	s.Expires = guest.Earlier(e.expires, e.rotates)
	if !e.rotates.IsZero() && s.Expires.Equal(e.rotates) {
		s.TTL = max(e.rotates.Sub(now), 0)
	}
}

// expiryCache stores for an hour when a secret expires. It does not store the value: dates need
// requests of their own.
type expiryCache struct {
	secret string // the name of the secret, for the log

	mu      sync.Mutex
	asked   time.Time
	version string // the version of the secret to which known belongs
	known   lifetime
	logged  bool
}

// of returns the lifetime of a version. It calls ask once an hour and for every new version. After
// a failure it returns the last known lifetime, if any: the credentials may allow to read the
// secret, but not its dates.
func (x *expiryCache) of(
	ctx context.Context, version string, ask func(context.Context) (lifetime, error),
) lifetime {
	x.mu.Lock()
	if version == x.version && time.Since(x.asked) < describeInterval {
		defer x.mu.Unlock()
		return x.known
	}
	if version != x.version {
		x.known = lifetime{}
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
	case err != nil && ctx.Err() == nil && !x.logged:
		x.logged = true
		// ErrRefused's own text would suggest that the secret was refused
		why := strings.TrimPrefix(err.Error(), reputation.ErrRefused.Error()+": ")
		guest.Info("it is not known when the secret ends, so nobody will be warned before",
			"secret_name", x.secret, "error", why,
			"cure", "allow Caddy to ask for it, or write the end into the configuration")
	}
	return x.known
}

// warn logs that a tag cannot be read. It does not repeat the tag, which may contain anything.
func (x *expiryCache) warn() {
	guest.Warn("the tag `expires` of the secret cannot be read", "secret_name", x.secret, "cure",
		guest.ExpiryForms)
}
