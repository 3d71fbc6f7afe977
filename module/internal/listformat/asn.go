package listformat

import (
	"bytes"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
)

const (
	isNotASN      = "is not the number of an autonomous system: write it as in AS64500, or 64500"
	isSeveralASNs = "names more than one autonomous system: write one a line"
	notASNComment = "has text behind the number: begin a comment with #"
)

// addASN takes one entry of a list of autonomous systems.
func (c *collector) addASN(number int, entry []byte) error {
	asn, ok := address.ParseASN(entry)
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
		if _, ok := address.ParseASN(field); ok && field[0]|0x20 == 'a' {
			return isSeveralASNs
		}
	}
	if more && c.options.Own {
		return notASNComment
	}
	return ""
}
