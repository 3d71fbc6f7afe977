package secret

import (
	"sync"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/backoff"
)

// Renewal fetches a password anew when a server does not accept it: the more rarely the longer that brings
// the same, since stores bill each fetch, and a refusal may have another reason.
type Renewal struct {
	Password *Refresher

	mu      sync.Mutex
	value   string
	denials int // of this value, that had it fetched
	next    time.Time
}

var renewalPauses = backoff.Policy{First: PlaceholderRefresh, Most: DefaultRefresh}

// Denied is called each time that the server refuses.
func (r *Renewal) Denied() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	value, _ := r.Password.Current()
	now := time.Now()
	if value != r.value {
		r.value, r.denials = value, 0
	} else if now.Before(r.next) {
		return
	}
	r.denials++
	r.next = now.Add(renewalPauses.Pause(r.denials))
	r.Password.Refresh()
}
