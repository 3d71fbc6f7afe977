package listformat

import (
	"bufio"
	"bytes"
	"net/netip"
	"slices"
	"strings"
)

// Hosts has an address and then names on a line, as /etc/hosts. The addresses are the entries. A line
// that sends a name to this machine or to 0.0.0.0 lists a name, and not an address: it is wrong.
const Hosts Encoding = "hosts"

var hosts = notation{encoding: Hosts, check: checkText, read: readHosts, looks: looksLikeHosts}

// looksLikeHosts recognises the lines that make a file a hosts file: other lists have names behind
// addresses, too.
func looksLikeHosts(_ *collector, line []byte) bool {
	entry, rest := cutField(line)
	name, _ := cutField(rest)
	return isSink(entry) && isHostName(name)
}

// isSink reports whether an address is where hosts files send names that nobody should reach.
func isSink(entry []byte) bool {
	const longest = 64
	addr, err := netip.ParseAddr(string(entry[:min(len(entry), longest)]))
	return err == nil && (addr.IsLoopback() || addr.IsUnspecified() || addr.IsMulticast() || addr.Zone() != "" || addr == broadcast)
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// isHostName reports whether a field is a name: it has a letter, and is neither an address nor a number.
func isHostName(field []byte) bool {
	return len(field) > 0 && field[0] != '#' && !isAddress(field) && slices.ContainsFunc(field, isLetter)
}

func isLetter(b byte) bool { return 'a' <= b|0x20 && b|0x20 <= 'z' }

// isLocalName reports whether a name is one of this machine, which every hosts file has.
func isLocalName(name []byte) bool {
	lower := strings.ToLower(string(name[:min(len(name), sniffed)]))
	return strings.HasPrefix(lower, "localhost") || strings.HasPrefix(lower, "ip6-") || lower == "local" || lower == "broadcasthost"
}

func readHosts(r *bufio.Reader, _ *Format, c *collector) error {
	return c.eachLine(r, func(number int, line []byte) error {
		text, _, _ := bytes.Cut(line, []byte("#"))
		entry, names := cutField(bytes.TrimSpace(text))
		name, _ := cutField(names)
		switch {
		case isSink(entry) && isLocalName(name):
			c.skip()
			return nil
		case isSink(entry):
			return c.reject(number, line, "lists a name and not an address")
		case len(name) == 0:
			return c.reject(number, line, "has no name behind the address")
		}
		for field := range bytes.FieldsSeq(names) {
			if isAddress(field) {
				return c.reject(number, line, isSeveral)
			}
		}
		return c.add(number, entry)
	})
}
