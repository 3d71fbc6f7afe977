package violation

import (
	"math"
	"net/netip"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lossy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Neighbourhood remembers which networks have had offenders within a day: each IPv4 /24 and IPv6 /48 the clients, each
// autonomous system the networks.
//
// Only others count: no client is its own neighbour. What they did is no category of the client's, who has done nothing.
type Neighbourhood struct {
	settings  NearbySettings
	source    score.Source
	offenders *lossy.Newest
}

const (
	// mostOffenders is how many offenders are remembered of each network or autonomous system.
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
		settings: s, source: score.OfNeighbourhood(s.Points),
		offenders: lossy.NewNewest(lossy.Options{Sets: 512, Most: mostOffenders, Who: 32, For: nearbyFor * time.Second}),
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
	return place{uint64(asn)<<8 | 2, uint32(n.offenders.Hash(network.key))}
}

// entry is that the client was an offender at a time.
func (p place) entry(when uint32) lossy.Entry { return lossy.Entry(uint64(p.who)<<32 | uint64(when)) }

// knows reports whether there may be offenders near an address.
func (n *Neighbourhood) knows(addr netip.Addr, asn uint32) bool {
	if n == nil || !n.offenders.IsUsed() {
		return false
	}
	network := networkOf(addr)
	return n.offenders.Has(network.key) || asn != 0 && n.offenders.Has(n.asnOf(network, asn).key)
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
	found := n.offenders.Each(p.key, now, func(e lossy.Entry) {
		if uint32(e>>32) != p.who {
			others++
			last = max(last, e.When())
		}
	})
	if !found {
		return 0, 0
	}
	return others, last
}

// addEvidence appends what the neighbours of an address say of it.
func (n *Neighbourhood) addEvidence(evidence []score.Evidence, addr netip.Addr, asn, now uint32) []score.Evidence {
	if !n.offenders.IsUsed() {
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
	network := networkOf(addr)
	n.offenders.Note(network.key, network.entry(when), now)
	if asn != 0 {
		system := n.asnOf(network, asn)
		n.offenders.Note(system.key, system.entry(when), now)
	}
}

// forget removes an offender. Its network stays an offender of the autonomous system while others are in it.
func (n *Neighbourhood) forget(addr netip.Addr, asn uint32) {
	network := networkOf(addr)
	if n.offenders.Forget(network.key, network.entry(math.MaxUint32)) && asn != 0 {
		system := n.asnOf(network, asn)
		n.offenders.Forget(system.key, system.entry(math.MaxUint32))
	}
}
