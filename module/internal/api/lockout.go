package api

import (
	"net/netip"
	"sync"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// maxLocked is how many addresses are locked out at once. If there are more, some may try again.
const maxLocked = 4096

// lockout holds the addresses that sent too many wrong tokens. Their requests are refused before
// the token is checked. Otherwise an attacker could guess on, since a right guess would be
// accepted. The zero value is empty.
type lockout struct {
	mu    sync.Mutex
	until map[netip.Prefix]time.Time
}

// remaining returns how long the client is still locked out.
func (l *lockout) remaining(client netip.Addr, now time.Time) time.Duration {
	if !client.IsValid() {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.until[reputation.Subject(client)].Sub(now), 0)
}

// add locks the client out for some time.
func (l *lockout) add(client netip.Addr, now time.Time, pause time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.until == nil {
		l.until = make(map[netip.Prefix]time.Time)
	}
	if len(l.until) >= maxLocked {
		l.makeRoom(now)
	}
	l.until[reputation.Subject(client)] = now.Add(pause)
}

// makeRoom removes expired entries or, if none has expired, any entry.
func (l *lockout) makeRoom(now time.Time) {
	for who, until := range l.until {
		if !until.After(now) {
			delete(l.until, who)
		}
	}
	for who := range l.until {
		if len(l.until) < maxLocked {
			return
		}
		delete(l.until, who)
	}
}
