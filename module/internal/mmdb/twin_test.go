package mmdb

import (
	"context"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/oschwald/maxminddb-golang/v2"
	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// TestFactsAgreeWithTheFile compares with asking the file itself about each address.
func TestFactsAgreeWithTheFile(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		file := testenv.MMDB{
			Version:    rapid.SampledFrom([]int{4, 6}).Draw(rt, "version"),
			RecordSize: rapid.SampledFrom([]int{24, 28, 32}).Draw(rt, "size"),
		}
		var addrs []netip.Addr
		for range rapid.IntRange(1, 20).Draw(rt, "networks") {
			p := prefixes(file.Version).Draw(rt, "prefix")
			file.Networks = append(file.Networks, testenv.Network{Prefix: p.String(), Record: m{
				"country_code": rapid.SampledFrom([]string{"DE", "NL", "?", "FR"}).Draw(rt, "country"),
				"asn":          uint(rapid.IntRange(0, 3).Draw(rt, "asn")),
			}})
			first, last := borders(p)
			addrs = append(addrs, first.Prev(), first, last, last.Next())
		}
		data := file.Bytes(t)
		c, err := parse(context.Background(), data, nil)
		if err != nil {
			return // no network has a fact
		}
		reader, err := maxminddb.OpenBytes(data)
		if err != nil {
			rt.Fatal(err)
		}
		set := Set{fixed(c)}
		for _, addr := range addrs {
			if !addr.IsValid() || addr.Is6() && (file.Version == 4 || embeds4(addr)) {
				continue
			}
			var want struct {
				Country string `maxminddb:"country_code"`
				ASN     uint32 `maxminddb:"asn"`
			}
			if err := reader.Lookup(addr).Decode(&want); err != nil {
				rt.Fatal(err)
			}
			if want.Country == "?" {
				want.Country = ""
			}
			if got := set.Facts(addr); got.Country != want.Country || got.ASN != want.ASN {
				rt.Fatalf("%s: got %+v; want %+v", addr, got, want)
			}
		}
	})
}

// embeds4 reports whether writers show the IPv4 part once more at addr.
func embeds4(addr netip.Addr) bool {
	for _, p := range []string{"::/96", "::ffff:0:0/96", "2001::/32", "2002::/16"} {
		if netip.MustParsePrefix(p).Contains(addr) {
			return true
		}
	}
	return addr.Is4In6()
}

func prefixes(version int) *rapid.Generator[netip.Prefix] {
	return rapid.Custom(func(t *rapid.T) netip.Prefix {
		if version == 4 || rapid.Bool().Draw(t, "IPv4") {
			var b [4]byte
			binary.BigEndian.PutUint32(b[:], rapid.Uint32().Draw(t, "address"))
			return netip.PrefixFrom(netip.AddrFrom4(b), rapid.IntRange(1, 32).Draw(t, "bits")).Masked()
		}
		var b [16]byte
		binary.BigEndian.PutUint64(b[:8], rapid.Uint64().Draw(t, "upper"))
		binary.BigEndian.PutUint64(b[8:], rapid.Uint64().Draw(t, "lower"))
		b[0] = 0x24 // writers refuse to replace the networks that show IPv4 once more
		return netip.PrefixFrom(netip.AddrFrom16(b), rapid.IntRange(8, 128).Draw(t, "bits")).Masked()
	})
}

func borders(p netip.Prefix) (first, last netip.Addr) {
	b := p.Addr().AsSlice()
	for i := range b {
		if host := 8*(i+1) - p.Bits(); host > 0 {
			b[i] |= byte(1<<min(host, 8) - 1)
		}
	}
	last, _ = netip.AddrFromSlice(b)
	return p.Addr(), last
}
