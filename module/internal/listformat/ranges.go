package listformat

import (
	"bufio"
	"bytes"
	"net/netip"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
)

// Ranges has one range a line, as A - B, A-B, A B, name:A-B, an address with a netmask, or as Text has
// it. In a list of others, further fields are the publisher's data unless one of them is an address.
const Ranges Encoding = "ranges"

var ranges = notation{encoding: Ranges, check: checkText, read: readRanges, looks: looksLikeRanges}

// forms are ways to write a range that are read besides CIDRs.
type forms uint8

const (
	dashed forms = iota + 1 // A - B, A-B: nothing else can be meant
	paired                  // and A B, A mask, name:A-B
)

const (
	isBackwards = "is a range that ends before it begins: write the lower address first"
	isWide      = "is too wide: /8 and, in IPv6, /16 are the widest"
)

func readRanges(r *bufio.Reader, f *Format, c *collector) error {
	c.forms = paired
	return readText(r, f, c)
}

// rangeOr takes a line as a range from one address to another, or else rejects the entry.
func (c *collector) rangeOr(number int, line, entry []byte, why string) error {
	if c.forms == dashed && c.list.AddASN == nil {
		if r, rest, ok := cutRange(line, dashed); ok {
			return c.addRange(number, line, r, rest)
		}
	}
	return c.reject(number, entry, why)
}

// addRange takes a range of a line, and what follows it.
func (c *collector) addRange(number int, line []byte, r address.Range, rest []byte) error {
	line = bytes.TrimSpace(line)
	switch {
	case c.options.Own && !startsWith(line, r.From):
		return c.reject(number, line, "is neither an address nor a range: write the first address of the network")
	case !r.IsValid():
		return c.reject(number, line, isBackwards)
	case r.TooWide():
		return c.reject(number, line, isWide)
	}
	if why := c.misreadRest(rest); why != "" {
		return c.reject(number, line, why)
	}
	for p := range r.Prefixes() {
		if err := c.take(p); err != nil {
			return err
		}
	}
	return nil
}

// startsWith reports whether the first field of a line is the first address of its range, unless it is
// no address at all. With a netmask, it may have host bits.
func startsWith(line []byte, from netip.Addr) bool {
	first, _ := firstField(line)
	addr, ok := parseAddr(first)
	return !ok || addr == from
}

// misreadRest returns what is wrong with the text behind a range, or "".
func (c *collector) misreadRest(rest []byte) string {
	for len(rest) > 0 {
		var field []byte
		field, rest = firstField(rest)
		switch {
		case len(field) == 0:
		case c.options.Own:
			return isNoComment
		case mayBeAddress(field) && isAddress(bytes.Trim(field, `-()[]"'`)):
			return isSeveral
		}
	}
	return ""
}

// cutRange returns the range at the beginning of a line and what follows it. The range may be invalid.
func cutRange(line []byte, allowed forms) (r address.Range, rest []byte, ok bool) {
	if allowed == paired {
		if r, ok = namedRange(line); ok {
			return r, nil, true
		}
	}
	first, rest := firstField(line)
	if from, to, isDashed := bytes.Cut(first, []byte("-")); isDashed && len(to) > 0 { // A-B
		r, ok = rangeOf(from, to)
		return r, rest, ok
	}
	second, after := firstField(bytes.TrimLeft(rest, " \t,"))
	from, isOpen := bytes.CutSuffix(first, []byte("-")) // A- B
	switch to, isClosed := bytes.CutPrefix(second, []byte("-")); {
	case string(second) == "-" || string(second) == "–": // A - B
		second, after = firstField(bytes.TrimLeft(after, " \t"))
	case isOpen:
	case isClosed: // A -B
		second = to
	case allowed != paired:
		return r, nil, false
	default:
		if r, ok = masked(from, second); ok {
			return r, after, true
		}
	}
	r, ok = rangeOf(from, second)
	return r, after, ok
}

// namedRange reads name:A-B. The name may hold anything.
func namedRange(line []byte) (r address.Range, ok bool) {
	from, to, ok := bytes.Cut(line[bytes.LastIndexByte(line, ':')+1:], []byte("-"))
	if !ok || len(from)+len(to)+1 == len(line) || bytes.IndexByte(from, '.') < 0 {
		return r, false
	}
	return rangeOf(bytes.TrimSpace(from), bytes.TrimSpace(to))
}

// rangeOf returns the range from one address to another, which may be invalid.
func rangeOf(from, to []byte) (r address.Range, ok bool) {
	if r.From, ok = parseAddr(from); !ok {
		return r, false
	}
	r.To, ok = parseAddr(to)
	return r, ok
}

func parseAddr(b []byte) (netip.Addr, bool) {
	if bytes.IndexByte(b, '/') >= 0 {
		return netip.Addr{}, false
	}
	p, ok := ParsePrefix(b)
	return p.Addr(), ok
}

// masked returns the range of an address and its netmask.
func masked(addr, mask []byte) (r address.Range, ok bool) {
	from, ok := parseAddr(addr)
	m, isAddr := parseAddr(mask)
	if !ok || !isAddr || !from.Is4() {
		return r, false
	}
	bits, ok := address.Netmask(m)
	if !ok {
		return r, false
	}
	p := netip.PrefixFrom(from, bits)
	return address.RangeOf(p.Masked()), true
}

// looksLikeRanges recognises the forms that only Ranges has. In an own list, two addresses on a line
// may be two entries.
func looksLikeRanges(c *collector, line []byte) bool {
	if _, _, ok := cutRange(line, dashed); ok || c.options.Own {
		return false
	}
	first, _ := firstField(line)
	if len(line) > len(first) && line[len(first)] == ',' { // two columns of a CSV
		return false
	}
	r, _, ok := cutRange(line, paired)
	return ok && r.IsValid() && !r.TooWide()
}
