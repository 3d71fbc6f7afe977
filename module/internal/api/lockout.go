package api

import (
	"net/netip"
	"sync"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	// maxLocked is how many addresses are locked out at once. If there are more, some may try again.
	maxLocked = 4096

	// maxAdmitted is how many pairs of client and token are remembered.
	maxAdmitted = 4096

	// admittedFor is how long a token that was accepted from a client is accepted during a lockout.
	admittedFor = time.Hour
)

// lockout refuses clients that sent too many wrong tokens. The refusal does not depend on the token.
// Otherwise an attacker could guess on, since a right guess would be accepted.
//
// Several people may share an address, so one exception stands: a token that was accepted from the
// same address lately. Its owner knows it, and a neighbour who guesses must not shut the owner out.
// The zero value refuses nobody.
type lockout struct {
	mu       sync.Mutex
	locked   expiring[netip.Prefix]
	admitted expiring[admission]
}

// admission is a token that was accepted from a client.
type admission struct {
	client netip.Prefix
	token  *Token
}

// remaining returns how long the client is still locked out.
func (l *lockout) remaining(client netip.Addr, now time.Time) time.Duration {
	if !client.IsValid() {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.locked.remaining(reputation.Subject(client), now)
}

// add locks the client out for some time.
func (l *lockout) add(client netip.Addr, now time.Time, pause time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.locked.add(reputation.Subject(client), now, pause, maxLocked)
}

// admit remembers that the token was accepted from the client.
func (l *lockout) admit(client netip.Addr, token *Token, now time.Time) {
	if !client.IsValid() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.admitted.add(admission{reputation.Subject(client), token}, now, admittedFor, maxAdmitted)
}

// wasAdmitted reports whether the token was accepted from the client lately.
func (l *lockout) wasAdmitted(client netip.Addr, token *Token, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.admitted.remaining(admission{reputation.Subject(client), token}, now) > 0
}

// expiring is a bounded set of keys, each of which ends at its own time.
type expiring[K comparable] map[K]time.Time

// remaining returns the time until the end of a key; 0 if the key is not in the set.
func (e expiring[K]) remaining(key K, now time.Time) time.Duration {
	return max(e[key].Sub(now), 0)
}

// add adds a key, or sets its end. In a full set, expired keys make room or, if none has expired, any.
func (e *expiring[K]) add(key K, now time.Time, ttl time.Duration, limit int) {
	if *e == nil {
		*e = make(expiring[K])
	}
	if _, ok := (*e)[key]; !ok && len(*e) >= limit {
		e.makeRoom(now, limit)
	}
	(*e)[key] = now.Add(ttl)
}

// makeRoom removes expired keys and, if none has expired, one other.
func (e *expiring[K]) makeRoom(now time.Time, limit int) {
	for key, end := range *e {
		if !end.After(now) {
			delete(*e, key)
		}
	}
	for key := range *e {
		if len(*e) < limit {
			return
		}
		delete(*e, key)
	}
}
