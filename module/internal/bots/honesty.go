package bots

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"
)

// honesty remembers whether a resolver says so when a name does not exist. Some answer with an address, or a name, of
// their own: what they say is no proof that a client is fake.
type honesty struct {
	known  atomic.Uint32
	server atomic.Uint32 // of which it is known
	until  atomic.Int64  // in nanoseconds since start
	start  time.Time
}

// What is known of a resolver.
const (
	unknown uint32 = iota
	honest
	hijacked
)

// How long each is remembered.
const (
	honestFor   = time.Hour
	hijackedFor = 10 * time.Minute
)

var errHijacked = errors.New("the resolver answers for names that do not exist")

// check returns an error unless the resolver is known to be honest. It asks it now and then.
func (h *honesty) check(ctx context.Context, r Resolver) error {
	asked := server(r)
	if h.known.Load() == unknown || h.server.Load() != asked || int64(time.Since(h.start)) >= h.until.Load() {
		state, err := probe(ctx, r)
		switch state {
		case unknown:
			return err // asked again at the next miss
		case honest:
			h.until.Store(int64(time.Since(h.start) + honestFor))
		case hijacked:
			h.until.Store(int64(time.Since(h.start) + hijackedFor))
		}
		h.known.Store(state)
		h.server.Store(asked)
	}
	if h.known.Load() == hijacked {
		return errHijacked
	}
	return nil
}

// probe asks for a name and for an address that do not exist: the zones are reserved, and empty.
func probe(ctx context.Context, r Resolver) (uint32, error) {
	name := fmt.Sprintf("x%016x.example.com.", rand.Uint64())
	addr := netip.AddrFrom4([4]byte{240, byte(rand.Uint32()), byte(rand.Uint32()), 1})
	found, err := r.LookupNetIP(ctx, "ip", name)
	if len(found) > 0 {
		return hijacked, nil
	}
	if err == nil || !notFound(err) {
		return unknown, fmt.Errorf("asking for a name that does not exist: %w", cmp.Or(err, errNoName))
	}
	all, err := r.LookupAddr(ctx, addr.String())
	if len(all) > 0 {
		return hijacked, nil
	}
	if err == nil || !notFound(err) {
		return unknown, fmt.Errorf("asking for an address without a name: %w", cmp.Or(err, errNoName))
	}
	return honest, nil
}
