package runtime

import (
	"hash/maphash"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Refusal is a request that was limited, blocked or dropped, or would have been if its site enforced its rules.
type Refusal struct {
	At        time.Time
	RequestID string
	Address   netip.Addr
	Host      string
	Action    reputation.Action
	Enforce   bool
	Rule      int    // from 1; 0 where no rule decided
	By        string // what decided, in words
	Lists     string // the deny lists that held the address
	Verdict   reputation.Verdict
}

// Refusals are the latest of this process: they outlive reloads.
var Refusals refusals

const (
	refusalShards = 64
	refusalSlots  = 64 // in each shard

	maxRefusalHost = 255
)

// refusals holds the latest refusals. Each network has a shard, an IPv4 /24 or an IPv6 /48, which it shares with a few
// others: a flood from one drives out no more than that. It holds no lock.
type refusals [refusalShards]struct {
	next  atomic.Uint32
	slots [refusalSlots]atomic.Pointer[Refusal]
}

// refusalSeed keeps clients from choosing whose shard they share.
var refusalSeed = maphash.MakeSeed()

// Add stores a refusal in place of the oldest of its shard.
func (all *refusals) Add(r Refusal) {
	r.Host = strings.Clone(r.Host[:min(len(r.Host), maxRefusalHost)]) // not the whole request that it is a part of
	shard := &all[maphash.Comparable(refusalSeed, reputation.Network(r.Address))%refusalShards]
	shard.slots[(shard.next.Add(1)-1)%refusalSlots].Store(&r)
}

// Find returns the latest refusal of a request, nil if it is not among those that are stored.
func (all *refusals) Find(requestID string) (found *Refusal) {
	for i := range all {
		for j := range all[i].slots {
			r := all[i].slots[j].Load()
			if r != nil && r.RequestID == requestID && (found == nil || r.At.After(found.At)) {
				found = r
			}
		}
	}
	return found
}
