package clients

import (
	"net/netip"
	"testing"
	"time"
)

func TestDistinct(t *testing.T) {
	at := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, n := range []int{0, 1, 50, 1000, 100_000} {
		d := new(Distinct)
		d.Turn(at)
		for i := range 3 * n {
			d.Add(netip.AddrFrom4([4]byte{100 + byte(i%n>>16), byte(i % n >> 8), byte(i % n), byte(i)}))
		}
		if got := d.Count(); got < n-n/20 || got > n+n/20 {
			t.Errorf("%d networks: counted %d", n, got)
		}
	}
	d := new(Distinct)
	d.Turn(at)
	d.Add(netip.MustParseAddr("2001:db8::1"))
	d.Add(netip.MustParseAddr("2001:db8:0:ffff::2"))
	if got := d.Count(); got != 1 {
		t.Errorf("one /48: %d", got)
	}
	for after, want := range map[time.Duration]int{9 * time.Minute: 1, 13 * time.Minute: 0, 24 * time.Hour: 0, -time.Hour: 0} {
		d := new(Distinct)
		d.Turn(at)
		d.Add(netip.MustParseAddr("192.0.2.1"))
		for since := time.Duration(0); since < min(after, time.Hour); since += time.Second {
			d.Turn(at.Add(since))
		}
		if d.Turn(at.Add(after)); d.Count() != want {
			t.Errorf("after %s: %d, want %d", after, d.Count(), want)
		}
	}
}

func BenchmarkDistinct(b *testing.B) {
	d := new(Distinct)
	d.Turn(time.Now())
	addr := netip.MustParseAddr("192.0.2.1")
	b.ReportAllocs()
	for b.Loop() {
		d.Add(addr)
	}
}
