package listformat

import (
	"bytes"
	"math"
)

const (
	isNotASN      = "is not the number of an autonomous system: write it as in AS64500, or 64500"
	isSeveralASNs = "names more than one autonomous system: write one a line"
	notASNComment = "has text behind the number: begin a comment with #"
)

// ParseASN reads the number of an autonomous system, such as AS64500 or 64500. Zero is none.
func ParseASN(b []byte) (uint32, bool) {
	if len(b) > 2 && b[0]|0x20 == 'a' && b[1]|0x20 == 's' {
		b = b[2:]
	}
	const digits = 10 // of the largest number
	if len(b) == 0 || len(b) > digits || b[0] == '0' {
		return 0, false
	}
	n := uint64(0)
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return uint32(n), n <= math.MaxUint32
}

// addASN takes one entry of a list of autonomous systems.
func (c *collector) addASN(number int, entry []byte) error {
	asn, ok := ParseASN(entry)
	if !ok {
		return c.reject(number, entry, isNotASN)
	}
	c.list.Lines++
	return c.list.AddASN(asn)
}

// misreadASN returns what is wrong with a line whose first field is an autonomous system, or "". A
// number without AS is the publisher's data there.
func (c *collector) misreadASN(rest []byte) string {
	more := false
	for len(rest) > 0 {
		var field []byte
		if field, rest = firstField(rest); len(field) == 0 {
			continue
		}
		more = true
		field = bytes.Trim(field, `-()[]"'`)
		if _, ok := ParseASN(field); ok && field[0]|0x20 == 'a' {
			return isSeveralASNs
		}
	}
	if more && c.options.Own {
		return notASNComment
	}
	return ""
}
