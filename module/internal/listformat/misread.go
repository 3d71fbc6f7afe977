package listformat

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
)

const (
	tooLong      = "is longer than 64 KiB"
	isFromTo     = "is a range from one address to another: write CIDR ranges such as 203.0.113.0/24"
	isSeveral    = "names more than one address: write one address or CIDR a line, or `format ranges` if they begin and end a range"
	isSpaced     = "has a space before the length: write it as in 203.0.113.0/24"
	isNoComment  = "has text behind the address: begin a comment with #"
	isNotAddress = "is not an address or a CIDR"
	isNetwork    = "is an autonomous system: write `format asn` if all of the list are"
)

// misread returns what is wrong with a line whose first field alone would be another entry than
// the line, or "". In an own list, any further field is wrong.
func (c *collector) misread(first, rest []byte) string {
	switch {
	case len(rest) == 0:
		return ""
	case c.list.AddASN != nil:
		return c.misreadASN(rest)
	case !isAddress(first):
		return ""
	}
	dash, more := false, false
	for len(rest) > 0 {
		var field []byte
		field, rest = firstField(rest)
		switch {
		case len(field) == 0:
			continue
		case field[0] == '/' && (len(field) == 1 || field[1]-'0' <= 9):
			return isSpaced
		case !mayBeAddress(field):
		case !isAddress(bytes.Trim(field, `-()[]"'`)):
			if (dash || field[0] == '-') && isQuad(bytes.TrimLeft(field, "-")) {
				return isFromTo
			}
		case dash || field[0] == '-':
			return isFromTo
		default:
			return cmp.Or(netmask(first, field), isSeveral)
		}
		dash, more = string(field) == "-" || string(field) == "–", true
	}
	if more && c.options.Own {
		return isNoComment
	}
	return ""
}

// mayBeAddress is a quick look, since the fields of a list of others are mostly words and numbers.
func mayBeAddress(field []byte) bool {
	return bytes.IndexByte(field, '.') >= 0 || bytes.IndexByte(field, ':') >= 0
}

// isQuad reports whether a field was meant as an IPv4 address, such as 203.0.113.300 or 203.0.113.
func isQuad(field []byte) bool {
	return bytes.Count(field, []byte(".")) >= 2 &&
		!slices.ContainsFunc(field, func(b byte) bool { return b != '.' && b-'0' > 9 })
}

func isAddress(field []byte) bool {
	_, ok := ParsePrefix(field)
	return ok
}

// netmask returns the cure for an address that is followed by an IPv4 netmask, or "" if the second
// field is none.
func netmask(first, second []byte) string {
	p, _ := ParsePrefix(second)
	if length, ok := address.Netmask(p.Addr()); ok && bytes.IndexByte(first, '/') < 0 {
		return fmt.Sprintf("has a netmask: write %.40s/%d", first, length)
	}
	return ""
}

// notAnAddress returns what is wrong with an entry that ParsePrefix refuses.
func notAnAddress(entry []byte) string {
	if from, to, ok := bytes.Cut(entry, []byte("-")); ok && isAddress(from) && isAddress(to) {
		return isFromTo
	}
	if isASNumber(entry) {
		return isNetwork
	}
	return isNotAddress
}

// isASNumber reports whether an entry is written as AS64500 is.
func isASNumber(entry []byte) bool {
	return len(entry) > 2 && bytes.EqualFold(entry[:2], []byte("AS")) &&
		!slices.ContainsFunc(entry[2:], func(b byte) bool { return b-'0' > 9 })
}

// hostBits returns the cure for a CIDR with host bits, such as 203.0.113.5/24: some mean the
// address, others the range. It returns "" if there are none.
func hostBits(entry []byte) string {
	p, err := netip.ParsePrefix(string(entry))
	if err != nil || p == p.Masked() {
		return ""
	}
	return fmt.Sprintf("write %s for the address, or %s for the range", p.Addr(), p.Masked())
}
