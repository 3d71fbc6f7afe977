package iplist

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// parse reads prefixes from their usual spelling.
func parse(prefixes ...string) twin {
	var list twin
	for _, p := range prefixes {
		list = append(list, netip.MustParsePrefix(p))
	}
	return list
}

// spell returns the prefixes that cover r.
func spell(r Ranges) []string {
	var prefixes []string
	for p := range r.Prefixes() {
		prefixes = append(prefixes, p.String())
	}
	return prefixes
}

func TestIsMost(t *testing.T) {
	wide := func(from, to int, format string) (list twin) {
		for i := from; i < to; i++ {
			list = append(list, netip.MustParsePrefix(fmt.Sprintf(format, i)))
		}
		return list
	}
	for name, test := range map[string]struct {
		list twin
		want bool
	}{
		"nobody":                {nil, false},
		"half of IPv4":          {wide(0, 128, "%d.0.0.0/8"), false},
		"more than half":        {append(wide(0, 128, "%d.0.0.0/8"), parse("203.0.113.7/32")...), true},
		"all of IPv4":           {parse("0.0.0.0/0"), true},
		"a quarter of IPv6":     {wide(0x2000, 0x2800, "%x::/16"), false},
		"more than half of it":  {wide(0x2000, 0x3002, "%x::/16"), true},
		"all of IPv6":           {parse("::/0"), true},
		"both, less than half":  {append(wide(0, 100, "%d.0.0.0/8"), wide(0x2000, 0x2f00, "%x::/16")...), false},
		"the last IPv6 address": {parse("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"), false},
	} {
		if got := test.list.ranges().IsMost(); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func TestNewRanges(t *testing.T) {
	tests := []struct {
		name      string
		prefixes  twin
		want      []string
		intervals int
	}{
		{"empty", nil, nil, 0},
		{"invalid", twin{{}, netip.PrefixFrom(netip.MustParseAddr("192.0.2.1"), 33), parse("192.0.2.1/32")[0]}, []string{"192.0.2.1/32"}, 1},
		{"host bits", parse("192.0.2.77/24", "2001:db8::77/32"), []string{"192.0.2.0/24", "2001:db8::/32"}, 2},
		{"duplicates", parse("192.0.2.1/32", "192.0.2.1/32"), []string{"192.0.2.1/32"}, 1},
		{"nested", parse("192.0.2.7/32", "192.0.2.0/24", "192.0.2.128/25"), []string{"192.0.2.0/24"}, 1},
		{"neighbours", parse("192.0.2.128/25", "192.0.2.0/25"), []string{"192.0.2.0/24"}, 1},
		{"neighbours that are not one prefix", parse("192.0.2.1/32", "192.0.2.2/32"), []string{"192.0.2.1/32", "192.0.2.2/32"}, 1},
		{"mapped", parse("::ffff:192.0.2.0/120", "::ffff:198.51.100.1/128"), []string{"192.0.2.0/24", "198.51.100.1/32"}, 2},
		{"all of IPv4", parse("0.0.0.0/0"), []string{"0.0.0.0/0"}, 1},
		{"all mapped", parse("::ffff:0.0.0.0/96"), []string{"0.0.0.0/0"}, 1},
		{"last address", parse("255.255.255.255/32", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"), []string{"255.255.255.255/32", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"}, 2},
		{"families do not touch", parse("255.255.255.255/32", "::/128"), []string{"255.255.255.255/32", "::/128"}, 2},
		{"around the mapped addresses", parse("::fffe:0:0/95"), []string{"::fffe:0:0/96"}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := tt.prefixes.ranges()
			if diff := cmp.Diff(tt.want, spell(r)); diff != "" {
				t.Errorf("prefixes (-want +got):\n%s", diff)
			}
			if r.Len() != tt.intervals {
				t.Errorf("Len() = %d, want %d", r.Len(), tt.intervals)
			}
		})
	}
}

// A list with ::/0 is stored as prefixes and read again. It must not come back as all of IPv4.
func TestDefaultRouteOfIPv6DoesNotListIPv4(t *testing.T) {
	r := parse("::/0").ranges()
	again := NewRanges(slices.Collect(r.Prefixes()))
	for _, addr := range []string{"192.0.2.1", "::ffff:192.0.2.1"} {
		if again.Contains(netip.MustParseAddr(addr)) || Build([]Ranges{again}).Lookup(netip.MustParseAddr(addr)) != 0 {
			t.Errorf("::/0 lists %s", addr)
		}
	}
	if addr := netip.MustParseAddr("2001:db8::1"); !again.Contains(addr) {
		t.Errorf("::/0 does not list %s", addr)
	}
}

func TestPrefixesStops(t *testing.T) {
	for _, list := range []twin{parse("192.0.2.1/32", "192.0.2.4/32"), parse("2001:db8::1/128", "2001:db8::2/128")} {
		var n int
		for range list.ranges().Prefixes() {
			n++
			break
		}
		if n != 1 {
			t.Errorf("%v: %d prefixes after a break", list, n)
		}
	}
}

func TestRangesAgainstTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list, other := drawList().Draw(t, "list"), drawList().Draw(t, "other")
		r, without, within := list.ranges(), list.ranges().Without(other.ranges()), list.ranges().Within(other.ranges())
		for _, addr := range probes(list, other) {
			if got, want := r.Contains(addr), list.contains(addr); got != want {
				t.Fatalf("Contains(%v) = %v, want %v", addr, got, want)
			}
			if got, want := without.Contains(addr), list.contains(addr) && !other.contains(addr); got != want {
				t.Fatalf("Without, then Contains(%v) = %v, want %v", addr, got, want)
			}
			if got, want := within.Contains(addr), list.contains(addr) && other.contains(addr); got != want {
				t.Fatalf("Within, then Contains(%v) = %v, want %v", addr, got, want)
			}
		}
		checkCanonical(t, r)
		checkCanonical(t, without)
		checkCanonical(t, within)
	})
}

