// Package mmdb knows facts of addresses from databases on disk in the MaxMind DB format: country,
// autonomous system and nature.
//
// A file is read once, when it is new: its facts go into an index, and the file is let go of.
// So a look-up reads no foreign bytes, and a file that is overwritten in place does no harm.
package mmdb

import (
	"net/netip"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Set is several databases. What the first of them knows of an address stands; the others fill in
// the rest. Of natures, a yes from any of them stands.
type Set []*Database

// Facts returns what the databases say of addr, which must be unmapped. It neither locks nor
// allocates.
func (s Set) Facts(addr netip.Addr) (f reputation.Facts) {
	for _, d := range s {
		c := d.current.Load()
		if c == nil {
			continue
		}
		entry := c.index.Lookup(addr)
		if entry == 0 {
			continue
		}
		c.merge(&f, c.entries[entry])
	}
	return f
}

// merge fills in what f does not have.
func (c *contents) merge(f *reputation.Facts, e entry) {
	if f.Country == "" {
		f.Country = c.text(e.country)
	}
	if f.ASN == 0 {
		f.ASN = e.asn
	}
	if f.ASName == "" && f.ASN == e.asn {
		f.ASName = c.text(e.name)
	}
	f.Nature = f.Nature.Merge(e.nature)
}

// Says returns what facts the databases can give. Of one that could not be read yet, it is not
// known: known is then false.
func (s Set) Says() (says reputation.Capabilities, known bool) {
	known = true
	for _, d := range s {
		c := d.current.Load()
		if c == nil {
			known = false
			continue
		}
		says = says.Union(c.says)
	}
	return says, known
}
