package listformat

import (
	"bufio"
	"bytes"
	"net/netip"
	"slices"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
)

// Apache are lines of Apache's configuration: "Deny from <address>...", "Require not ip
// <address>...", or all of them "Allow from" and "Require ip".
const Apache Encoding = "apache"

var apache = notation{encoding: Apache, check: checkText, read: readApache, looks: looksLikeApache}

// sections are the beginnings of the names of those that such lines stand in.
var sections = []string{"require", "limit", "files", "ifmodule", "directory", "location"}

// isSection reports whether a line is the beginning or the end of a section.
func isSection(line []byte) bool {
	name, ok := bytes.CutPrefix(line, []byte("<"))
	name = bytes.TrimPrefix(name, []byte("/"))
	return ok && slices.ContainsFunc(sections, func(s string) bool { return hasPrefixFold(name, s) })
}

func hasPrefixFold(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && isWord(b[:len(prefix)], prefix)
}

// isWord compares without regard to case.
func isWord(b []byte, word string) bool {
	return len(b) == len(word) && strings.EqualFold(string(b), word)
}

func looksLikeApache(_ *collector, line []byte) bool {
	directive, rest := cutField(line)
	second, rest := cutField(rest)
	switch {
	case isWord(directive, "deny"), isWord(directive, "allow"):
		return isWord(second, "from")
	case isWord(directive, "require"):
		third, _ := cutField(rest)
		return isWord(second, "ip") || isWord(second, "not") && isWord(third, "ip")
	}
	return isSection(line)
}

type apacheList struct {
	c         *collector
	verb      verb
	addresses several // of the line
	inNone    int     // sections <RequireNone> around the line
}

func readApache(r *bufio.Reader, _ *Format, c *collector) error {
	l := apacheList{c: c}
	return c.eachLine(r, l.line)
}

func (l *apacheList) line(number int, line []byte) error {
	directive, rest := cutField(line)
	if i := bytes.Index(rest, []byte(" #")); i >= 0 {
		rest = rest[:i]
	}
	second, addresses := cutField(rest)
	to := allows
	switch {
	case isSection(line):
		l.section(line)
		return nil
	case isWord(directive, "order"), isWord(directive, "satisfy"),
		isWord(directive, "require") && isWord(second, "all"):
		return nil
	case isWord(directive, "require") && isWord(second, "ip"):
		if l.inNone > 0 {
			to = denies
		}
	case isWord(directive, "require") && isWord(second, "not"):
		if second, addresses = cutField(addresses); !isWord(second, "ip") {
			return l.c.reject(number, line, isNoDirective)
		}
		to = denies
	case (isWord(directive, "deny") || isWord(directive, "allow")) && isWord(second, "from"):
		if isWord(directive, "deny") {
			to = denies
		}
		if isWord(bytes.TrimSpace(addresses), "all") {
			return l.c.all(number, line, &l.verb, to)
		}
	default:
		return l.c.reject(number, line, isNoDirective)
	}
	if len(bytes.TrimSpace(addresses)) == 0 {
		return l.c.reject(number, line, "has no address")
	}
	if !l.verb.is(to) {
		return l.c.exception(number, line, l.verb, to)
	}
	for field, rest := cutField(addresses); len(field) > 0; field, rest = cutField(rest) {
		l.addresses.add(l.understand(field))
	}
	return l.c.addAll(number, line, &l.addresses)
}

func (l *apacheList) section(line []byte) {
	switch {
	case hasPrefixFold(line, "<requirenone"):
		l.inNone++
	case hasPrefixFold(line, "</requirenone"):
		l.inNone = max(l.inNone-1, 0)
	}
}

// understand is that of collector. Apache also knows 10.1, and netmasks.
func (l *apacheList) understand(field []byte) (p netip.Prefix, why string) {
	p, ok := apachePrefix(field)
	switch {
	case !ok:
		return l.c.understand(field)
	case l.c.options.Own && p != p.Masked():
		return p, "is neither an address nor a range"
	}
	return p.Masked(), ""
}

// apachePrefix reads the beginning of an IPv4 address, or an address and its netmask.
func apachePrefix(field []byte) (p netip.Prefix, ok bool) {
	if from, mask, ok := bytes.Cut(field, []byte("/")); ok {
		addr, isAddr := parseAddr(from)
		m, isMask := parseAddr(mask)
		bits, ok := address.Netmask(m)
		return netip.PrefixFrom(addr, bits), ok && isAddr && isMask && addr.Is4()
	}
	field = bytes.TrimSuffix(field, []byte("."))
	octets := 1 + bytes.Count(field, []byte("."))
	const longest = len("255.255.255")
	if octets > 3 || len(field) > longest {
		return p, false
	}
	var text [longest + len(".0.0")]byte
	n := copy(text[:], field)
	n += copy(text[n:], ".0.0.0"[:2*(4-octets)])
	addr, ok := parseAddr(text[:n])
	return netip.PrefixFrom(addr, 8*octets), ok
}
