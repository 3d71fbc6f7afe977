package address

import (
	"math"
	"strings"
)

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
	if n > math.MaxUint32 {
		return 0, false
	}
	return uint32(n), true
}

// ParseCountry reads the code of a country (ISO 3166-1 alpha-2), and returns it in capitals.
func ParseCountry(text string) (code string, ok bool) {
	code = strings.ToUpper(text) // the letter ı has two bytes, and is I in upper case
	if len(text) != 2 || len(code) != 2 || strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return "", false
	}
	return code, true
}
