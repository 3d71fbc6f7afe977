package runtime

import (
	"context"
	"net/netip"
	"time"
)

// Punishment is a ban that no person has decided: by a rule of a site, or by a violation.
type Punishment struct {
	Client    netip.Addr
	For       time.Duration // the first time; zero for the default
	Rule      string        // as a Caddyfile has it, or `violation trap`
	Site      string        // host of the request
	RequestID string
}

// Punish bans a client on all instances, for longer each time. It does not wait, and spares those who must never be
// banned. The caller's site enforces.
func (rt *Runtime) Punish(ctx context.Context, p Punishment) {}
