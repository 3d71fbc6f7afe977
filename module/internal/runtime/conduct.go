package runtime

import (
	"net/netip"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/conduct"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
)

// OpenConduct lets sites count violations of these terms, and ban for them. What neighbours of offenders cost is nil if
// they do not count.
func (rt *Runtime) OpenConduct(terms []violation.Terms, nearby *violation.NearbySettings) error {
	c := &rt.Conduct
	c.Logger, c.LoggerOf, c.Privacy = rt.Logger, ProcessLogger, rt.privacy
	c.Leases, c.Folder = &rt.Leases, rt.Folder
	c.Overrides, c.Nearby, c.NAT64 = rt.Overrides, nearby, rt.NAT64
	c.Recorder, c.Digest = rt.Recorder, rt.Digest
	if rt.Redis != nil {
		c.Redis = rt.Redis.Client
	}
	c.Events, c.Serving = Events, servingConduct
	return c.Open(terms)
}

// servingConduct is that of the configuration that serves, nil while none does.
func servingConduct() *conduct.Conduct {
	if rt := Serving(); rt != nil {
		return &rt.Conduct
	}
	return nil
}

// asnOf returns the autonomous system of an address, 0 if nobody on this machine knows it.
func (rt *Runtime) asnOf(addr netip.Addr) uint32 {
	if asn := rt.Databases.Facts(addr).ASN; asn != 0 || len(rt.Providers) == 0 {
		return asn
	}
	return rt.Known(addr).Facts.ASN
}
