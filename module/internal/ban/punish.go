package ban

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	// MaxPunished is the maximum number of bans in force that no operator made, and of such bans that are over and
	// remembered. The rest of the entries is for operators.
	MaxPunished = 20_000

	// MaxOfNetwork is the same within an IPv4 /24 or an IPv6 /48.
	MaxOfNetwork = 64

	// memory is for how long after its end a ban counts, should the client come to be banned again.
	memory = 7 * 24 * time.Hour
)

// Sentence is a ban that no operator decided on.
type Sentence struct {
	Client netip.Addr // unmapped, without zone; an IPv6 client stands for its /64

	// First is how long the client is banned the first time. Each further time it is twice as long as the time before,
	// and at most Most, or First if that is longer.
	First, Most time.Duration

	Cause Cause // without Times
}

// Outcome is what became of a sentence.
type Outcome uint8

// The outcomes.
const (
	Banned      Outcome = iota // by this sentence
	AlreadyDone                // by another entry, which stands
	Exempt                     // by an exemption, which stands
	NetworkFull                // as many of its network are banned as may be
	Full                       // as many are banned as may be
)

// Punished is a sentence with what became of it.
type Punished struct {
	Sentence
	Outcome Outcome
	Entry   Entry // of Banned
}

// Punish carries sentences out, in one change. Entries in force stand as they are: further sentences neither prolong a
// ban nor take the place of an operator's. How often a client was punished is remembered for a week after the end of its
// ban, unless an operator ended it.
//
// When Punish returns, the bans are in force. They are on disk within a second: under load, the file would be written
// all the time.
func (s *Store) Punish(list []Sentence) ([]Punished, error) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("banning %d clients: %w", len(list), ErrClosed)
	}
	all := s.state().at(now)
	p := punishment{
		all: &all, now: now, done: map[netip.Prefix]bool{},
		punished: all.live.punished(), networks: map[netip.Prefix]int{},
	}
	done := make([]Punished, len(list))
	for i, sentence := range list {
		done[i] = p.pass(s, sentence)
	}
	if len(p.changes) == 0 {
		return done, nil
	}
	lastOne := func(_, b stored) stored { return b }
	s.publish(all.with(entriesOf(p.changes, lastOne), now))
	s.resetTimer()
	s.changed.Notify()
	s.saveSoon(now)
	return done, nil
}

// punishment is a change that is being put together.
type punishment struct {
	all      *state
	now      time.Time
	changes  []stored
	done     map[netip.Prefix]bool // the prefixes of changes
	punished int                   // bans in force that no operator made
	networks map[netip.Prefix]int  // likewise, of the networks that have been looked at
}

func (p *punishment) pass(s *Store, sentence Sentence) Punished {
	out := Punished{Sentence: sentence}
	prefix := reputation.Subject(sentence.Client)
	banned, exempt := s.Lookup(sentence.Client)
	before, known := p.all.get(Ban, prefix)
	network := reputation.Network(prefix.Addr())
	inNetwork, counted := p.networks[network]
	if !counted {
		inNetwork = p.all.live.punishedIn(network)
	}
	switch {
	case exempt:
		out.Outcome = Exempt
	case banned || p.done[prefix] || known && !before.over(p.now):
		out.Outcome = AlreadyDone
	case inNetwork >= MaxOfNetwork:
		out.Outcome = NetworkFull
	case p.punished >= MaxPunished || p.all.live.len()+len(p.changes) >= maxEntries:
		out.Outcome = Full
	default:
		change := sentence.entry(prefix, before, p.now)
		if known {
			change = change.Join(before)
		}
		p.done[prefix] = true
		p.changes = append(p.changes, change)
		p.punished++
		inNetwork++
		out.Entry = change.Entry
	}
	p.networks[network] = inNetwork
	return out
}

// entry returns the ban of a client whose last one, if any, was before.
func (c Sentence) entry(prefix netip.Prefix, before stored, now time.Time) stored {
	cause := c.Cause
	cause.Times = 1
	if before.Cause.By != Operator && !before.Removed {
		cause.Times += before.Cause.Times
	}
	return stored{
		Entry: Entry{
			Prefix: prefix, Kind: Ban, Cause: cause.fit(),
			Created: now.UTC().Truncate(time.Second), Expires: roundUp(now.Add(c.length(cause.Times))),
		},
		Version: replica.NextVersion(now, before.Version),
	}
}

