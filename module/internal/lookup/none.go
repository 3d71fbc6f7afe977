package lookup

import (
	"context"
	"net/netip"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// What an Engine uses in place of what its Config leaves out.

// NoLists are lists without entries.
type NoLists struct{}

// Current implements Lists.
func (NoLists) Current() Listing { return NoLists{} }

// Lookup implements Listing.
func (NoLists) Lookup(netip.Addr) uint32 { return 0 }

// Members implements Listing.
func (NoLists) Members(uint32) []uint16 { return nil }

// Named returns no lists.
func (NoLists) Named(uint32, string) []uint16 { return nil }

// Names implements Listing.
func (NoLists) Names() bool { return false }

// Sets implements Listing.
func (NoLists) Sets() int { return 1 }

// Loaded implements Listing.
func (NoLists) Loaded(int) bool { return false }

// Content implements Listing.
func (NoLists) Content(int) string { return "" }

type noTracer struct{}

func (noTracer) Start(base, _ context.Context) (context.Context, func(reputation.Origin)) {
	return base, nil
}
func (noTracer) Wait(_, _ context.Context) func(reputation.Verdict, bool) { return nil }

type noDatabases struct{}

func (noDatabases) Facts(netip.Addr) reputation.Facts { return reputation.Facts{} }

type noOverrides struct{}

func (noOverrides) Lookup(netip.Addr) (banned, exempt bool) { return false, false }
