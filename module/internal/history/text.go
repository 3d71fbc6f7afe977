package history

import (
	"hash/maphash"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The most bytes of a text that are kept.
const (
	maxHost = 253 // the longest name that DNS has
	maxText = 128
)

// plain returns a text as it may be stored: without what cannot be printed, and no longer than some bytes. Mostly that is the
// text itself.
func plain(s string, most int) string {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			s = strings.Map(func(r rune) rune {
				if r == utf8.RuneError || !unicode.IsPrint(r) {
					return '?'
				}
				return r
			}, s)
			break
		}
	}
	if len(s) > most {
		s = s[:most]
		for !utf8.ValidString(s) { // at most three times: it was valid before
			s = s[:len(s)-1]
		}
	}
	return s
}

// hostOf returns the host that a client named, without the port, in the one of its spellings that sites are named by.
func hostOf(s string) string {
	if i := strings.LastIndexByte(s, ':'); i >= 0 && strings.IndexByte(s, ']') < i && (s[0] == '[' || strings.IndexByte(s, ':') == i) {
		s = s[:i]
	}
	return strings.ToLower(plain(strings.TrimSuffix(s, "."), maxHost))
}

// hostsEach is how many hosts are told apart of what one address asked for in one minute. A client chooses what it calls the
// host, and must not be able to make rows without end.
const hostsEach = 16

// hosts remembers which hosts addresses asked for.
type hosts struct {
	seed  maphash.Seed
	known generations[hostsKey, hostSet]
}

type hostsKey struct {
	minute  int64
	address compact
}

type hostSet struct {
	n      uint8
	hashes [hostsEach]uint32
}

// few reports whether a host may have a row of its own.
func (h *hosts) few(minute int64, address netip.Prefix, host string) bool {
	k := hostsKey{minute, compacted(address)}
	hash := uint32(maphash.String(h.seed, host))
	set, _ := h.known.get(k)
	for _, other := range set.hashes[:set.n] {
		if other == hash {
			return true
		}
	}
	if set.n == hostsEach {
		return false
	}
	set.hashes[set.n] = hash
	set.n++
	h.known.put(k, set)
	return true
}

// compact is a prefix without pointers, so that the garbage collector need not look into maps of many.
type compact [17]byte

func compacted(p netip.Prefix) (c compact) {
	addr := p.Addr().As16()
	copy(c[:], addr[:])
	c[16] = byte(p.Bits())
	if p.Addr().Is4() {
		c[16] += 96
	}
	return c
}

// generations remembers what was put into it of late: between once and twice as much as a generation holds.
type generations[K comparable, V any] struct {
	most       int // of a generation
	young, old map[K]V
}

func newGenerations[K comparable, V any](most int) generations[K, V] {
	return generations[K, V]{most: most, young: make(map[K]V), old: make(map[K]V)}
}

func (g *generations[K, V]) get(k K) (V, bool) {
	v, ok := g.young[k]
	if !ok {
		if v, ok = g.old[k]; ok {
			g.put(k, v)
		}
	}
	return v, ok
}

func (g *generations[K, V]) put(k K, v V) {
	if len(g.young) >= g.most {
		g.young, g.old = g.old, g.young
		clear(g.young)
	}
	g.young[k] = v
}
