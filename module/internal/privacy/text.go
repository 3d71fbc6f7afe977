package privacy

import (
	"net/netip"
	"strings"
)

// Text applies the Policy to every address in a text. It finds IPv4 and IPv6 addresses, short or in
// full, in brackets, with a port, a zone or a prefix length, with `:` as `%3A`, with `-` for the
// dots of IPv4 as in host names, and reversed DNS names. Anything that looks like an address counts
// as one, even a version of four numbers. Times, versions of three numbers and hexadecimal IDs are
// left unchanged.
//
// It does not allocate if the text has no address.
func (p *Policy) Text(text string) string {
	if p == nil || !strings.ContainsAny(text, ".:%-") {
		return text
	}
	var out strings.Builder
	done := 0
	for i := 0; i < len(text); {
		f, ok := p.find(text, i)
		if !ok {
			i++
			continue
		}
		if f.written != text[i:f.end] {
			out.WriteString(text[done:i])
			out.WriteString(f.written)
			done = f.end
		}
		i = f.end
	}
	if done == 0 {
		return text
	}
	out.WriteString(text[done:])
	return out.String()
}

// found is an address in a text: its end and its replacement.
type found struct {
	end     int
	written string
}

// find looks for an address that begins at i.
func (p *Policy) find(text string, i int) (found, bool) {
	c := text[i]
	if !isHex(c) && c != ':' && c != '%' {
		return found{}, false
	}
	if f, ok := p.v6At(text, i); ok {
		return f, true
	}
	if !isHex(c) {
		return found{}, false
	}
	if f, ok := p.nibblesAt(text, i); ok {
		return f, true
	}
	if !isDigit(c) || isDigit(before(text, i)) {
		return found{}, false
	}
	if f, ok := p.quadAt(text, i, '.'); ok {
		return f, true
	}
	return p.quadAt(text, i, '-')
}

// quadAt looks for an IPv4 address whose numbers are joined by dots or hyphens.
func (p *Policy) quadAt(text string, i int, joint byte) (found, bool) {
	if i > 1 && text[i-1] == joint && isDigit(text[i-2]) {
		return found{}, false // inside a row of numbers that was already checked
	}
	numbers, longest, end := 0, 0, i
	inRow := 0 // consecutive numbers that can be octets
	var octets [4]byte
	for j := i; ; {
		n, next := number(text, j)
		if next == j {
			break
		}
		end = next
		if numbers < 4 && n <= 255 {
			octets[numbers] = byte(n)
		}
		numbers++
		if n <= 255 && next-j <= 3 {
			inRow++
		} else {
			inRow = 0
		}
		longest = max(longest, inRow)
		if next+1 >= len(text) || text[next] != joint || !isDigit(text[next+1]) {
			break
		}
		j = next + 1
	}
	if longest < 4 {
		return found{}, false
	}
	if first, _ := number(text, i); joint == '-' && first > 255 {
		return found{}, false // a date
	}
	if numbers > 4 || end+1 < len(text) && text[end] == '.' && isLetter(text[end+1]) {
		return found{end, Hidden}, true // an address among other numbers, or a name that may be reversed
	}
	if joint == '-' {
		return found{end, p.Addr(netip.AddrFrom4(octets))}, true
	}
	return p.withPrefix(text, end, netip.AddrFrom4(octets)), true
}

// number parses a decimal number. Numbers above 1000 become 1000, since they are no octets anyway.
func number(text string, i int) (n, end int) {
	for end = i; end < len(text) && isDigit(text[end]); end++ {
		n = min(n*10+int(text[end]-'0'), 1000)
	}
	return n, end
}

// nibblesAt looks for the reversed name of an IPv6 address: its digits, each followed by a dot.
func (p *Policy) nibblesAt(text string, i int) (found, bool) {
	const least = 16 // the digits of a /64
	n, end := 0, i
	for end < len(text) && isHex(text[end]) {
		n++
		end++
		if end+1 >= len(text) || text[end] != '.' || !isHex(text[end+1]) || end+2 < len(text) && isWord(text[end+2]) {
			break
		}
		end++
	}
	return found{end, Hidden}, n >= least
}

// maxV6 is the length of the longest IPv6 address: eight groups, or six and an IPv4 address.
const maxV6 = len("0000:0000:0000:0000:0000:0000:255.255.255.255")

