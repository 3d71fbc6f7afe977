package address

import "math"

// ParseASN reads the number of an autonomous system, such as AS64500 or 64500. Zero is none.
func ParseASN[T string | []byte](text T) (asn uint32, ok bool) {
	if len(text) > 2 && text[0]|0x20 == 'a' && text[1]|0x20 == 's' {
		text = text[2:]
	}
	const digits = 10 // of the largest number
	if len(text) == 0 || len(text) > digits || text[0] == '0' {
		return 0, false
	}
	n := uint64(0)
	for i := range len(text) {
		if text[i]-'0' > 9 {
			return 0, false
		}
		n = n*10 + uint64(text[i]-'0')
	}
	return uint32(n), n <= math.MaxUint32
}
