package limit

import (
	"math"
	"math/big"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
)

func TestCheck(t *testing.T) {
	for name, tt := range map[string]struct {
		rate rate.Rate
		err  string
	}{
		"usual":           {rate: rate.Rate{Events: 10, Per: time.Minute}},
		"fastest":         {rate: rate.Rate{Events: 100_000, Per: time.Second}},
		"fastest, short":  {rate: rate.Rate{Events: 1, Per: 10 * time.Microsecond}},
		"fastest, long":   {rate: rate.Rate{Events: 1_000_000, Per: 10 * time.Second}},
		"slowest":         {rate: rate.Rate{Events: 1, Per: 24 * time.Hour}},
		"too fast":        {rate.Rate{Events: 100_001, Per: time.Second}, "rate 100001/1s is more than 100000 requests a second: write 100000/1s or less"},
		"too fast, short": {rate.Rate{Events: 1, Per: 9999}, "rate 1/9.999µs is more than 100000 requests a second"},
		"too fast, huge":  {rate.Rate{Events: math.MaxInt, Per: 24 * time.Hour}, "more than 100000 requests a second"},
		"too long":        {rate.Rate{Events: 1, Per: 24*time.Hour + 1}, "rate 1/24h0m0.000000001s is over more than a day: write one over 24h at most"},
		"none":            {rate.Rate{}, "rate 0/0s sets no bound: write a number of requests and a duration, as in 10/1m"},
		"negative":        {rate.Rate{Events: -1, Per: time.Second}, "sets no bound"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := NewRule(tt.rate)
			if tt.err == "" && err == nil {
				equal(t, "Rate", r.Rate(), tt.rate)
				return
			}
			if tt.err == "" || err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if r != (Rule{}) {
				t.Errorf("a rule with an error: %+v", r)
			}
		})
	}
}

// Instances of several versions that share a store must agree on the names of buckets, so these may never change.
func TestNames(t *testing.T) {
	r := rule("10/1m", "score 50-100", "")
	for _, tt := range []struct {
		subject Subject
		want    string
	}{
		{Client(netip.MustParseAddr("203.0.113.7")), "bfa1f24037b0aa14:203.0.113.7"},
		{Client(netip.MustParseAddr("::ffff:203.0.113.7")), "bfa1f24037b0aa14:203.0.113.7"},
		{Client(netip.MustParseAddr("2001:db8:1:2:3:4:5:6%eth0")), "bfa1f24037b0aa14:2001:db8:1:2::/64"},
		{Client(netip.Addr{}), "bfa1f24037b0aa14:-"},
		{Network(netip.MustParseAddr("203.0.113.7"), 24, 48), "bfa1f24037b0aa14:203.0.113.0/24"},
		{Network(netip.MustParseAddr("2001:db8:1:2::1"), 24, 48), "bfa1f24037b0aa14:2001:db8:1::/48"},
		{Network(netip.Addr{}, 24, 48), "bfa1f24037b0aa14:-"},
		{System(64500), "bfa1f24037b0aa14:AS64500"},
		{Keyed("secret"), "bfa1f24037b0aa14:#2bb80d537b1da3e38bd30361aa855686"},
	} {
		equal(t, "name", r.storeKey(tt.subject), tt.want)
	}
}

func TestRulesDiffer(t *testing.T) {
	ids := map[uint64]int{}
	for i, r := range []Rule{
		rule("10/1m"), rule("10/2m"), rule("11/1m"), rule("10/1m", ""), rule("10/1m", "", ""), rule("10/1m", "a"),
		rule("10/1m", "a", "bc"), rule("10/1m", "ab", "c"), rule("10/1m", "abc"),
	} {
		if other, taken := ids[r.ID()]; taken {
			t.Errorf("rules %d and %d are the same", other, i)
		}
		ids[r.ID()] = i
	}
	equal(t, "the same rule", rule("60/1m", "a", "b"), rule("60/m", "a", "b"))
}

func TestSubjectsDiffer(t *testing.T) {
	l, seen := NewLocal(0), map[uint64]int{}
	r, other := rule("10/1m", "1"), rule("10/1m", "2")
	n := 0
	for _, s := range []Subject{
		{}, Client(netip.IPv4Unspecified()), Client(netip.IPv6Unspecified()), client(1), Client(netip.MustParseAddr("0:0:0:1::")),
		Keyed(""), Keyed("1"), Keyed("0.0.0.1"), Keyed("-"),
		Network(netip.IPv4Unspecified(), 24, 48), Network(netip.IPv4Unspecified(), 16, 48), Network(netip.IPv6Unspecified(), 24, 48),
		Network(netip.IPv6Unspecified(), 24, 56), System(0), System(1),
	} {
		seen[s.hash(l.seed, r)], seen[s.hash(l.seed, other)] = n, n
		n += 2
	}
	equal(t, "hashes", len(seen), n)
	a, b := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2:3:4:5")
	equal(t, "two addresses of a /64", Client(a).hash(l.seed, r), Client(b).hash(l.seed, r))
	if NewLocal(0).seed == l.seed {
		t.Error("two tables have the same seed")
	}
}

