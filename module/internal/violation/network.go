package violation

import (
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Neighbourhood remembers which networks have had offenders within a day: each IPv4 /24 and IPv6 /48 the clients, each
// autonomous system the networks. It has a fixed size and no pointers, and readers take no lock.
//
// Only others count: no client is its own neighbour. What they did is no category of the client's, who has done nothing.
type Neighbourhood struct {
	settings NearbySettings
	source   score.Source
	seed     uint64      // secret: clients cannot choose networks that share a set
	used     atomic.Bool // false until there is an offender

	mu   sync.Mutex      // held by those who change something
	keys []atomic.Uint64 // of networks and autonomous systems, 0 for none
	who  []offenders     // in the same order
}

// offenders are those of one network: who (32) · when, in seconds since 1970 (32).
type offenders [mostOffenders]atomic.Uint64

const (
	nearbySets    = 512
	nearbyWays    = 8 // keys of a set: one cache line
	mostOffenders = 32

	// nearbyFor is how long an offender counts.
	nearbyFor = 24 * 60 * 60

	// allOf is the number of offenders that gives all points.
	allOf = 8

	// An autonomous system is much larger than a network. It takes more networks with offenders, and gives fewer points.
	asnFactor = 4
	asnShare  = 1.0 / 3
)

// NearbySettings are the settings of a Neighbourhood.
type NearbySettings struct {
	// From is how many offenders make a neighbourhood.
	From int

	// Points are what it costs at most.
	Points float64

	// Mobile is whether it costs mobile carriers' clients something.
	Mobile bool
}

// The range of NearbySettings.
const (
	MaxNearbyFrom   = (mostOffenders - 1) / asnFactor
	MaxNearbyPoints = 20
)

// NewNeighbourhood returns a neighbourhood without offenders.
func NewNeighbourhood(s NearbySettings) *Neighbourhood {
	return &Neighbourhood{
		settings: s, source: score.OfNeighbourhood(s.Points), seed: rand.Uint64(),
		keys: make([]atomic.Uint64, nearbySets*nearbyWays), who: make([]offenders, nearbySets*nearbyWays),
	}
}

// Neighbours are the offenders of a network.
type Neighbours struct {
	Network   netip.Prefix
	Offenders int       // clients of the network, at most 32
	Networks  int       // of the autonomous system that have offenders, at most 32
	Last      time.Time // of the newest violation of Offenders; zero if there are none
}

// place is where a client stands: in a network or in an autonomous system.
type place struct {
	key uint64 // of the network; those of autonomous systems have another last byte
	who uint32 // within it
}

func networkOf(addr netip.Addr) place {
	key := record.KeyOf(addr)
	return place{uint64(key.Network()) | 1, uint32(key &^ key.Network())}
}

// asnOf returns the place of a network in an autonomous system.
func (n *Neighbourhood) asnOf(network place, asn uint32) place {
	return place{uint64(asn)<<8 | 2, uint32(n.hash(network.key))}
}

func (n *Neighbourhood) hash(key uint64) uint64 {
	high, low := bits.Mul64(key^n.seed, 0x9e3779b97f4a7c15)
	high, low = bits.Mul64(high^low, n.seed|1)
	return high ^ low
}

func (n *Neighbourhood) set(p place) int { return int(n.hash(p.key)>>32%nearbySets) * nearbyWays }

// find returns the index of a place, or -1. Sets are filled from the first place on. While one is being replaced, a
// reader may miss those after it.
func (n *Neighbourhood) find(p place) int {
	first := n.set(p)
	for i := first; i < first+nearbyWays; i++ {
		switch n.keys[i].Load() {
		case p.key:
			return i
		case 0:
			return -1
		}
	}
	return -1
}

// knows reports whether there may be offenders near an address.
func (n *Neighbourhood) knows(addr netip.Addr, asn uint32) bool {
	if n == nil || !n.used.Load() {
		return false
	}
	network := networkOf(addr)
	return n.find(network) >= 0 || asn != 0 && n.find(n.asnOf(network, asn)) >= 0
}

// countsFor reports whether addresses of this nature have neighbours: behind a carrier's or a relay's addresses are many,
// who come and go.
func (n *Neighbourhood) countsFor(nature reputation.Nature) bool {
	if n == nil {
		return false
	}
	relay, _ := nature.Is(reputation.NatureRelay)
	mobile, _ := nature.Is(reputation.NatureMobile)
	return !relay && (!mobile || n.settings.Mobile)
}

// count returns how many others are at the place of a client, and when the newest of them was noted.
func (n *Neighbourhood) count(p place, now uint32) (others int, last uint32) {
	i := n.find(p)
	if i < 0 {
		return 0, 0
	}
	for j := range n.who[i] {
		w := n.who[i][j].Load()
		if who, when := uint32(w>>32), uint32(w); who != p.who && current(when, now) {
			others++
			last = max(last, when)
		}
	}
	if n.keys[i].Load() != p.key {
		return 0, 0 // meanwhile it became another place
	}
	return others, last
}

// current reports whether something that was noted still counts. A clock that was ahead is not believed.
func current(when, now uint32) bool {
	return when != 0 && int64(now)-int64(when) < nearbyFor && int64(when)-int64(now) <= int64(record.Ahead/time.Second)
}

// addEvidence appends what the neighbours of an address say of it.
func (n *Neighbourhood) addEvidence(evidence []score.Evidence, addr netip.Addr, asn, now uint32) []score.Evidence {
	if !n.used.Load() {
		return evidence
	}
	network, severity := networkOf(addr), 0.0
	others, last := n.count(network, now)
	if others >= n.settings.From {
		severity = min(float64(others)/allOf, 1)
	} else if asn != 0 {
		if others, last = n.count(n.asnOf(network, asn), now); others >= asnFactor*n.settings.From {
			severity = asnShare
		}
	}
	if severity == 0 {
		return evidence
	}
	return append(evidence, score.Evidence{Source: &n.source, Severity: severity, Confidence: 1, Age: since(last, now)})
}

func (n *Neighbourhood) neighbours(addr netip.Addr, asn, now uint32) Neighbours {
	found := Neighbours{Network: reputation.Network(addr)}
	if n == nil {
		return found
	}
	network := networkOf(addr)
	var last uint32
	if found.Offenders, last = n.count(network, now); last != 0 {
		found.Last = time.Unix(int64(last), 0)
	}
	if asn != 0 {
		found.Networks, _ = n.count(n.asnOf(network, asn), now)
	}
	return found
}

// note remembers an offender, unless it was one too long ago. asn may be 0.
func (n *Neighbourhood) note(addr netip.Addr, asn, when, now uint32) {
	if !current(when, now) {
		return
	}
	network := networkOf(addr)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.used.Store(true)
	n.who[n.room(network, now)].note(network.who, when)
	if asn != 0 {
		system := n.asnOf(network, asn)
		n.who[n.room(system, now)].note(system.who, when)
	}
}

// room returns the index of a place, which replaces the one of its set with the fewest offenders, of those the oldest.
func (n *Neighbourhood) room(p place, now uint32) int {
	if i := n.find(p); i >= 0 {
		return i
	}
	first := n.set(p)
	least, fewest, oldest := first, mostOffenders+1, uint32(0)
	for i := first; i < first+nearbyWays; i++ {
		if n.keys[i].Load() == 0 {
			least = i
			break
		}
		count, last := n.who[i].current(now)
		if count < fewest || count == fewest && last < oldest {
			least, fewest, oldest = i, count, last
		}
	}
	n.keys[least].Store(0) // readers find nobody here meanwhile
	for j := range n.who[least] {
		n.who[least][j].Store(0)
	}
	n.keys[least].Store(p.key)
	return least
}

// current returns how many offenders count, and when the newest was noted.
func (o *offenders) current(now uint32) (count int, last uint32) {
	for j := range o {
		if when := uint32(o[j].Load()); current(when, now) {
			count++
			last = max(last, when)
		}
	}
	return count, last
}

// note remembers an offender in place of the oldest.
func (o *offenders) note(who, when uint32) {
	oldest, at := 0, ^uint32(0)
	for j := range o {
		w := o[j].Load()
		if uint32(w) != 0 && uint32(w>>32) == who {
			o[j].Store(uint64(who)<<32 | uint64(max(when, uint32(w))))
			return
		}
		if uint32(w) < at {
			oldest, at = j, uint32(w)
		}
	}
	if when > at {
		o[oldest].Store(uint64(who)<<32 | uint64(when))
	}
}

// forget removes an offender. Its network stays an offender of the autonomous system while others are in it.
func (n *Neighbourhood) forget(addr netip.Addr, asn uint32) {
	network := networkOf(addr)
	n.mu.Lock()
	defer n.mu.Unlock()
	i := n.find(network)
	if i < 0 {
		return
	}
	if n.who[i].forget(network.who); asn == 0 || n.who[i].any() {
		return
	}
	system := n.asnOf(network, asn)
	if i := n.find(system); i >= 0 {
		n.who[i].forget(system.who)
	}
}

func (o *offenders) forget(who uint32) {
	for j := range o {
		if w := o[j].Load(); w != 0 && uint32(w>>32) == who {
			o[j].Store(0)
		}
	}
}

func (o *offenders) any() bool {
	for j := range o {
		if o[j].Load() != 0 {
			return true
		}
	}
	return false
}
