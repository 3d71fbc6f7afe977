package load_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
)

// kind is what the stack knows of a client. It is the path that the client asks for, so that vegeta's results tell them apart.
type kind string

const (
	known      kind = "known"      // the provider has nothing against it; one in ten is on a list
	unknown    kind = "new"        // comes once and never again
	suspicious kind = "suspicious" // the provider reports it: ten requests a minute
	reported   kind = "reported"   // the provider reports it: refused
	denied     kind = "denied"     // on our own list: refused
)

var kinds = []kind{known, unknown, suspicious, reported, denied}

// How many requests of a hundred are of which kind, and how many clients they come from.
var (
	shares = map[kind]int{known: 75, unknown: 10, suspicious: 5, reported: 5, denied: 5}
	crowds = map[kind]int{known: 10_000, suspicious: 200, reported: 1000, denied: 1000}
)

// right reports whether an answer is what a client should get. Plain Caddy refuses nobody.
func (k kind) right(status int, plain bool) bool {
	switch {
	case plain || k == known || k == unknown:
		return status == 200
	case k == suspicious:
		return status == 200 || status == 429
	}
	return status == 403
}

// client returns the i-th client of a kind: every other one has an IPv6 address. All are made up, and nothing with them in it
// leaves this machine.
func (k kind) client(i int) netip.Addr {
	if k == known && i%10 == 0 {
		return listed(i/10%lists, i)
	}
	n := slices.Index(kinds, k)
	if i%2 == 0 {
		return netip.AddrFrom4([4]byte{byte(20 + n), byte(i >> 17), byte(i >> 9), byte(i >> 1)})
	}
	a := [16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 1} // a /64 each, which is what is remembered
	binary.BigEndian.PutUint32(a[4:], uint32(n)<<28|uint32(i>>1))
	return netip.AddrFrom16(a)
}

// kindOf returns the kind of a client by its address.
func kindOf(addr netip.Addr) kind {
	n := int(addr.As16()[4] >> 4)
	if addr.Is4() {
		n = int(addr.As4()[0]) - 20
	}
	if n < 0 || n >= len(kinds) {
		return known // on a list
	}
	return kinds[n]
}

// Lists that are fetched, and the prefixes on each.
const (
	lists    = 5
	prefixes = 20_000
)

// listed returns an address in the i-th prefix of a list, none of which overlap.
func listed(list, i int) netip.Addr {
	i %= prefixes
	return netip.AddrFrom4([4]byte{byte(64 + list), byte(i >> 8), byte(i), 1})
}

// listText returns a list: single addresses, and every tenth a network.
func listText(list int) []byte {
	var text bytes.Buffer
	for i := range prefixes {
		addr := listed(list, i)
		if i%10 == 0 {
			fmt.Fprintln(&text, netip.PrefixFrom(addr, 24).Masked())
		} else {
			fmt.Fprintln(&text, addr)
		}
	}
	return text.Bytes()
}

// targets are requests without an end, as vegeta reads them: lazily, so that clients that were never seen before can come all
// the time. The same seed gives the same.
type targets struct {
	site     string
	newcomer int // the next unknown client
	random   *rand.Rand
	cycle    []kind
	next     int
	line     []byte // what is left of it
}

// newTargets returns requests to a site. Unknown clients are counted from newcomer on.
func newTargets(site string, newcomer int) *targets {
	t := &targets{site: site, newcomer: newcomer, random: rand.New(rand.NewPCG(1, uint64(newcomer)))}
	for _, k := range kinds {
		for range shares[k] {
			t.cycle = append(t.cycle, k)
		}
	}
	t.random.Shuffle(len(t.cycle), func(i, j int) { t.cycle[i], t.cycle[j] = t.cycle[j], t.cycle[i] })
	return t
}

// Read implements io.Reader. A target is a line.
func (t *targets) Read(p []byte) (n int, _ error) {
	for n < len(p) {
		if len(t.line) == 0 {
			t.line = t.target()
		}
		copied := copy(p[n:], t.line)
		t.line = t.line[copied:]
		n += copied
	}
	return n, nil
}

func (t *targets) target() []byte {
	k := t.cycle[t.next]
	t.next = (t.next + 1) % len(t.cycle)
	i := t.newcomer
	if k == unknown {
		t.newcomer++
	} else {
		i = t.random.IntN(crowds[k])
	}
	return fmt.Appendf(nil, `{"method":"GET","url":"http://%s/%s","header":{"X-Forwarded-For":["%s"]}}`+"\n", t.site, k, k.client(i))
}
