package module

import (
	"cmp"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/conduct"
)

// Bans is how long the bans of rules and violations last, and when they stop. What operators ban is theirs to say.
type Bans struct {
	// How long a client is banned the first time, where the rule or the violation says nothing. Default: 15m.
	First caddy.Duration `json:"first,omitempty"`

	// Each further ban of a client is twice as long as the one before, up to this. A rule that asks for more than this
	// gets what it asks for. A client is remembered for a week after the end of its ban; an operator's `unban` forgets it.
	// Default: 24h.
	Most caddy.Duration `json:"most,omitempty"`

	// The share of all networks of the last ten minutes above which bans stop. If rules and violations find clients to ban
	// in more than that, and in 50 networks or more, it is a mistake, or one proxy stands before many visitors: they then
	// ban nobody until 15 minutes have passed without it. Rules still refuse what they refuse. A network is an IPv4 /24 or
	// an IPv6 /48, so that nobody causes it from one; an attacker with addresses in so many can. With 1, bans never stop.
	// Default: 0.1.
	Burst float64 `json:"burst,omitempty"`
}

// The defaults that config comments name.
const (
	defaultFirstBan = 15 * time.Minute
	defaultMostBan  = 24 * time.Hour
	defaultBurst    = 0.1
)

// Check reports what is wrong with the settings.
func (b *Bans) Check() error {
	_, err := b.terms()
	return err
}

// terms returns the settings with their defaults.
func (b *Bans) terms() (conduct.BanTerms, error) {
	if b == nil {
		b = new(Bans)
	}
	t := conduct.BanTerms{
		First: cmp.Or(time.Duration(b.First), defaultFirstBan), Most: cmp.Or(time.Duration(b.Most), defaultMostBan),
		Burst: cmp.Or(b.Burst, defaultBurst),
	}
	for _, length := range []time.Duration{t.First, t.Most} {
		if err := conduct.CheckBan(length); err != nil {
			return t, err
		}
	}
	if t.First > t.Most {
		return t, fmt.Errorf("the first ban is longer (%s) than any can be (%s): write a smaller `first`, or a larger `most`",
			conduct.Span(t.First), conduct.Span(t.Most))
	}
	if !(t.Burst >= 0 && t.Burst <= 1) { // or NaN
		return t, fmt.Errorf("burst %v is not a share: use 0 to 1", t.Burst)
	}
	return t, nil
}
