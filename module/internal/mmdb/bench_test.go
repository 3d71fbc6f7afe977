package mmdb

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// three are databases as a site may have: systems, countries, and what is anonymous.
func three(b *testing.B) (Set, []netip.Addr) {
	rng := rand.New(rand.NewPCG(1, 2))
	var asn, country, anonymous []testenv.Network
	var addrs []netip.Addr
	for range 20_000 {
		addr := netip.AddrFrom4([4]byte{byte(1 + rng.IntN(200)), byte(rng.IntN(256)), byte(rng.IntN(256)), byte(rng.IntN(256))})
		addrs = append(addrs, addr)
		p := netip.PrefixFrom(addr, 16+rng.IntN(9)).Masked().String()
		asn = append(asn, testenv.Network{Prefix: p, Record: m{
			"autonomous_system_number": uint(1 + rng.IntN(5000)), "autonomous_system_organization": "Example Net",
		}})
		country = append(country, testenv.Network{Prefix: p, Record: m{"country": m{"iso_code": string([]byte{'A' + byte(rng.IntN(26)), 'A'})}}})
		anonymous = append(anonymous, testenv.Network{Prefix: addr.String() + "/32", Record: m{"is_anonymous_vpn": true}})
	}
	var set Set
	for _, networks := range [][]testenv.Network{asn, country, anonymous} {
		c, err := parse(context.Background(), testenv.MMDB{Networks: networks}.Bytes(b), nil)
		if err != nil {
			b.Fatal(err)
		}
		set = append(set, fixed(c))
	}
	return set, addrs
}

func BenchmarkFacts(b *testing.B) {
	set, addrs := three(b)
	b.ReportAllocs()
	var f reputation.Facts
	i := 0
	for b.Loop() {
		f = set.Facts(addrs[i])
		if i++; i == len(addrs) {
			i = 0
		}
	}
	if f.ASN == 0 {
		b.Error("nothing is known")
	}
}

func BenchmarkParse(b *testing.B) {
	var networks []testenv.Network
	for i := range 50_000 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(20 + i>>16), byte(i >> 8), byte(i), 0}), 24)
		networks = append(networks, testenv.Network{Prefix: p.String(), Record: m{
			"autonomous_system_number": uint(1 + i%20_000), "autonomous_system_organization": "Example Net",
		}})
	}
	data := testenv.MMDB{Networks: networks}.Bytes(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parse(context.Background(), data, nil); err != nil {
			b.Fatal(err)
		}
	}
}
