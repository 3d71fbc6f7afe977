package record

import "github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"

// The layout of a record as 64-bit words, for tables of words:
//
//	word 0             spare (2) · country (2 × 5) · spare (8) · nature no, yes (2 × 6) · ASN (32)
//	word 1+2i          source (16) · severity (8) · confidence (8) · failed (1) · spare (1) ·
//	                   gave nature, ASN, country (3 × 1) · categories (19) · seen days (8)
//	word 2+2i          fetched (32) · due (32)
//
// A letter of the country is 1 to 26, or 0 when there is no country.
// A word of 0 at 1+2i is an empty slot.
const (
	categoryBits = 1<<19 - 1

	failedBit      = 1 << 31
	gaveNatureBit  = 1 << 29
	gaveASNBit     = 1 << 28
	gaveCountryBit = 1 << 27

	yesShift     = 32
	noShift      = 38
	natureBits   = 1<<6 - 1
	countryShift = 52
	letterBits   = 1<<5 - 1
)

// WordsFor returns the size, in words, of a record with the given number of answers.
func WordsFor(answers int) int { return 1 + 2*answers }

// Head returns word 0: the facts.
func (r *Record) Head() uint64 {
	yes, no := r.Nature.Bits()
	w := uint64(r.ASN) | uint64(yes&natureBits)<<yesShift | uint64(no&natureBits)<<noShift
	if isLetter(r.Country[0]) && isLetter(r.Country[1]) {
		w |= uint64(r.Country[0]-'A'+1)<<(countryShift+5) | uint64(r.Country[1]-'A'+1)<<countryShift
	}
	return w
}

// SetHead reads word 0. Which provider gave a fact is stored with the answers: see SetGiven.
func (r *Record) SetHead(w uint64) {
	r.ASN = uint32(w)
	r.Nature = reputation.UnpackNature(byte(w>>yesShift&natureBits), byte(w>>noShift&natureBits))
	r.From, r.Country = Origins{}, [2]byte{}
	first, second := byte(w>>(countryShift+5)&letterBits)+'A'-1, byte(w>>countryShift&letterBits)+'A'-1
	if isLetter(first) && isLetter(second) {
		r.Country = [2]byte{first, second}
	}
}

// SetFirstHead reads word 0 in the form of the first version, which has no origins:
//
//	country (16) · nature yes (8) · nature no (8) · ASN (32)
func (r *Record) SetFirstHead(w uint64) {
	r.From, r.Country = Origins{}, [2]byte{}
	r.ASN, r.Nature = uint32(w), reputation.UnpackNature(byte(w>>40), byte(w>>32))
	if code := [2]byte{byte(w >> 56), byte(w >> 48)}; isLetter(code[0]) && isLetter(code[1]) {
		r.Country = code
	}
}

// Words returns the two words of one of the record's answers. They
// include which facts came with it.
func (r *Record) Words(a *Answer) (uint64, uint64) {
	w0, w1 := a.Words()
	if a.Source == 0 {
		return w0, w1
	}
	if r.From.Country == a.Source {
		w0 |= gaveCountryBit
	}
	if r.From.ASN == a.Source {
		w0 |= gaveASNBit
	}
	if r.From.Nature == a.Source {
		w0 |= gaveNatureBit
	}
	return w0, w1
}

// SetGiven reads which facts came with an answer from the answer's first word. Call SetHead before.
func (r *Record) SetGiven(w0 uint64) {
	if w0&(gaveCountryBit|gaveASNBit|gaveNatureBit) != 0 {
		r.setGiven(w0)
	}
}

func (r *Record) setGiven(w0 uint64) {
	source := SourceID(w0 >> 48)
	if w0&gaveCountryBit != 0 {
		r.From.Country = source
	}
	if w0&gaveASNBit != 0 {
		r.From.ASN = source
	}
	if w0&gaveNatureBit != 0 {
		r.From.Nature = source
	}
}

// Words returns the answer's two words.
func (a Answer) Words() (uint64, uint64) {
	w := uint64(a.Source)<<48 | uint64(uint8(a.Severity))<<40 | uint64(a.Confidence)<<32 |
		uint64(a.Categories&categoryBits)<<8 | uint64(a.SeenDays)
	if a.Failed {
		w |= failedBit
	}
	return w, uint64(a.Fetched)<<32 | uint64(a.Due)
}

// AnswerFrom reads an answer's two words. It accepts any words, and brings values of a damaged
// snapshot into range.
func AnswerFrom(w0, w1 uint64) Answer {
	return Answer{
		Source:     SourceID(w0 >> 48),
		Severity:   max(min(int8(uint8(w0>>40)), 100), -100),
		Confidence: min(uint8(w0>>32), 100),
		Failed:     w0&failedBit != 0,
		Categories: reputation.Categories(w0>>8) & categoryBits,
		SeenDays:   uint8(w0),
		Fetched:    uint32(w1 >> 32),
		Due:        uint32(w1),
	}
}
