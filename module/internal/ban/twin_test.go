package ban

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// twin does what Store does, by looking at every entry.
type twin map[twinKey]Entry

type twinKey struct {
	kind   Kind
	prefix netip.Prefix
}

func (w twin) lookup(addr netip.Addr) (banned, exempt bool) {
	for k := range w {
		if k.prefix.Contains(addr) {
			banned = banned || k.kind == Ban
			exempt = exempt || k.kind == Exemption
		}
	}
	return banned && !exempt, exempt
}

func (w twin) find(addr netip.Addr) (n int) {
	for k := range w {
		if k.prefix.Contains(addr) {
			n++
		}
	}
	return n
}

func TestTwin(t *testing.T) {
	// few addresses, so that prefixes nest, meet and replace each other
	addrs := rapid.Custom(func(t *rapid.T) netip.Addr {
		low := byte(rapid.IntRange(0, 15).Draw(t, "low"))
		if rapid.Bool().Draw(t, "v4") {
			return netip.AddrFrom4([4]byte{203, 0, 113, low})
		}
		return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: low})
	})
	prefixes := rapid.Custom(func(t *rapid.T) netip.Prefix {
		addr := addrs.Draw(t, "addr")
		return netip.PrefixFrom(addr, addr.BitLen()-rapid.IntRange(0, 5).Draw(t, "host bits")).Masked()
	})
	kinds := rapid.SampledFrom([]Kind{Ban, Exemption})

	rapid.Check(t, func(t *rapid.T) {
		s, err := Open("", Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		slow := twin{}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				e := Entry{Kind: kinds.Draw(t, "kind"), Prefix: prefixes.Draw(t, "prefix"), Reason: rapid.StringMatching(`[a-z]{0,3}`).Draw(t, "reason")}
				e, err := s.Add(e)
				if err != nil {
					t.Fatal(err)
				}
				slow[twinKey{e.Kind, e.Prefix}] = e
			},
			"remove": func(t *rapid.T) {
				k := twinKey{kinds.Draw(t, "kind"), prefixes.Draw(t, "prefix")}
				_, want := slow[k]
				if got, err := s.Remove(k.kind, k.prefix); got != want || err != nil {
					t.Fatalf("Remove: %v, %v, want %v", got, err, want)
				}
				delete(slow, k)
			},
			"": func(t *rapid.T) {
				addr := addrs.Draw(t, "asked")
				banned, exempt := s.Lookup(addr)
				if wantBan, wantExempt := slow.lookup(addr); banned != wantBan || exempt != wantExempt {
					t.Fatalf("Lookup(%s) = %v, %v, want %v, %v", addr, banned, exempt, wantBan, wantExempt)
				}
				if got, want := len(s.Find(addr)), slow.find(addr); got != want {
					t.Fatalf("Find(%s) returns %d entries, want %d", addr, got, want)
				}
				all := append(s.List(Ban), s.List(Exemption)...)
				if len(all) != len(slow) || s.Len(Ban)+s.Len(Exemption) != len(slow) {
					t.Fatalf("%d entries, want %d", len(all), len(slow))
				}
				for _, e := range all {
					if slow[twinKey{e.Kind, e.Prefix}] != e {
						t.Fatalf("%v is not what was added last", e)
					}
				}
			},
		})
	})
}
