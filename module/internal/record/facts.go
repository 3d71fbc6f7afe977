package record

import "github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"

// Origins are the sources of a record's facts: for each fact a provider, Databases, or 0 if it is
// unknown, as in records of earlier versions.
//
// Facts of local databases have precedence over those of providers, even newer ones. Among
// providers, the newest answer wins for each fact: an answer without a country does not remove the
// country of another. A fact of unknown origin is replaced by any other.
type Origins struct {
	Country, ASN SourceID

	// Nature is the newest provider that gave kinds of nature. The kinds that its answer left open
	// may be from others, and those in Database are from databases.
	Nature SourceID

	// Database has a bit for each kind of nature that local databases gave.
	Database uint8
}

// SetDatabaseFacts replaces the facts of local databases.
func (r *Record) SetDatabaseFacts(f reputation.Facts) {
	r.DropDatabaseFacts()
	if c, ok := countryOf(f); ok {
		r.Country, r.From.Country = c, Databases
	}
	if f.ASN != 0 {
		r.ASN, r.From.ASN = f.ASN, Databases
	}
	yes, no := f.Nature.Bits()
	r.Nature, r.From.Database = r.Nature.Update(f.Nature), yes|no
}

// DropDatabaseFacts removes the facts of local databases.
func (r *Record) DropDatabaseFacts() {
	if r.From.Country == Databases {
		r.Country, r.From.Country = [2]byte{}, 0
	}
	if r.From.ASN == Databases {
		r.ASN, r.From.ASN = 0, 0
	}
	r.Nature, r.From.Database = without(r.Nature, r.From.Database), 0
}

// setFacts sets the facts that a provider gave at a time, except where a fact of higher precedence
// is known: see Origins.
func (r *Record) setFacts(source SourceID, at uint32, f reputation.Facts) {
	if c, ok := countryOf(f); ok && r.replaceable(r.From.Country, at) {
		r.Country, r.From.Country = c, source
	}
	if f.ASN != 0 && r.replaceable(r.From.ASN, at) {
		r.ASN, r.From.ASN = f.ASN, source
	}
	known := without(f.Nature, r.From.Database)
	switch {
	case known == reputation.Nature{}:
	case r.replaceable(r.From.Nature, at):
		r.Nature, r.From.Nature = r.Nature.Update(known), source
	default:
		r.Nature = known.Update(r.Nature)
	}
}

// replaceable reports whether a fact of the given origin is replaced
// by one that a provider gave at a time.
func (r *Record) replaceable(from SourceID, at uint32) bool {
	if from == Databases {
		return false
	}
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
		{other.From.Nature, reputation.Facts{Nature: without(other.Nature, other.From.Database)}},
	} {
		switch field.from {
		case Databases: // each instance looks up its own
		case 0:
			if newer {
				r.setFacts(0, 0, field.facts)
			}
		default:
			given, mine := other.Find(field.from), r.Find(field.from)
			if given != nil && mine != nil && given.Fetched == mine.Fetched {
				r.setFacts(field.from, given.Fetched, field.facts)
			}
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

// without returns n with the given kinds unknown.
func without(n reputation.Nature, kinds uint8) reputation.Nature {
	yes, no := n.Bits()
	return reputation.UnpackNature(yes&^kinds, no&^kinds)
}
