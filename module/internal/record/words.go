package record

import "github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"

// The layout of a record as 64-bit words, for tables that hold words only:
//
//	word 0             country (16) · nature yes (8) · nature no (8) · ASN (32)
//	word 1+2i          source (16) · severity (8) · confidence (8) · failed (1) · spare (4) · categories (19) · seen days (8)
//	word 2+2i          fetched (32) · due (32)
//
// A word of 0 at 1+2i is an empty place.
const (
	// Words is the size of a whole record.
	Words = 1 + 2*MaxAnswers

	categoryBits = 1<<19 - 1
	failedBit    = 1 << 31
)

// WordsFor returns the size of a record with places for the given number of providers only.
func WordsFor(answers int) int { return 1 + 2*answers }

// Head returns word 0: the facts.
func (r *Record) Head() uint64 {
	yes, no := r.Nature.Bits()
	return uint64(r.Country[0])<<56 | uint64(r.Country[1])<<48 | uint64(yes)<<40 | uint64(no)<<32 | uint64(r.ASN)
}

// SetHead reads word 0.
func (r *Record) SetHead(w uint64) {
	r.Country = [2]byte{byte(w >> 56), byte(w >> 48)}
	r.Nature = reputation.UnpackNature(byte(w>>40), byte(w>>32))
	r.ASN = uint32(w)
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

// AnswerFrom reads an answer's two words. It accepts any words: those of a damaged snapshot are brought into range.
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
