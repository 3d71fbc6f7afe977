package record

import "github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"

// Origins says who gave each fact of a record: a provider, Databases, or 0 when that is not known, as in records that
// an earlier version wrote.
//
// Local databases beat providers, whatever is newer. Among providers the newest answer wins, fact by fact: an answer
// that says nothing of the country leaves the country of another. A fact whose giver is not known gives way to any.
type Origins struct {
	Country, ASN SourceID

	// Nature is who gave the kinds that are known but for those in Database. Of several providers it is the newest; the
	// kinds that it says nothing of are from others.
	Nature SourceID

	// Database has a bit for each kind of nature that local databases know.
	Database uint8
}

// SetDatabaseFacts replaces what local databases said of the subject by what they say now.
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

// DropDatabaseFacts forgets what local databases said of the subject.
func (r *Record) DropDatabaseFacts() {
	if r.From.Country == Databases {
		r.Country, r.From.Country = [2]byte{}, 0
	}
	if r.From.ASN == Databases {
		r.ASN, r.From.ASN = 0, 0
	}
	r.Nature, r.From.Database = without(r.Nature, r.From.Database), 0
}

// HasDatabaseFacts reports whether local databases know anything of the subject.
func (r *Record) HasDatabaseFacts() bool {
	return r.From.Country == Databases || r.From.ASN == Databases || r.From.Database != 0
}

// setFacts takes over what a provider said at a time, where nobody who counts more has said something.
func (r *Record) setFacts(source SourceID, at uint32, f reputation.Facts) {
	if c, ok := countryOf(f); ok && r.yields(r.From.Country, at) {
		r.Country, r.From.Country = c, source
	}
	if f.ASN != 0 && r.yields(r.From.ASN, at) {
		r.ASN, r.From.ASN = f.ASN, source
	}
	said := without(f.Nature, r.From.Database)
	switch {
	case said == reputation.Nature{}:
	case r.yields(r.From.Nature, at):
		r.Nature, r.From.Nature = r.Nature.Update(said), source
	default:
		r.Nature = said.Update(r.Nature)
	}
}

// yields reports whether a fact gives way to what a provider said at a time.
func (r *Record) yields(from SourceID, at uint32) bool {
	if from == Databases {
		return false
	}
	giver := r.Find(from)
	return from == 0 || giver == nil || giver.Fetched <= at
}

// mergeFacts takes over the facts of another record. Those of unknown origin count when any of its answers is newer.
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
		case Databases: // each instance has its own
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

// disown notes that a provider does not stand behind any fact any more. The facts stay until somebody gives others.
func (r *Record) disown(source SourceID) {
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

// countryOf returns the country that f knows.
func countryOf(f reputation.Facts) (code [2]byte, known bool) {
	if len(f.Country) != 2 {
		return code, false
	}
	code = [2]byte{f.Country[0], f.Country[1]}
	return code, isLetter(code[0]) && isLetter(code[1])
}

func isLetter(b byte) bool { return b-'A' <= 'Z'-'A' }

// without returns a nature that knows nothing of the given kinds.
func without(n reputation.Nature, kinds uint8) reputation.Nature {
	yes, no := n.Bits()
	return reputation.UnpackNature(yes&^kinds, no&^kinds)
}
