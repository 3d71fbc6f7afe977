package dnsbl

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// finding is what the codes of one answer say together.
type finding struct {
	meaning
	age   time.Duration // since the behaviour was last seen, if dated
	dated bool
}

// report returns what an answer about addr says of it.
func (l *list) report(a answer, addr netip.Addr, now time.Time) (reputation.Report, error) {
	found := finding{meaning: l.absent}
	if len(a.codes) > 0 {
		var err error
		if found, err = l.find(a.codes); err != nil {
			return reputation.Report{}, err
		}
		if addr.Is6() && l.sparse > 0 {
			found.confidence = min(found.confidence, l.sparse)
		}
	}
	r := reputation.Report{
		Severity: found.severity, Confidence: found.confidence, Categories: found.categories, TTL: a.ttl,
	}
	for _, kind := range kinds {
		if found.natures.Has(kind) {
			r.Facts.Nature = r.Facts.Nature.With(kind, true)
		}
	}
	if found.dated {
		r.LastSeen = now.Add(-found.age).UTC()
	}
	return r, nil
}

// kinds are those that lists know.
var kinds = []reputation.Kind{
	reputation.NatureTor, reputation.NatureVPN, reputation.NatureProxy, reputation.NatureHosting,
}

// find returns what the codes mean. One that is not known may say anything, that the list is closed included:
// the answer is no answer then.
func (l *list) find(codes []code) (finding, error) {
	if l.read != nil {
		return l.read(codes)
	}
	var found finding
	for i, c := range codes {
		m, known := l.codes[c]
		switch {
		case !known && l.other == nil:
			return finding{}, fmt.Errorf("%w: the list answers %s, which has no meaning that is known: say what it means, "+
				"such as `code %[2]s spam`", reputation.ErrBadAnswer, netip.AddrFrom4(c))
		case !known:
			m = *l.other
		}
		if i == 0 || m.severity > found.severity {
			found.severity, found.confidence = m.severity, m.confidence
		}
		found.categories |= m.categories
		found.natures |= m.natures
	}
	return found, nil
}

// The bits of the last octet in http:BL's answers.
const (
	suspicious = 1 << iota
	harvester
	commentSpammer
)

// readHoneyPot reads an answer of http:BL, whose octets after 127 are: the days since the address was seen, its
// threat score, and its type. Of a search engine, which has no type, the score is its number.
func readHoneyPot(codes []code) (finding, error) {
	if len(codes) != 1 {
		return finding{}, fmt.Errorf("%w: it has %d addresses, and http:BL answers with one",
			reputation.ErrBadAnswer, len(codes))
	}
	days, threat, kind := codes[0][1], codes[0][2], codes[0][3]
	switch {
	case kind&^(suspicious|harvester|commentSpammer) != 0:
		return finding{}, fmt.Errorf("%w: http:BL has no visitors of type %d", reputation.ErrBadAnswer, kind)
	case kind == 0:
		return finding{meaning: means(0, reputation.Crawler)}, nil
	}
	found := finding{
		meaning: means(min(1, float64(threat)*1.2/100)),
		age:     time.Duration(days) * 24 * time.Hour, dated: true,
	}
	if kind&suspicious != 0 {
		found.categories |= reputation.CategoriesOf(reputation.Abuse)
	}
	if kind&(harvester|commentSpammer) != 0 {
		found.categories |= reputation.CategoriesOf(reputation.Spam)
	}
	return found, nil
}

// meaningOf returns what a listing means to which an operator gave these categories. A policy and a good word accuse
// nobody; that somebody offers access to others is a fact more than an accusation.
func meaningOf(categories []reputation.Category) meaning {
	m := meaning{confidence: usual}
	for _, c := range categories {
		m.categories |= reputation.CategoriesOf(c)
		severity := 1.0
		switch c {
		case reputation.Policy, reputation.Crawler, reputation.BenignScanner, reputation.PublicService:
			severity = 0
		case reputation.Tor, reputation.VPN, reputation.Proxy, reputation.Hosting:
			severity = .5
			m.natures |= reputation.KindsOf(natureOf[c])
		}
		m.severity = max(m.severity, severity)
	}
	return m
}

var natureOf = map[reputation.Category]reputation.Kind{
	reputation.Tor: reputation.NatureTor, reputation.VPN: reputation.NatureVPN,
	reputation.Proxy: reputation.NatureProxy, reputation.Hosting: reputation.NatureHosting,
}