// v6At looks for the longest IPv6 address that begins at i.
func (p *Policy) v6At(text string, i int) (found, bool) {
	previous := before(text, i)
	if isHex(previous) {
		return found{}, false // inside a group
	}
	// next to a word, as in `Foo::Bad`, an address needs three colons
	touches := isWord(previous)
	var room [maxV6 + 1]byte
	var ends [maxV6 + 1]int    // the end of each byte in the text
	var likely [maxV6 + 1]bool // whether an address can end here; saves calls of ParseAddr
	run, colons, doubles, dots := room[:0], 0, 0, 0
	j := i
	for ; j < len(text) && len(run) < cap(run); j = ends[len(run)-1] {
		c, end := text[j], j+1
		if c == '%' && isColon(text, j) {
			c, end = ':', j+3
		}
		if !isHex(c) && c != ':' && c != '.' {
			break
		}
		if c == ':' {
			colons++
			if len(run) > 0 && run[len(run)-1] == ':' {
				doubles++
			}
		}
		if c == '.' {
			dots++
		}
		ends[len(run)] = end
		likely[len(run)] = c != '.' && (dots == 0 || dots == 3) &&
			(doubles == 1 && colons <= 8 || doubles == 0 && colons == 7-dots/3)
		run = append(run, c)
	}
	if colons < 2 {
		return found{}, false
	}
	if doubles == 0 && (colons < 6 || colons+colonsBefore(text, i) > 9) {
		return found{}, false // a time, or a fingerprint
	}
	for n := len(run); n > 1; n-- {
		end := ends[n-1]
		if !likely[n-1] {
			continue
		}
		if n < len(run) && isHex(run[n-1]) && isHex(run[n]) ||
			n < len(run) && run[n] == '.' && end+1 < len(text) && isDigit(text[end+1]) {
			continue // inside a number
		}
		addr, err := netip.ParseAddr(string(run[:n]))
		if err != nil {
			continue
		}
		if (touches || end < len(text) && isWord(text[end])) && count(run[:n], ':') < 3 {
			return found{}, false
		}
		return p.withPrefix(text, withoutZone(text, end), addr), true
	}
	return found{}, false
}

// withPrefix includes the prefix length that may follow an address.
func (p *Policy) withPrefix(text string, end int, addr netip.Addr) found {
	if end < len(text) && text[end] == '/' {
		bits, next := number(text, end+1)
		if next > end+1 && (next == len(text) || !isWord(text[next])) && bits <= addr.BitLen() {
			return found{next, p.Prefix(netip.PrefixFrom(addr, bits))}
		}
	}
	return found{end, p.Addr(addr)}
}

// withoutZone returns the end of the zone that may follow an address, such as %eth0, or i.
func withoutZone(text string, i int) int {
	if i+1 >= len(text) || text[i] != '%' {
		return i
	}
	begin := i + 1
	if strings.HasPrefix(text[begin:], "25") { // an escaped %
		begin += 2
	} else if begin+1 < len(text) && isHex(text[begin]) && isHex(text[begin+1]) {
		return i // another escaped character
	}
	end := begin
	for end < len(text) && isWord(text[end]) {
		end++
	}
	if end == begin {
		return i
	}
	return end
}

// before returns the character before i; a space at the beginning and for an escaped character such
// as %20.
func before(text string, i int) byte {
	if i == 0 || i > 2 && text[i-3] == '%' && isHex(text[i-2]) && isHex(text[i-1]) {
		return ' '
	}
	return text[i-1]
}

// colonsBefore counts the colons in the groups that end before i, within the length of an address.
func colonsBefore(text string, i int) (n int) {
	for j := i - 1; j >= max(0, i-maxV6) && (isHex(text[j]) || text[j] == ':'); j-- {
		if text[j] == ':' {
			n++
		}
	}
	return n
}

func isColon(text string, i int) bool {
	return i+2 < len(text) && text[i+1] == '3' && text[i+2]|0x20 == 'a'
}

func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isHex(c byte) bool    { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }
func isWord(c byte) bool   { return isDigit(c) || isLetter(c) || c == '_' }

func count(b []byte, c byte) (n int) {
	for i := range b {
		if b[i] == c {
			n++
		}
	}
	return n
}
