package policy

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// client is the client of tests that are not about its address.
var client = netip.MustParseAddr("203.0.113.7")

// The pools from which networks and clients are drawn, small so that they meet.
var (
	networkPool = []string{"203.0.113.0/24", "203.0.113.0/25", "203.0.113.7", "198.51.100.0/24", "2001:db8::/32", "2001:db8:1::/48"}
	clientPool  = []string{"203.0.113.0", "203.0.113.7", "203.0.113.255", "198.51.101.0", "2001:db8:1::1", "2001:db9::", ""}
)

func drawClient(t *rapid.T) (addr netip.Addr) {
	if text := rapid.SampledFrom(clientPool).Draw(t, "client"); text != "" {
		addr = netip.MustParseAddr(text)
	}
	return addr
}

// inNetwork reads the range as it is written.
func inNetwork(word string, addr netip.Addr) bool {
	p, err := netip.ParsePrefix(word)
	if err != nil {
		return netip.MustParseAddr(word) == addr
	}
	return p.Contains(addr)
}

func TestMatchNetwork(t *testing.T) {
	for _, tc := range []struct {
		ranges, client string
		want           bool
	}{
		{"203.0.113.0/24", "203.0.113.0", true},
		{"203.0.113.0/24", "203.0.113.255", true},
		{"203.0.113.0/24", "203.0.114.0", false},
		{"203.0.113.0/24,203.0.113.0/28,203.0.113.64/26", "203.0.113.200", true},
		{"198.51.100.7,203.0.113.0/28", "198.51.100.7", true},
		{"198.51.100.7,203.0.113.0/28", "198.51.100.8", false},
		{"198.51.100.7,203.0.113.0/28", "2001:db8::1", false},
		{"2001:db8::/32,203.0.113.0/24", "2001:db8:ffff::1", true},
		{"::ffff:203.0.113.0/120", "203.0.113.9", true},
		{"64:ff9b::203.0.113.0/120", "203.0.113.9", true},
		{"private_ranges", "10.1.2.3", true},
		{"private_ranges,203.0.113.0/24", "fd00::1", true},
		{"203.0.113.0/24", "", false},
	} {
		conditions, addr := compile(t, Config{Network: strings.Split(tc.ranges, ",")}), netip.Addr{}
		if tc.client != "" {
			addr = netip.MustParseAddr(tc.client)
		}
		if got := conditions.Match(new(reputation.Verdict), addr); got != tc.want || !conditions.NeedsAddress() {
			t.Errorf("network %s holds for %q: %v, want %v", tc.ranges, tc.client, got, tc.want)
		}
	}
}

func TestNetworkErrors(t *testing.T) {
	for text, want := range map[string]string{
		"203.0.113.5/24":                "is neither an address nor a range: write 203.0.113.5 for the address, or 203.0.113.0/24 for the range",
		"0.0.0.0/0":                     "is too wide",
		"/24":                           "is the length of a prefix alone",
		"office":                        "is not an address, a CIDR range or private_ranges",
		"/etc/caddy/office.txt":         "write a `feed` and the condition `source` with its name",
		"203.0.113.7,203.0.113.7":       `network "203.0.113.7" is written twice: remove one`,
		"203.0.113.7,203.0.113.7/32":    `network "203.0.113.7/32" is written twice: remove one`,
		"private_ranges,192.168.0.0/16": `network "192.168.0.0/16" is written twice: remove one`,
	} {
		_, err := Config{Network: strings.Split(text, ",")}.Compile(nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one that contains %s", text, err, want)
		}
	}
}

// TestNetworksThatAreNotJudged proves that a rule for addresses that always pass is refused.
func TestNetworksThatAreNotJudged(t *testing.T) {
	for text, judged := range map[string]bool{
		"private_ranges": false, "10.0.0.0/8,192.168.7.0/24,fd00::/8": false, "127.0.0.1": false,
		"10.0.0.0/8,203.0.113.0/24": true, "2001:db8::/32": true, "240.0.0.0/8": true, "192.0.0.0/8": true,
	} {
		conditions := compile(t, Config{Network: strings.Split(text, ",")})
		_, err := New([]Rule{{Action: reputation.Block, Conditions: conditions}}, reputation.Pass)
		if judged != (err == nil) {
			t.Errorf("network %s: %v", text, err)
		}
	}
	banned := compile(t, Config{Network: []string{"10.0.0.0/8"}, Source: []string{"ban"}})
	if _, err := New([]Rule{{Action: reputation.Drop, Conditions: banned}}, reputation.Pass); err != nil {
		t.Errorf("for those that are banned: %v", err)
	}
}

// TestMoreConditions proves that a caller can go on behind a rule of which a further condition does not hold.
func TestMoreConditions(t *testing.T) {
	p := newPolicy(
		t, reputation.Block,
		Rule{Action: reputation.Drop, More: true},
		Rule{Action: reputation.Limit, Conditions: compile(t, Config{Score: "50"}), More: true},
		Rule{Action: reputation.Ban},
	)
	unwanted := reputation.Verdict{Reasons: []reputation.Reason{{Source: reputation.SourceBan}}}
	for _, tc := range []struct {
		name    string
		verdict reputation.Verdict
		after   int
		want    reputation.Action
		rule    int
	}{
		{"from the beginning", scored(60), 0, reputation.Drop, 1},
		{"behind the first", scored(60), 1, reputation.Limit, 2},
		{"behind the first, the second does not hold", scored(40), 1, reputation.Ban, 3},
		{"behind all", scored(60), 3, reputation.Pass, 0},
		{"behind all, unknown", reputation.Verdict{Status: reputation.Unknown}, 3, reputation.Block, 0},
		{"behind all, banned", unwanted, 3, reputation.Block, 0},
		{"exempt", reputation.Verdict{Status: reputation.Exempt}, 1, reputation.Pass, 0},
	} {
		action, decided := p.Decide(&tc.verdict, client, tc.after)
		number := 0
		if decided != nil {
			number = decided.Number
		}
		if action != tc.want || number != tc.rule {
			t.Errorf("%s: %v by rule %d, want %v by rule %d", tc.name, action, number, tc.want, tc.rule)
		}
	}
}

func TestDisjoint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words, addr := drawSome(t, networkPool, "networks"), drawClient(t)
		conditions := compile(t, Config{Network: words})
		want := slices.ContainsFunc(words, func(w string) bool { return inNetwork(w, addr) })
		if got := conditions.networks.contains(addr); got != want {
			t.Fatalf("%v contains %v: %v", conditions.networks, addr, got)
		}
		for i := range conditions.networks {
			if i > 0 && conditions.networks[i-1].Overlaps(conditions.networks[i]) {
				t.Fatalf("%v overlap", conditions.networks)
			}
		}
	})
}

// hundred is a condition with a hundred ranges.
func hundred(tb testing.TB) Conditions {
	var words []string
	for i := range 100 {
		words = append(words, netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, byte(i), 0}), 24).String())
	}
	conditions, err := Config{Network: words}.Compile(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return conditions
}

func TestMatchNetworkDoesNotAllocate(t *testing.T) {
	conditions, v := hundred(t), badTorExit()
	if got := testing.AllocsPerRun(100, func() { conditions.Match(&v, client) }); got != 0 {
		t.Errorf("Match allocates %v times", got)
	}
}

func BenchmarkMatchNetwork(b *testing.B) {
	conditions, v := hundred(b), badTorExit()
	b.ReportAllocs()
	for b.Loop() {
		conditions.Match(&v, client)
	}
}