// TestNetworks compares with the prefixes of net/netip, and proves that all addresses of one have one bucket.
func TestNetworks(t *testing.T) {
	l, r := NewLocal(0), rule("10/1m")
	rapid.Check(t, func(t *rapid.T) {
		bits4, bits6 := rapid.Uint8Range(0, 32).Draw(t, "bits4"), rapid.Uint8Range(0, 64).Draw(t, "bits6")
		addrs := rapid.Custom(func(t *rapid.T) netip.Addr {
			size := rapid.SampledFrom([]int{4, 16}).Draw(t, "size")
			addr, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, "bytes"))
			return addr.Unmap()
		})
		prefix := func(addr netip.Addr) string {
			bits := int(bits6)
			if addr.Is4() {
				bits = int(bits4)
			}
			p, err := addr.Prefix(bits)
			if err != nil {
				t.Fatal(err)
			}
			if p.IsSingleIP() {
				return p.Addr().String()
			}
			return p.String()
		}
		a, b := addrs.Draw(t, "a"), addrs.Draw(t, "b")
		of := func(addr netip.Addr) Subject { return Network(addr, bits4, bits6) }
		equal(t, "text", of(a).String(), prefix(a))
		equal(t, "one bucket", of(a).hash(l.seed, r) == of(b).hash(l.seed, r), prefix(a) == prefix(b))
	})
}

// A bucket's times are whole steps, and survive being stored in ticks; whatever the rate and however old the process.
func TestSteps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, err := NewRule(rates(1_000_000).Draw(t, "rate"))
		if err != nil {
			t.Fatal(err)
		}
		now := time.Duration(rapid.Int64Range(0, int64(100*365*24*time.Hour)).Draw(t, "now"))
		n := r.stepAt(now)
		begin, next := r.begin(n), r.begin(n+1)
		if begin > now || next <= now {
			t.Errorf("%v is not in its step, from %v to %v", now, begin, next)
		}
		equal(t, "step of its first nanosecond", r.stepAt(begin), n)
		equal(t, "step of the nanosecond before the next", r.stepAt(next-1), n)
		equal(t, "step of the stored time", r.stepAt(ticks(begin)*tick), n)
		equal(t, "time of the word", timeOf(wordOf(1, ticks(begin)), now, r.rate.Per), ticks(begin)*tick)
		if length := quo(ns(r.rate.Per), new(big.Rat).SetInt64(int64(r.size()))); length.Cmp(ns(tick)) < 0 || length.Cmp(ns(2*tick)) >= 0 {
			t.Errorf("a step takes %v ns", length.FloatString(3))
		}
	})
}

// What a store says is turned into the same decision that the same bucket here would give.
func TestDecision(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, err := NewRule(rates(1000).Draw(t, "rate"))
		if err != nil {
			t.Fatal(err)
		}
		l, s := NewLocal(1), client(1)
		now := l.began
		for range r.rate.Events + 2 {
			d := l.Take(r, s, now)
			got := r.decision(d.Allowed, d.Reset+time.Duration(rapid.IntRange(0, int(tick)-1).Draw(t, "rounded")))
			equal(t, "Allowed", got.Allowed, d.Allowed)
			equal(t, "Remaining", got.Remaining, d.Remaining)
			if off := got.Reset - d.Reset; off < 0 || off >= tick {
				t.Errorf("Reset %v, want %v", got.Reset, d.Reset)
			}
			if off := got.RetryAfter - d.RetryAfter; off < -1 || off >= tick {
				t.Errorf("RetryAfter %v, want %v", got.RetryAfter, d.RetryAfter)
			}
		}
	})
	r := rule("10/1m")
	equal(t, "lie: full, yet refused", r.decision(false, 0), Decision{})
	equal(t, "lie: less than full", r.decision(true, -time.Hour), Decision{Allowed: true, Remaining: 10})
	equal(t, "lie: never", r.decision(false, math.MaxInt64), Decision{Reset: time.Minute, RetryAfter: 6 * time.Second})
}

// TestASubjectFitsIntoRegisters holds that a subject has the four words and fields that compilers keep in registers.
func TestASubjectFitsIntoRegisters(t *testing.T) {
	if size := unsafe.Sizeof(Subject{}); size > 4*unsafe.Sizeof(uintptr(0)) && strconv.IntSize == 64 {
		t.Errorf("a subject takes %d bytes: all that take one are slower by a fifth", size)
	}
}
