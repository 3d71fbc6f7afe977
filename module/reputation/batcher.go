package reputation

import (
	"context"
	"net/netip"
)

// Batcher is a Provider whose service answers about several addresses in one request. It is optional.
// Profile.Batch is how many; without it, CheckAll is not called.
//
// CheckAll makes one request, and returns soon after ctx ends. It is safe for concurrent use. addrs are up to
// Profile.Batch different addresses, of the kind that Query.Addr is, which the service covers; key is like Query.Key.
// Gathering addresses, quotas, retries and breaker belong to the caller, who may use Check for a single address.
//
// The answers are in the order of addrs, one for each. An address of which the service says nothing, or nothing that
// can be used, has an error of its own, ErrBadAnswer: it is not unknown, and the others keep their answers. An error
// of the whole request, such as ErrRefused or a *ThrottledError, is CheckAll's own and concerns all of them; there are
// no answers then. Errors, those of single answers too, must not contain a key, a URL or any of the addresses.
type Batcher interface {
	Provider
	CheckAll(ctx context.Context, key string, addrs []netip.Addr) ([]Answer, error)
}

// Answer is what a Batcher's service answers about one address: what Check would return.
type Answer struct {
	Report Report
	Err    error
}

// MaxBatch is the highest Profile.Batch.
const MaxBatch = 1000
