// Package conduct is what clients do on the sites, and what follows from it: it counts violations, bans and reports
// those who commit them, and spares who must be spared.
package conduct

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/event"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history/recorder"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/privacy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/redis"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/report"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/throttle"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
)

// Conduct is what the sites of one configuration see their clients do. Its exported fields are set while the
// configuration is provisioned. The zero value counts nothing and bans nobody.
type Conduct struct {
	Logger   *slog.Logger
	LoggerOf func(part string) *slog.Logger // of what outlives the configuration
	Privacy  *privacy.Policy                // how addresses are written
	Leases   *process.Leases
	Folder   *process.Folder

	// Whom it spares.
	Engine    *lookup.Engine // nil until there is one
	Overrides *ban.Store     // bans and exemptions made at run time
	NAT64     address.NAT64  // the network's own prefixes
	Suspects  Suspects
	Proxies   atomic.Pointer[[]netip.Prefix] // trusted by a server; requests may come before they are known

	// What follows.
	Nearby   *violation.NearbySettings // nil: neighbours do not count
	Bans     BanTerms
	Reports  *report.Queue      // nil until a provider or a violation reports
	Redis    *redis.Client      // nil: this instance is on its own
	Recorder *recorder.Recorder // nil: no history is stored
	Digest   string             // names the configuration in the history
	Events   *event.Emitter

	// Serving returns that of the configuration that serves, nil while none does: who is to be banned may wait over a
	// reload.
	Serving func() *Conduct

	terms   []violation.Terms   // of all violations, built-in ones included
	used    []string            // violations that sites and tokens name
	usesAny bool                // an application can name each
	store   *violation.Store    // nil until a site or the look-up API uses it
	own     *violation.Evidence // what it says; likewise

	punisher *punisher // nil until a site bans
	services []service // that take reports

	logged      throttle.Causes[string]
	stopReports context.CancelFunc
	stopOwn     func()
}

// Start begins to send reports, and to follow which networks have offenders. asnOf returns the autonomous system of an
// address, 0 if nobody on this machine knows it.
func (c *Conduct) Start(asnOf func(netip.Addr) uint32) {
	if c.own != nil {
		c.stopOwn = c.own.Follow(asnOf)
	}
	c.startReports()
}

// Stop ends what Start began.
func (c *Conduct) Stop() {
	if c.stopReports != nil {
		c.stopReports()
	}
	if c.stopOwn != nil {
		c.stopOwn()
	}
}
