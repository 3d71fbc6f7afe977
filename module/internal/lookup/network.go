package lookup

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

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
// /24 or an IPv6 /48. It has a fixed size and no pointers, and readers take no lock.
type networkAnswers struct {
	seed    maphash.Seed
	accused atomic.Bool // false until a provider has accused an address

	mu   sync.Mutex      // held by those who change something
	keys []atomic.Uint64 // of a network and a provider each, 0 for none
	said []fewAnswers    // in the same order
}

// fewAnswers are those about one network: address (16) · badness in hundredths (16) · when, in
// seconds since 1970 (32). Badness is severity × confidence, and 0 for an address in good repute.
type fewAnswers [networkAnswersEach]atomic.Uint64

const (
	networkSets = 2048
	networkWays = 8 // keys of a set: one cache line

	// networkAnswersEach is about how many addresses the answers are remembered. The newest alone
	// would change its mind with every answer, the best would let attackers hide behind one clean
	// host, and the worst would blame all for one.
	networkAnswersEach = 4

	// networkFor is how long an answer speaks for a network.
	networkFor = 7 * 24 * 60 * 60
)

func newNetworkAnswers() *networkAnswers {
	return &networkAnswers{
		seed: maphash.MakeSeed(),
		keys: make([]atomic.Uint64, networkSets*networkWays), said: make([]fewAnswers, networkSets*networkWays),
	}
}

// accuses reports whether there may be anything to say against anybody.
func (n *networkAnswers) accuses() bool { return n != nil && n.accused.Load() }

// key returns the key of a network and a provider, and the first index of its set.
func (n *networkAnswers) key(network record.Key, source record.SourceID) (key uint64, first int) {
	h := maphash.Comparable(n.seed, struct {
		network record.Key
		source  record.SourceID
	}{network, source})
	return h | 1, int(h>>32%networkSets) * networkWays
}

// index returns where a key is, or -1.
func (n *networkAnswers) index(key uint64, first int) int {
	for i := first; i < first+networkWays; i++ {
		if n.keys[i].Load() == key {
			return i
		}
	}
	return -1
}

// note remembers what a provider has said of a subject, in place of the oldest answer.
func (n *networkAnswers) note(subject record.Key, a *record.Answer) {
	if n == nil || !a.Answered() {
		return
	}
	badness := uint64(max(int(a.Severity), 0)) * uint64(a.Confidence) / 100
	network := subject.Network()
	who := uint64(subject&^network) << 48
	key, first := n.key(network, a.Source)
	n.mu.Lock()
	defer n.mu.Unlock()
	said, oldest := &n.said[n.room(key, first)], 0
	for i := range said {
		w := said[i].Load()
		if w != 0 && w>>48<<48 == who {
			oldest = i
			break
		}
		if uint32(w) < uint32(said[oldest].Load()) {
			oldest = i
		}
	}
	if a.Fetched >= uint32(said[oldest].Load()) {
		said[oldest].Store(who | badness<<32 | uint64(a.Fetched))
	}
	if badness > 0 && !n.accused.Load() {
		n.accused.Store(true)
	}
}

// room returns the index of a key. A new one replaces the key of its set with the fewest answers, of
// those the one with the oldest.
func (n *networkAnswers) room(key uint64, first int) int {
	if i := n.index(key, first); i >= 0 {
		return i
	}
	least, fewest, oldest := first, networkAnswersEach+1, uint32(0)
	for i := first; i < first+networkWays; i++ {
		count, newest := 0, uint32(0)
		for j := range n.said[i] {
			if w := n.said[i][j].Load(); w != 0 {
				count, newest = count+1, max(newest, uint32(w))
			}
		}
		if count < fewest || count == fewest && newest < oldest {
			least, fewest, oldest = i, count, newest
		}
	}
	n.keys[least].Store(0) // readers find nothing here meanwhile
	for j := range n.said[least] {
		n.said[least][j].Store(0)
	}
	n.keys[least].Store(key)
	return least
}

// saidOfNetwork is what a provider has said last of some addresses of a network.
type saidOfNetwork struct {
	addresses int
	badness   float64 // the mean of severity × confidence, 0 to 1
	newest    uint32  // of the answers, in seconds since 1970
}

// find returns what a provider has said of the network of addr.
func (n *networkAnswers) find(addr netip.Addr, source record.SourceID, now uint32) (s saidOfNetwork) {
	key, first := n.key(record.KeyOf(addr).Network(), source)
	i := n.index(key, first)
	if i < 0 {
		return s
	}
	badness := uint64(0)
	for j := range n.said[i] {
		w := n.said[i][j].Load()
		when := uint32(w)
		// of a clock that was ahead, nothing is believed
		if age := int64(now) - int64(when); w == 0 || age > networkFor || -age > int64(record.Ahead/time.Second) {
			continue
		}
		s.addresses++
		badness += w >> 32 & 0xffff
		s.newest = max(s.newest, when)
	}
	if s.addresses == 0 || n.keys[i].Load() != key { // meanwhile it became another one's
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
	network := subject.Network()
	key, first := n.key(network, source)
	n.mu.Lock()
	defer n.mu.Unlock()
	i := n.index(key, first)
	if i < 0 {
		return
	}
	for j := range n.said[i] {
		w := n.said[i][j].Load()
		if w>>48 == uint64(subject&^network) && uint32(w) <= until {
			n.said[i][j].Store(0)
		}
	}
}

// LearnNetworks remembers what the memory has of networks: an engine begins with nothing. each calls
// its argument with every record.
func (e *Engine) LearnNetworks(each func(func(record.Key, *record.Record) bool)) {
	if e.networks == nil {
		return
	}
	each(func(key record.Key, rec *record.Record) bool {
		rec.DropFuture(record.Seconds(time.Now()))
		e.noteNetwork(key, rec)
		return !e.calls.closed.Load()
	})
}

// noteNetwork remembers the answers of a record for the network of the subject.
func (e *Engine) noteNetwork(key record.Key, rec *record.Record) {
	for i := range e.sources {
		if a := rec.FindAt(i, e.sources[i].id); a != nil {
			e.networks.note(key, a)
		}
	}
}

// forgetNetwork removes what was remembered of a subject until a time.
func (e *Engine) forgetNetwork(key record.Key, until uint32) {
	for _, id := range e.ids {
		e.networks.forget(key, id, until)
	}
}
