package record

import "github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"

// Origins are the providers that gave a record's facts, or 0 if that is unknown, as in records of
// earlier versions. Facts of local databases are not stored: each instance looks up its own.
//
// The newest answer wins for each fact: an answer without a country does not remove the country of
// another. A fact of unknown origin is replaced by any other.
type Origins struct {
	Country, ASN SourceID

	// Nature is the newest provider that gave kinds of nature. The kinds that its answer left open
	// may be from others.
	Nature SourceID
}

// setFacts sets the facts that a provider gave at a time, except where a newer one is known.
func (r *Record) setFacts(source SourceID, at uint32, f reputation.Facts) {
	if c, ok := countryOf(f); ok && r.replaceable(r.From.Country, at) {
		r.Country, r.From.Country = c, source
	}
	if f.ASN != 0 && r.replaceable(r.From.ASN, at) {
		r.ASN, r.From.ASN = f.ASN, source
	}
	switch {
	case f.Nature == reputation.Nature{}:
	case r.replaceable(r.From.Nature, at):
		r.Nature, r.From.Nature = r.Nature.Update(f.Nature), source
	default:
		r.Nature = f.Nature.Update(r.Nature)
	}
}

// replaceable reports whether a fact of the given origin is replaced
// by one that a provider gave at a time.
func (r *Record) replaceable(from SourceID, at uint32) bool {
	origin := r.Find(from)
	return from == 0 || origin == nil || origin.Fetched <= at
}

// mergeFacts sets the facts of another record where they have precedence. Those of unknown origin
// do if newer is true.
func (r *Record) mergeFacts(other *Record, newer bool) {
	for _, field := range []struct {
		from  SourceID
		facts reputation.Facts
	}{
		{other.From.Country, reputation.Facts{Country: string(other.Country[:])}},
		{other.From.ASN, reputation.Facts{ASN: other.ASN}},
		{other.From.Nature, reputation.Facts{Nature: other.Nature}},
	} {
		if field.from == 0 {
			if newer {
				r.setFacts(0, 0, field.facts)
			}
			continue
		}
		given, mine := other.Find(field.from), r.Find(field.from)
		if given != nil && mine != nil && given.Fetched == mine.Fetched {
			r.setFacts(field.from, given.Fetched, field.facts)
		}
	}
}

// clearOrigin makes the origin of a provider's facts unknown. The
// facts stay until others replace them.
func (r *Record) clearOrigin(source SourceID) {
	if r.From.Country == source {
		r.From.Country = 0
	}
	if r.From.ASN == source {
		r.From.ASN = 0
	}
	if r.From.Nature == source {
		r.From.Nature = 0
	}
}

// countryOf returns the country in f.
func countryOf(f reputation.Facts) (code [2]byte, known bool) {
	if len(f.Country) != 2 {
		return code, false
	}
	code = [2]byte{f.Country[0], f.Country[1]}
	return code, isLetter(code[0]) && isLetter(code[1])
}

func isLetter(b byte) bool { return b-'A' <= 'Z'-'A' }
