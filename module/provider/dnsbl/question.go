package dnsbl

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// asking returns the domain name that asks the list about an address.
func (l *list) asking(addr netip.Addr, key string) string {
	return strings.NewReplacer("{address}", labels(addr), "{key}", key).Replace(l.question) + "."
}

// labels returns an address as RFC 5782 writes it: its octets, of IPv6 its 32 nibbles, the last one first.
func labels(addr netip.Addr) string {
	if addr.Is4() {
		b := addr.As4()
		return fmt.Sprintf("%d.%d.%d.%d", b[3], b[2], b[1], b[0])
	}
	const length = 4*16 - 1
	text := make([]byte, 0, length+1)
	b := addr.As16()
	for i := len(b) - 1; i >= 0; i-- {
		text = strconv.AppendUint(text, uint64(b[i]&0xf), 16)
		text = append(text, '.')
		text = strconv.AppendUint(text, uint64(b[i]>>4), 16)
		text = append(text, '.')
	}
	return string(text[:length])
}

// keyForm is how the keys of a list are written. The zero value takes any that can be part of a name.
type keyForm struct {
	length int
	digits bool // besides lower-case letters
}

func (f keyForm) String() string {
	switch {
	case f.length == 0:
		return "1 to 63 lower-case letters and digits"
	case f.digits:
		return fmt.Sprintf("%d lower-case letters and digits", f.length)
	}
	return fmt.Sprintf("%d lower-case letters", f.length)
}

// checkKey returns an error unless the list can have such a key. It becomes a part of the name that is asked
// for: with a dot in it, somebody else would be asked.
func (l *list) checkKey(key string) error {
	if !l.needsKey() {
		return nil
	}
	if key == "" {
		return fmt.Errorf("%w: there is none, set the key option", reputation.ErrRefused)
	}
	f := l.key
	valid := len(key) == f.length || f.length == 0 && len(key) <= 63
	for _, c := range []byte(key) {
		valid = valid && ('a' <= c && c <= 'z' || '0' <= c && c <= '9' && (f.digits || f.length == 0))
	}
	if !valid {
		return fmt.Errorf("%w: its keys are %s", reputation.ErrRefused, f)
	}
	return nil
}

func (l *list) needsKey() bool { return strings.Contains(l.question, "{key}") }

// test is an entry that shows whether a list works.
type test struct {
	address string
	listed  bool
}

// rfc5782 are the test entries of RFC 5782, section 5: every list has 127.0.0.2, and none has 127.0.0.1. Those of
// IPv6 are the same as IPv4-mapped addresses.
func rfc5782(ipv6 bool) []test {
	tests := []test{{"127.0.0.2", true}, {"127.0.0.1", false}}
	if ipv6 {
		tests = append(tests, test{"::ffff:127.0.0.2", true}, test{"::ffff:127.0.0.1", false})
	}
	return tests
}
