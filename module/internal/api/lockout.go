package api

import (
	"net/netip"
	"sync"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// maxShut is of how many addresses it is known that they have tried too many tokens. Of more, some are let try again.
const maxShut = 4096

// lockout knows who has tried too many tokens. Their requests are refused before the token is looked at: else somebody
// could go on to guess, and would be refused until it is right. The zero value knows nobody.
type lockout struct {
	mu    sync.Mutex
	until map[netip.Prefix]time.Time
}

// left returns for how long the client is not to try.
func (l *lockout) left(client netip.Addr, now time.Time) time.Duration {
	if !client.IsValid() {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.until[reputation.Subject(client)].Sub(now), 0)
}

// add keeps the client from trying for some time.
func (l *lockout) add(client netip.Addr, now time.Time, pause time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.until == nil {
		l.until = make(map[netip.Prefix]time.Time)
	}
	if len(l.until) >= maxShut {
		l.makeRoom(now)
	}
	l.until[reputation.Subject(client)] = now.Add(pause)
}

// makeRoom forgets those whose time is over, and somebody if there is none.
func (l *lockout) makeRoom(now time.Time) {
	for who, until := range l.until {
		if !until.After(now) {
			delete(l.until, who)
		}
	}
	for who := range l.until {
		if len(l.until) < maxShut {
			return
		}
		delete(l.until, who)
	}
}
