package iplist

import (
	"net/netip"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestBuilder compares with NewRanges, over several merges.
func TestBuilder(t *testing.T) {
	var b Builder
	var all []netip.Prefix
	addr := netip.MustParseAddr("198.18.0.0")
	for i := range 3 * firstMerge {
		p := netip.PrefixFrom(addr, 32)
		if i%3 == 0 { // every third address twice, the others with a gap
			all = append(all, p)
			b.Add(p)
			addr = addr.Next()
		}
		addr = addr.Next()
		all = append(all, p, netip.Prefix{})
		b.Add(p)
		b.Add(netip.Prefix{})
	}
	all = append(all, parse("2001:db8::/32", "::fffe:0:0/95", "::ffff:192.0.2.1/128")...)
	for _, p := range all[len(all)-3:] {
		b.Add(p)
	}
	got, want := b.Ranges(), NewRanges(all)
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Ranges{}, range6{}, uint128{})); diff != "" {
		t.Errorf("(-want +got):\n%.2000s", diff)
	}
	if empty := b.Ranges(); empty.Len() != 0 || b.Len() != 0 {
		t.Error("the builder is not empty afterwards")
	}
}

// TestBuilderForgetsDuplicates holds the memory of a list that names the same few addresses over and over.
func TestBuilderForgetsDuplicates(t *testing.T) {
	duplicates := parse("192.0.2.1/32", "192.0.2.2/32", "2001:db8::1/128")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var b Builder
	for range 200_000 {
		for _, p := range duplicates {
			b.Add(p)
		}
	}
	runtime.ReadMemStats(&after)
	if b.Len() != 2 || after.TotalAlloc-before.TotalAlloc > 8<<20 {
		t.Errorf("%d intervals, %d bytes", b.Len(), after.TotalAlloc-before.TotalAlloc)
	}
	if r := b.Ranges(); r.Len() != 2 {
		t.Errorf("%d intervals", r.Len())
	}
}
