package record

import (
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestKeyNamesSubject(t *testing.T) {
	for addr, subject := range map[string]string{
		"192.0.2.1":           "192.0.2.1/32",
		"255.255.255.255":     "255.255.255.255/32",
		"2001:db8:1:2:3::4":   "2001:db8:1:2::/64",
		"3fff::1":             "3fff::/64",
		"2001:db8:0:ffff::ff": "2001:db8:0:ffff::/64",
	} {
		a := netip.MustParseAddr(addr)
		if got := KeyOf(a).Subject(); got.String() != subject || got != reputation.Subject(a) {
			t.Errorf("%s: got %s; want %s", addr, got, subject)
		}
	}
}

func TestPackBringsIntoRange(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for _, tc := range []struct {
		name   string
		report reputation.Report
		want   Answer
	}{
		{"plain", reputation.Report{Severity: .87, Confidence: .9}, Answer{Severity: 87, Confidence: 90}},
		{"good", reputation.Report{Severity: -1, Confidence: 1}, Answer{Severity: -100, Confidence: 100}},
		{"too much", reputation.Report{Severity: 7, Confidence: 9}, Answer{Severity: 100, Confidence: 100}},
		{"too little", reputation.Report{Severity: -7, Confidence: -9}, Answer{Severity: -100}},
		{"no number", reputation.Report{Severity: math.NaN(), Confidence: math.Inf(1)}, Answer{Confidence: 100}},
		{"seen days ago", reputation.Report{LastSeen: now.Add(-50 * time.Hour)}, Answer{SeenDays: 2}},
		{"seen years ago", reputation.Report{LastSeen: now.AddDate(-9, 0, 0)}, Answer{SeenDays: 255}},
		{"seen in the future", reputation.Report{LastSeen: now.Add(time.Hour)}, Answer{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.want.Source, tc.want.Fetched, tc.want.Due = 7, 1_700_000_000, 1_700_003_600
			if diff := cmp.Diff(tc.want, Pack(7, tc.report, now, now.Add(time.Hour))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWordsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := Answer{
			Source:     SourceID(rapid.Uint16().Draw(t, "source")),
			Severity:   int8(rapid.IntRange(-100, 100).Draw(t, "severity")),
			Confidence: uint8(rapid.IntRange(0, 100).Draw(t, "confidence")),
			Categories: reputation.Categories(rapid.Uint32Range(0, categoryBits).Draw(t, "categories")),
			Failed:     rapid.Bool().Draw(t, "failed"),
			SeenDays:   rapid.Uint8().Draw(t, "seen"),
			Fetched:    rapid.Uint32().Draw(t, "fetched"),
			Due:        rapid.Uint32().Draw(t, "due"),
		}
		if got := AnswerFrom(a.Words()); got != a {
			t.Errorf("got %+v; want %+v", got, a)
		}
		r := Record{Country: [2]byte{'D', 'E'}, ASN: rapid.Uint32().Draw(t, "asn")}
		for k := range reputation.Kind(5) {
			r.Nature = r.Nature.With(k, rapid.Bool().Draw(t, "nature"))
		}
		var back Record
		back.SetHead(r.Head())
		if diff := cmp.Diff(r, back, cmpopts.EquateComparable(reputation.Nature{})); diff != "" {
			t.Error(diff)
		}
	})
}

func FuzzWords(f *testing.F) {
	f.Add(uint64(0), uint64(0), uint64(0))
	f.Add(uint64(math.MaxUint64), uint64(math.MaxUint64), uint64(math.MaxUint64))
	f.Fuzz(func(t *testing.T, head, w0, w1 uint64) {
		a := AnswerFrom(w0, w1)
		if a.Severity < -100 || a.Severity > 100 || a.Confidence > 100 || a.Categories > categoryBits {
			t.Errorf("out of range: %+v", a)
		}
		if again := AnswerFrom(a.Words()); again != a {
			t.Errorf("not stable: %+v, %+v", a, again)
		}
		var r Record
		r.SetHead(head)
	})
}

func TestSetAndFind(t *testing.T) {
	var r Record
	for i := range MaxAnswers {
		r.Set(Answer{Source: SourceID(i + 1), Due: uint32(100 + i)})
	}
	r.Set(Answer{Source: 3, Due: 500})
	if a := r.Find(3); a == nil || a.Due != 500 {
		t.Errorf("an answer was not replaced: %+v", a)
	}
	r.Set(Answer{Source: 99, Due: 600})
	if r.Find(99) == nil || r.Find(1) != nil {
		t.Error("the answer that is due first did not give way")
	}
	r.Retain([]SourceID{99, 3})
	if r.Find(99) == nil || r.Find(3) == nil || r.Find(2) != nil || r.Answers[2].Source != 0 {
		t.Errorf("got %+v", r.Answers)
	}
	if r.Answers[0].Source != 99 || r.FindAt(0, 99) != &r.Answers[0] || r.FindAt(40, 3) != &r.Answers[1] || r.FindAt(1, 2) != nil {
		t.Errorf("the answers are not in the order of the providers: %+v", r.Answers[:2])
	}
}

func TestNamesOfOurProvidersDiffer(t *testing.T) {
	seen := make(map[SourceID]string)
	for _, name := range []string{
		"abuseipdb", "crowdsec", "crowdsec_cti", "greynoise", "ipqualityscore", "virustotal", "otx", "shodan", "proxycheck",
		"ipinfo", "stopforumspam", "iphub", "ipapi_is", "ip_api", "spur", "pulsedive", "ipdata", "maxmind", "dnsbl", "httpbl",
		"zen", "dqs", "dronebl", "bench",
	} {
		id := IDOf(name)
		if other, taken := seen[id]; taken || id == 0 {
			t.Errorf("%s and %s share the identifier %d", name, other, id)
		}
		seen[id] = name
	}
}

func TestNetwork(t *testing.T) {
	for addr, first := range map[string]string{
		"203.0.113.77": "203.0.113.0", "2001:db8:1:ffff::9": "2001:db8:1::", "2001:db8:2::": "2001:db8:2::",
	} {
		if got, want := KeyOf(netip.MustParseAddr(addr)).Network(), KeyOf(netip.MustParseAddr(first)); got != want {
			t.Errorf("%s is of %s, want %s", addr, got.Subject(), want.Subject())
		}
		if got := reputation.Network(netip.MustParseAddr(addr)).Addr(); got != netip.MustParseAddr(first) {
			t.Errorf("%s is of the network of %s, want %s", addr, got, first)
		}
	}
}
