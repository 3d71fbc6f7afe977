package bots

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
)

// Resolver asks DNS. It is what net.Resolver has.
type Resolver interface {
	LookupAddr(ctx context.Context, addr string) (names []string, err error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// NewResolver returns a resolver that asks the given servers, as host and port: the one that has answered last, and
// another one if it does not. Without any it asks those of the system. Its questions and answers are bounded by DNS
// itself: 64 KiB.
func NewResolver(servers []string) Resolver {
	if len(servers) == 0 {
		return &net.Resolver{PreferGo: true}
	}
	all := new(inOrder)
	for _, server := range servers {
		all.servers = append(all.servers, &net.Resolver{
			PreferGo: true,
			Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, server)
			},
		})
	}
	return all
}

// inOrder asks several servers, one after the other until one answers.
type inOrder struct {
	servers []Resolver
	first   atomic.Uint32 // the server that is asked first
}

// serverTimeout is how long one of several servers may take: the next one must have time, too.
const serverTimeout = lookupTimeout / 4

// LookupAddr implements Resolver.
func (o *inOrder) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	return askInOrder(ctx, o, func(ctx context.Context, r Resolver) ([]string, error) { return r.LookupAddr(ctx, addr) })
}

// LookupNetIP implements Resolver.
func (o *inOrder) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	return askInOrder(ctx, o, func(ctx context.Context, r Resolver) ([]netip.Addr, error) {
		return r.LookupNetIP(ctx, network, host)
	})
}

func askInOrder[T any](
	ctx context.Context, o *inOrder, ask func(context.Context, Resolver) ([]T, error),
) (found []T, err error) {
	first, n := o.first.Load(), uint32(len(o.servers))
	for i := range n {
		server := (first + i) % n
		found, err = askOne(ctx, o.servers[server], n > 1, ask)
		if err == nil || len(found) > 0 || notFound(err) {
			o.first.CompareAndSwap(first, server)
			return found, err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return found, err
}

func askOne[T any](
	ctx context.Context, r Resolver, hasNext bool, ask func(context.Context, Resolver) ([]T, error),
) ([]T, error) {
	if hasNext {
		limited, cancel := context.WithTimeout(ctx, serverTimeout)
		defer cancel()
		ctx = limited
	}
	return ask(ctx, r)
}

// server tells which server a resolver asks first: what is known of one is not known of another.
func server(r Resolver) uint32 {
	if o, several := r.(*inOrder); several {
		return o.first.Load()
	}
	return 0
}