// length returns how long the n-th ban lasts.
func (c Sentence) length(n int) time.Duration {
	most := max(c.First, c.Most)
	length := c.First
	for range n - 1 {
		if length >= most/2 {
			return most
		}
		length *= 2
	}
	return length
}

// Length returns how long the ban of Banned was meant to last: the times of its Entry are in whole seconds.
func (p *Punished) Length() time.Duration { return p.length(p.Entry.Cause.Times) }

// punished returns the number of bans that no operator made.
func (s *entries) punished() (n int) {
	for i := range *s.of(Ban) {
		if (*s.of(Ban))[i].Cause.By != Operator {
			n++
		}
	}
	return n
}

// punishedIn returns the same for a network.
func (s *entries) punishedIn(network netip.Prefix) (n int) {
	list := *s.of(Ban)
	for i, _ := s.find(Ban, network); i < len(list) && network.Contains(list[i].Prefix.Addr()); i++ {
		if list[i].Cause.By != Operator {
			n++
		}
	}
	return n
}

// remembered returns until when a ban counts that no operator made; zero for other entries and for those that an
// operator ended.
func (e stored) remembered() time.Time {
	if e.Cause.By == Operator || e.Removed {
		return time.Time{}
	}
	return earliest(e.Expires.Add(memory), replica.LastTime)
}

// onlyRemembered reports whether a tombstone is there for nothing but the next ban of its client.
func (e *stored) onlyRemembered() bool {
	return e.Cause.By != Operator && !e.Removed && e.Keep.IsZero()
}

// bounded returns tombstones without the oldest of those that are only remembered, above the bound of each network and
// that of all.
func (s entries) bounded() entries {
	if all, mostOfNetwork := s.countRemembered(); all <= MaxPunished && mostOfNetwork <= MaxOfNetwork {
		return s
	}
	var remembered, kept entries
	for _, e := range *s.of(Ban) {
		if e.onlyRemembered() {
			*remembered.of(Ban) = append(*remembered.of(Ban), e)
		}
	}
	for list := *remembered.of(Ban); len(list) > 0; {
		network := reputation.Network(list[0].Prefix.Addr())
		end := slices.IndexFunc(list, func(e stored) bool { return !network.Contains(e.Prefix.Addr()) })
		if end < 0 {
			end = len(list)
		}
		var own entries
		*own.of(Ban) = list[:end]
		*kept.of(Ban) = append(*kept.of(Ban), own.newest(MaxOfNetwork)[Ban-1]...)
		list = list[end:]
	}
	kept = kept.newest(MaxPunished)
	return s.without(func(e stored) bool {
		if !e.onlyRemembered() {
			return false
		}
		_, found := kept.find(Ban, e.Prefix)
		return !found
	})
}

// countRemembered returns how many tombstones are only remembered, and the most of one network.
func (s *entries) countRemembered() (all, mostOfNetwork int) {
	var network netip.Prefix
	ofNetwork := 0
	for i := range *s.of(Ban) {
		e := &(*s.of(Ban))[i]
		if !e.onlyRemembered() {
			continue
		}
		if !network.Contains(e.Prefix.Addr()) {
			network, ofNetwork = reputation.Network(e.Prefix.Addr()), 0
		}
		all++
		ofNetwork++
		mostOfNetwork = max(mostOfNetwork, ofNetwork)
	}
	return all, mostOfNetwork
}

// Remembered returns the ban of exactly this prefix that is over and would make the next one longer.
func (s *Store) Remembered(p netip.Prefix) (Entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	e, found := s.tombstones.get(Ban, p)
	if !found || !e.remembered().After(now) {
		return Entry{}, false
	}
	return e.Entry, true
}

// CountBy returns the number of bans in force by who made them.
func (s *Store) CountBy() (n [NumBy]int) {
	if now := s.current.Load(); now != nil {
		return now.by
	}
	return n
}
