package clients

import (
	"hash/maphash"
	"math"
	"math/bits"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// The window of Distinct: the present part and those before it, so ten to twelve minutes.
const (
	distinctParts = 6
	distinctPart  = 2 * time.Minute
	distinctBits  = 1 << 16 // enough for some 300,000 networks
)

// Distinct estimates of how many different networks clients were of late: an IPv4 /24 or an IPv6 /48 counts once, so that
// nobody can be many by the addresses of one. Up to some thousand, it is nearly exact. It takes 48 kB, whatever the
// traffic, and holds no lock. The zero value is ready.
type Distinct struct {
	part  atomic.Int64 // the number of the present one, since 1970
	marks [distinctParts][distinctBits / 64]atomic.Uint64
}

// Add counts a client.
func (d *Distinct) Add(addr netip.Addr) {
	bit := maphash.Comparable(seed, reputation.Network(addr)) % distinctBits
	mark := &d.marks[d.part.Load()%distinctParts][bit/64]
	if old := mark.Load(); old&(1<<(bit%64)) == 0 {
		mark.Or(1 << (bit % 64))
	}
}

// Turn forgets what is older than the window. One goroutine calls it, every few seconds. Clients that come meanwhile may
// be missed.
func (d *Distinct) Turn(now time.Time) {
	next, last := now.Unix()/int64(distinctPart/time.Second), d.part.Load()
	if next == last {
		return
	}
	behind := next - last
	if behind < 0 || behind > distinctParts { // the clock was set, or it is the first time
		behind = distinctParts
	}
	for i := range behind {
		part := &d.marks[(next-i)%distinctParts]
		for j := range part {
			part[j].Store(0)
		}
	}
	d.part.Store(next)
}

// Count returns the estimate.
func (d *Distinct) Count() int {
	free := distinctBits
	for i := range d.marks[0] {
		var all uint64
		for part := range d.marks {
			all |= d.marks[part][i].Load()
		}
		free -= bits.OnesCount64(all)
	}
	return int(math.Round(-distinctBits * math.Log(float64(max(free, 1))/distinctBits)))
}
