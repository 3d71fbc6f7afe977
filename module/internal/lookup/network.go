package lookup

import (
	"math"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lossy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Divided is a Gate of a provider whose calls are divided among networks.
type Divided interface {
	// NetworkSpent reports whether the network of addr has used its share of the calls, so that the
	// provider is not asked about addr. It must not allocate.
	NetworkSpent(addr netip.Addr, now time.Time) bool
}

const (
	// networkConfidence is the confidence in what a provider says of the network of an address, once
	// it has answered about as many others as are remembered.
	networkConfidence = 0.4

	// networkPoints is how much such answers of all providers add at most: a score of 24 if nothing
	// else is known.
	networkPoints = 15.0

	// networkCoverage is the part of an answer that they count as in the coverage.
	networkCoverage = 0.1
)

// addNetwork appends what providers have said of other addresses of the network, where the network
// has used its share of a provider's calls. It returns the trust in those answers, as far as it
// counts in the coverage.
//
// It speaks only against the address: nobody is clean because of the neighbours. What they are
// accused of is no category of the address, which has done nothing.
func (e *Engine) addNetwork(
	l *local, rec *record.Record, nature reputation.Nature, evidence []score.Evidence, now uint32,
) (_ []score.Evidence, trust float64) {
	if !e.networks.accuses() || !hasNeighbours(nature) {
		return evidence, 0
	}
	first, points := len(evidence), 0.0
	for i := range e.sources {
		p := &e.sources[i]
		if !p.covers.Has(l.addr) || l.holdsBack(i, p) {
			continue
		}
		if a := rec.FindAt(i, p.id); a != nil && a.Answered() {
			continue
		}
		said := e.networks.find(l.addr, p.id, now)
		if said.badness == 0 || !p.networkSpent(l.addr, now) {
			continue
		}
		evidence = append(evidence, said.evidence(&p.Source, now))
		points += evidence[len(evidence)-1].Points()
		trust += networkCoverage * p.Source.Trust
	}
	if points > networkPoints {
		for i := range evidence[first:] {
			evidence[first+i].Confidence *= networkPoints / points
		}
	}
	return evidence, trust
}

// explainNetwork adds whether the network speaks for an address where a provider does not.
func (e *Engine) explainNetwork(l *local, i int, known *ProviderAnswer) {
	p, now := &e.sources[i], record.Seconds(time.Now())
	known.NetworkSpent = p.networkSpent(l.addr, now)
	if known.NetworkSpent && !known.Answered {
		known.Others = e.networks.find(l.addr, p.id, now).addresses
	}
}

// hasNeighbours reports whether addresses of this nature have something in common with others of
// their network. Behind those of a carrier or a relay are many people, who come and go.
func hasNeighbours(n reputation.Nature) bool {
	mobile, _ := n.Is(reputation.NatureMobile)
	return !mobile && !score.IsRelay(n)
}

// networkSpent reports whether the provider is not asked about addr because of its network.
func (p *provider) networkSpent(addr netip.Addr, now uint32) bool {
	return p.divided != nil && p.divided.NetworkSpent(addr, time.Unix(int64(now), 0))
}

// networkAnswers remembers what each provider has said last of a few addresses of a network, an IPv4
// /24 or an IPv6 /48.
type networkAnswers struct {
	accused atomic.Bool // false until a provider has accused an address

	// said has the subject within its network (16) and the badness in hundredths (16). Badness is severity ×
	// confidence, and 0 for an address in good repute.
	said *lossy.Newest
}

const (
	// networkAnswersEach is how many addresses are remembered with their answers. The newest alone
	// would change its mind with every answer, the best would let attackers hide behind one clean
	// host, and the worst would blame all for one.
	networkAnswersEach = 4

	// networkFor is how long an answer speaks for a network.
	networkFor = 7 * 24 * time.Hour
)

func newNetworkAnswers() *networkAnswers {
	return &networkAnswers{said: lossy.NewNewest(lossy.Options{Sets: 2048, Most: networkAnswersEach, Who: 16, For: networkFor})}
}

// accuses reports whether there may be anything to say against anybody.
func (n *networkAnswers) accuses() bool { return n != nil && n.accused.Load() }

// networkKey returns the key of a network and a provider. The lower 16 bits of an IPv6 network are free, and those of IPv4
// are moved to where no IPv6 address begins.
func networkKey(network record.Key, source record.SourceID) uint64 {
	if network <= math.MaxUint32 {
		network <<= 16
	}
	return uint64(network) | uint64(source)
}

// saidOf is what a provider has said of a subject at a time.
func saidOf(subject record.Key, badness uint64, when uint32) lossy.Entry {
	return lossy.Entry(uint64(subject&^subject.Network())<<48 | badness<<32 | uint64(when))
}

// note remembers what a provider has said of a subject, in place of the oldest answer.
func (n *networkAnswers) note(subject record.Key, a *record.Answer, now uint32) {
	if n == nil || !a.Answered() {
		return
	}
	badness := uint64(max(int(a.Severity), 0)) * uint64(a.Confidence) / 100
	n.said.Note(networkKey(subject.Network(), a.Source), saidOf(subject, badness, a.Fetched), now)
	if badness > 0 && !n.accused.Load() {
		n.accused.Store(true)
	}
}

// saidOfNetwork is what a provider has said last of some addresses of a network.
type saidOfNetwork struct {
	addresses int
	badness   float64 // the mean of severity × confidence, 0 to 1
	newest    uint32  // of the answers, in seconds since 1970
}

// find returns what a provider has said of the network of addr.
func (n *networkAnswers) find(addr netip.Addr, source record.SourceID, now uint32) saidOfNetwork {
	var s saidOfNetwork
	badness := uint64(0)
	found := n.said.Each(networkKey(record.KeyOf(addr).Network(), source), now, func(e lossy.Entry) {
		s.addresses++
		badness += uint64(e) >> 32 & 0xffff
		s.newest = max(s.newest, e.When())
	})
	if !found || s.addresses == 0 {
		return saidOfNetwork{}
	}
	s.badness = float64(badness) / float64(100*s.addresses)
	return s
}

// evidence is what this means for an address of the network about which nobody was asked.
func (s *saidOfNetwork) evidence(source *score.Source, now uint32) score.Evidence {
	return score.Evidence{
		Source: source, Network: true, Severity: s.badness,
		Confidence: networkConfidence * float64(s.addresses) / networkAnswersEach,
		Age:        time.Duration(now-min(s.newest, now)) * time.Second,
	}
}

// forget removes what a provider has said of a subject until a time.
func (n *networkAnswers) forget(subject record.Key, source record.SourceID, until uint32) {
	n.said.Forget(networkKey(subject.Network(), source), saidOf(subject, 0, until))
}

// LearnNetworks remembers what the memory has of networks: an engine begins with nothing. each calls
// its argument with every record.
func (e *Engine) LearnNetworks(each func(func(record.Key, *record.Record) bool)) {
	if e.networks == nil {
		return
	}
	each(func(key record.Key, rec *record.Record) bool {
		now := record.Seconds(time.Now())
		rec.DropFuture(now)
		e.noteNetwork(key, rec, now)
		return !e.calls.closed.Load()
	})
}

// noteNetwork remembers the answers of a record for the network of the subject.
func (e *Engine) noteNetwork(key record.Key, rec *record.Record, now uint32) {
	for i := range e.sources {
		if a := rec.FindAt(i, e.sources[i].id); a != nil {
			e.networks.note(key, a, now)
		}
	}
}

// forgetNetwork removes what was remembered of a subject until a time.
func (e *Engine) forgetNetwork(key record.Key, until uint32) {
	for _, id := range e.ids {
		e.networks.forget(key, id, until)
	}
}