func TestOverlap(t *testing.T) {
	for _, tt := range []struct {
		name string
		a, b twin
		want int
	}{
		{"nothing in common", parse("192.0.2.0/25", "2001:db8::/33"), parse("192.0.2.128/25", "2001:db8:8000::/33"), 0},
		{"one is empty", parse("192.0.2.0/24"), nil, 0},
		{"a range in a wider one", parse("192.0.2.0/24"), parse("192.0.0.0/16"), 1},
		{"addresses in a range", parse("192.0.2.1/32", "192.0.2.9/32", "198.51.100.1/32"), parse("192.0.2.0/24", "2001:db8::/32"), 2},
		{"both families", parse("192.0.2.1/32", "2001:db8::1/128"), parse("192.0.2.0/24", "2001:db8::/32"), 2},
		{"no prefix", parse("192.0.2.1/32", "192.0.2.2/32"), parse("192.0.2.0/24"), 2},
	} {
		if there, back := tt.a.ranges().Overlap(tt.b.ranges()), tt.b.ranges().Overlap(tt.a.ranges()); there != tt.want || back != tt.want {
			t.Errorf("%s: %d and %d, want %d", tt.name, there, back, tt.want)
		}
	}
}

// checkCanonical says that intervals are ascending with gaps between them, and survive being written as prefixes.
func checkCanonical(t interface{ Fatalf(string, ...any) }, r Ranges) {
	for i := 1; i < len(r.v4); i++ {
		if r.v4[i]>>32 <= r.v4[i-1]&0xffff_ffff+1 {
			t.Fatalf("IPv4 intervals %d and %d are not apart: %x %x", i-1, i, r.v4[i-1], r.v4[i])
		}
	}
	for i := 1; i < len(r.v6); i++ {
		if !r.v6[i-1].last.next().less(r.v6[i].first) {
			t.Fatalf("IPv6 intervals %d and %d are not apart: %x %x", i-1, i, r.v6[i-1], r.v6[i])
		}
	}
	prefixes := slices.Collect(r.Prefixes())
	for i := 1; i < len(prefixes); i++ {
		a, b := prefixes[i-1], prefixes[i]
		if joined := netip.PrefixFrom(a.Addr(), max(a.Bits()-1, 0)).Masked(); a.Bits() == b.Bits() && joined.Contains(b.Addr()) && joined.Addr() == a.Addr() {
			t.Fatalf("%v and %v could be one prefix", a, b)
		}
	}
	again := NewRanges(prefixes)
	if !slices.Equal(again.v4, r.v4) || !slices.Equal(again.v6, r.v6) {
		t.Fatalf("%v became %v", r, again)
	}
}
