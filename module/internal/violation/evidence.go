package violation

import (
	"net/netip"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	// least is the smallest number of points that is evidence. Of less, nothing would be left in a score.
	least = .1

	// offence is the number of points above which a client is an offender, who counts against its neighbours. Missing
	// pages end there: those of a whole office must not lead to a refusal.
	offence = 10.0
)

// Evidence is what a store remembers of clients and of their neighbours, as evidence for the score.
type Evidence struct {
	store  *Store
	kinds  map[ID]*kind
	nearby *Neighbourhood // nil if neighbours do not count
}

// kind is a name of violations, with what is computed from its terms once.
type kind struct {
	Terms
	source     score.Source
	categories reputation.Categories
}

// NewEvidence returns what a store says by the terms. Violations of other names say nothing. nearby may be nil.
func NewEvidence(store *Store, terms []Terms, nearby *Neighbourhood) *Evidence {
	e := &Evidence{store: store, kinds: make(map[ID]*kind, len(terms)), nearby: nearby}
	for _, t := range terms {
		e.kinds[IDOf(t.Name)] = &kind{
			Terms: t, source: score.OfOwn(t.Name, t.Most), categories: reputation.CategoriesOf(t.Category),
		}
	}
	return e
}

// Knows reports whether there may be evidence about an address of the autonomous system, which is 0 if it is not known.
func (e *Evidence) Knows(addr netip.Addr, asn uint32) bool {
	return e.store.Has(addr) || e.nearby.knows(addr, asn)
}

// Nearby is the source of what the neighbours did. It is nil if they do not count, and while nobody has any.
func (e *Evidence) Nearby() *score.Source {
	if e.nearby == nil || !e.nearby.offenders.IsUsed() {
		return nil
	}
	return &e.nearby.source
}

// Most is how many pieces of evidence there are of an address at most.
func (e *Evidence) Most() int { return MaxNames + 1 }

// AddEvidence appends what is known of an address. now is in seconds since 1970. If there is room, it does not allocate.
func (e *Evidence) AddEvidence(
	evidence []score.Evidence, addr netip.Addr, facts reputation.Facts, now uint32,
) []score.Evidence {
	var subject Subject
	if e.store.Find(addr, &subject) {
		at := time.Unix(int64(now), 0)
		for i := range subject.Slots {
			slot := &subject.Slots[i]
			k := e.kinds[slot.ID]
			if k == nil || slot.Last == 0 {
				continue
			}
			points := slot.PointsAt(&k.Terms, at)
			if points < least {
				continue
			}
			evidence = append(evidence, score.Evidence{
				Source: &k.source, Severity: points / k.Most, Confidence: 1, Categories: k.categories, Age: since(slot.Last, now),
			})
		}
	}
	if e.nearby.countsFor(facts.Nature) {
		evidence = e.nearby.addEvidence(evidence, addr, facts.ASN, now)
	}
	return evidence
}

// since returns the time between two moments, in seconds since 1970.
func since(then, now uint32) time.Duration { return time.Duration(now-min(then, now)) * time.Second }

// Seen returns what is remembered of an address, in the order in which it was first seen. Of a violation that has cost
// nothing yet, the points are 0.
func (e *Evidence) Seen(addr netip.Addr, now time.Time) (seen []Seen) {
	var subject Subject
	if !e.store.Find(addr, &subject) {
		return nil
	}
	for i := range subject.Slots {
		slot := &subject.Slots[i]
		if k := e.kinds[slot.ID]; k != nil && slot.Last != 0 {
			seen = append(seen, Seen{
				Name: k.Name, Points: slot.PointsAt(&k.Terms, now), Count: slot.CountAt(&k.Terms, now),
				Last: time.Unix(int64(slot.Last), 0),
			})
		}
	}
	return seen
}

// Neighbours returns what is known of the network of an address, besides the address itself.
func (e *Evidence) Neighbours(addr netip.Addr, asn uint32, now time.Time) Neighbours {
	return e.nearby.neighbours(addr, asn, record.Seconds(now))
}

// Follow keeps the neighbourhood up to date, until stop is called: with what the store remembers already, and with each
// change, here or on another instance. asn returns the autonomous system of an address, or 0.
func (e *Evidence) Follow(asn func(netip.Addr) uint32) (stop func()) {
	if e.nearby == nil {
		return func() {}
	}
	stop = e.store.Watch(func(addr netip.Addr) {
		var subject Subject
		if !e.store.Find(addr, &subject) {
			e.nearby.forget(addr, asn(addr))
			return
		}
		e.note(addr, &subject, asn)
	})
	e.store.Each(func(addr netip.Addr, subject *Subject) { e.note(addr, subject, asn) })
	return stop
}

// note tells the neighbourhood of an address that is an offender: by what its violations amounted to at the newest of
// them. So it stays one for a day, however soon they decay, and a restart changes nothing.
func (e *Evidence) note(addr netip.Addr, subject *Subject, asn func(netip.Addr) uint32) {
	var last uint32
	for i := range subject.Slots {
		last = max(last, subject.Slots[i].Last)
	}
	points, at := 0.0, time.Unix(int64(last), 0)
	for i := range subject.Slots {
		slot := &subject.Slots[i]
		if k := e.kinds[slot.ID]; k != nil {
			points += slot.PointsAt(&k.Terms, at)
		}
	}
	if points > offence {
		e.nearby.note(addr, asn(addr), last, record.Seconds(e.store.now()))
	}
}
