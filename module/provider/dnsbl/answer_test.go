package dnsbl

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/miekg/dns"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/providertest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// check asks about the visitor, and holds that no error repeats the name that was asked for.
func check(tb testing.TB, d *DNSBL, addr netip.Addr, key string) (reputation.Report, error) {
	tb.Helper()
	report, err := providertest.Ask(tb.Context(), tb, d, reputation.Query{Addr: addr, Key: key})
	if err != nil && strings.Contains(err.Error(), labels(addr)) {
		tb.Errorf("the error has the address in it: %v", err)
	}
	return report, err
}

func nature(kind reputation.Kind) reputation.Facts {
	return reputation.Facts{Nature: reputation.Nature{}.With(kind, true)}
}

// What the lists answer, and what it says.
func TestMeanings(t *testing.T) {
	of := reputation.CategoriesOf
	const ttl = 15 * time.Minute
	v6 := netip.MustParseAddr("2001:db8:1:2::bad")
	for _, tc := range []struct {
		list, key string
		addr      netip.Addr
		name      string // that is asked for
		codes     []string
		want      reputation.Report
	}{
		{
			"zen", "", visitor, "10.113.0.203.zen.spamhaus.org.", []string{"127.0.0.2", "127.0.0.9"},
			reputation.Report{Severity: 1, Confidence: .9, Categories: of(reputation.Spam, reputation.Hijacked), TTL: ttl},
		},
		{
			"zen.spamhaus.org", "", visitor, "10.113.0.203.zen.spamhaus.org.", []string{"127.0.0.11"},
			reputation.Report{Confidence: .9, Categories: of(reputation.Policy), TTL: ttl},
		},
		{
			"zen", "", visitor, "10.113.0.203.zen.spamhaus.org.", []string{"127.0.0.10", "127.0.0.4"},
			reputation.Report{Severity: .85, Confidence: .9, Categories: of(reputation.Compromised, reputation.Policy), TTL: ttl},
		},
		{
			"zen", "", v6, "d.a.b.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.zen.spamhaus.org.", []string{"127.0.0.4"},
			reputation.Report{Severity: .85, Confidence: .6, Categories: of(reputation.Compromised), TTL: ttl},
		},
		{
			"dqs", dqsKey, visitor, "10.113.0.203." + dqsKey + ".zen.dq.spamhaus.net.", []string{"127.0.0.30"},
			reputation.Report{Severity: .95, Confidence: .9, Categories: of(reputation.BotnetC2), TTL: ttl},
		},
		{
			"dronebl", "", visitor, "10.113.0.203.dnsbl.dronebl.org.", []string{"127.0.0.8", "127.0.0.13"},
			reputation.Report{
				Severity: .8, Confidence: .6, Categories: of(reputation.Proxy, reputation.BruteForce),
				Facts: nature(reputation.NatureProxy), TTL: ttl,
			},
		},
		{
			"httpbl", honeyPotKey, visitor, honeyPotKey + ".10.113.0.203.dnsbl.httpbl.org.", []string{"127.3.5.1"},
			reputation.Report{
				Severity: .06, Confidence: .6, Categories: of(reputation.Abuse), LastSeen: now.AddDate(0, 0, -3), TTL: ttl,
			},
		},
		{
			"httpbl", honeyPotKey, visitor, honeyPotKey + ".10.113.0.203.dnsbl.httpbl.org.", []string{"127.1.63.7"},
			reputation.Report{
				Severity: .756, Confidence: .6, Categories: of(reputation.Abuse, reputation.Spam),
				LastSeen: now.AddDate(0, 0, -1), TTL: ttl,
			},
		},
		{ // a search engine: its second number is no threat
			"httpbl", honeyPotKey, visitor, honeyPotKey + ".10.113.0.203.dnsbl.httpbl.org.", []string{"127.0.200.0"},
			reputation.Report{Confidence: .6, Categories: of(reputation.Crawler), TTL: ttl},
		},
		{ // a search engine without a number of its own
			"httpbl", honeyPotKey, visitor, honeyPotKey + ".10.113.0.203.dnsbl.httpbl.org.", []string{"127.0.0.0"},
			reputation.Report{Confidence: .6, Categories: of(reputation.Crawler), TTL: ttl},
		},
		{ // seen long ago, and the worst
			"httpbl", honeyPotKey, visitor, honeyPotKey + ".10.113.0.203.dnsbl.httpbl.org.", []string{"127.255.255.4"},
			reputation.Report{
				Severity: 1, Confidence: .6, Categories: of(reputation.Spam), LastSeen: now.AddDate(0, 0, -255), TTL: ttl,
			},
		},
		{
			"torexit", "", visitor, "10.113.0.203.torexit.dan.me.uk.", []string{"127.0.0.100"},
			reputation.Report{
				Severity: 1, Confidence: .9, Categories: of(reputation.Tor), Facts: nature(reputation.NatureTor), TTL: ttl,
			},
		},
		{"torexit", "", visitor, "10.113.0.203.torexit.dan.me.uk.", nil, reputation.Report{TTL: ttl}},
		{
			"spamcop", "", visitor, "10.113.0.203.bl.spamcop.net.", []string{"127.0.0.2"},
			reputation.Report{Severity: .4, Confidence: .6, Categories: of(reputation.Spam), TTL: ttl},
		},
		{
			"s5h", "", v6, "d.a.b.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.all.s5h.net.", nil,
			reputation.Report{Severity: -1, Confidence: .5, TTL: ttl},
		},
		{ // parts of ZEN have its codes, and home addresses are accused of nothing
			"pbl.spamhaus.org", "", visitor, "10.113.0.203.pbl.spamhaus.org.", []string{"127.0.0.10"},
			reputation.Report{Confidence: .9, Categories: of(reputation.Policy), TTL: ttl},
		},
		{
			"bl.example.org", "", visitor, "10.113.0.203.bl.example.org.", []string{"127.0.1.9"},
			reputation.Report{Severity: 1, Confidence: .6, Categories: of(reputation.Abuse), TTL: ttl},
		},
	} {
		t.Run(tc.list+" "+strings.Join(tc.codes, " "), func(t *testing.T) {
			r := serve(t, func(_ string, m *dns.Msg) *dns.Msg {
				if len(tc.codes) == 0 {
					return absent(m, "example.org.", 900, 3600)
				}
				return addresses(m, 900, tc.codes...)
			})
			if len(tc.codes) == 0 { // its SOA must be of the zone
				r = serve(t, func(_ string, m *dns.Msg) *dns.Msg {
					labels := dns.SplitDomainName(m.Question[0].Name)
					return absent(m, strings.Join(labels[len(labels)-3:], ".")+".", 900, 3600)
				})
			}
			got, err := check(t, open(t, tc.list, r.addr), tc.addr, tc.key)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, cmpopts.EquateApprox(0, 1e-9), cmp.AllowUnexported(reputation.Nature{}),
				cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
				t.Errorf("the report differs (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"udp " + tc.name}, r.questions()); diff != "" {
				t.Errorf("the questions differ (-want +got):\n%s", diff)
			}
		})
	}
}

// What is no answer is neither a listing nor a clean bill.
func TestWhatIsNoAnswer(t *testing.T) {
	another := func(m *dns.Msg) *dns.Msg {
		addresses(m, 900, "127.0.0.2")
		m.Answer[0].Header().Name = "3.113.0.203.zen.spamhaus.org."
		return m
	}
	codes := func(list ...string) func(*dns.Msg) *dns.Msg {
		return func(m *dns.Msg) *dns.Msg { return addresses(m, 900, list...) }
	}
	rcode := func(n int) func(*dns.Msg) *dns.Msg {
		return func(m *dns.Msg) *dns.Msg { m.Rcode = n; return m }
	}
	refused, bad := reputation.ResultRefused, reputation.ResultBadAnswer
	for _, tc := range []struct {
		name   string
		list   string
		answer func(*dns.Msg) *dns.Msg
		want   reputation.Result
		cure   string
	}{
		{"public resolver", "zen", codes("127.255.255.254"), refused, "name a resolver of your own by `resolver`"},
		{"mistyped zone", "zen", codes("127.255.255.252"), refused, "correct it"},
		{"key disabled", "dqs", codes("127.255.255.250"), refused, "the key is disabled"},
		{"key not accepted", "dqs", codes("127.255.255.251"), refused, "see your account"},
		{"another refusal", "bl.example.org", codes("127.255.255.3"), refused, "127.255.255.3"},
		{"a refusal beside a listing", "zen", codes("127.0.0.2", "127.255.255.254"), refused, "`resolver`"},
		{"asked too often", "zen", codes("127.255.255.255"), reputation.ResultThrottled, "`rate`"},
		{"hijacked", "zen", codes("192.0.2.80"), bad, "outside 127.0.0.0/8"},
		{"hijacked, no preset", "bl.example.org", codes("192.0.2.80"), bad, "outside 127.0.0.0/8"},
		{"blocked by 0.0.0.0", "zen", codes("0.0.0.0"), bad, "outside 127.0.0.0/8"},
		{"alive", "bl.example.org", codes("127.0.0.1"), bad, "127.0.0.1 is no listing"},
		{"unknown code", "zen", codes("127.0.0.50"), bad, "`code 127.0.0.50 spam`"},
		{"unknown code beside a listing", "zen", codes("127.0.0.2", "127.0.0.50"), bad, "127.0.0.50"},
		{"unknown type", "httpbl", codes("127.1.1.8"), bad, "type 8"},
		{"two answers of http:BL", "httpbl", codes("127.1.1.1", "127.1.1.2"), bad, "2 addresses"},
		{"SERVFAIL", "zen", rcode(dns.RcodeServerFailure), reputation.ResultError, "SERVFAIL"},
		{"REFUSED", "zen", rcode(dns.RcodeRefused), refused, "`resolver`"},
		{"FORMERR", "zen", rcode(dns.RcodeFormatError), bad, "FORMERR"},
		{"no data", "zen", rcode(dns.RcodeSuccess), bad, "filters names"},
		{"another name", "zen", another, bad, "of another name"},
		{"an alias", "zen", func(m *dns.Msg) *dns.Msg {
			m.Answer = append(m.Answer, &dns.CNAME{
				Hdr:    dns.RR_Header{Name: m.Question[0].Name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: 60},
				Target: "park.example.org.",
			})
			return addresses(m, 60, "127.0.0.2")
		}, bad, "such as an alias"},
		{"both", "zen", func(m *dns.Msg) *dns.Msg { return absent(addresses(m, 60, "127.0.0.2"), "spamhaus.org.", 60, 60) }, bad, "does not exist"},
		{"no such zone", "zen", func(m *dns.Msg) *dns.Msg { return absent(m, "org.", 900, 900) }, bad, "whether the list still exists"},
		{"denied by another zone", "zen", func(m *dns.Msg) *dns.Msg { return absent(m, "example.org.", 900, 900) }, bad, "another zone"},
		{"huge", "zen", func(m *dns.Msg) *dns.Msg {
			for range 200 {
				addresses(m, 60, "127.0.0.2")
			}
			m.Answer = append(m.Answer, &dns.TXT{
				Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{strings.Repeat("x", 200)},
			})
			return m
		}, bad, "more than"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := serve(t, func(network string, m *dns.Msg) *dns.Msg {
				m = tc.answer(m)
				if network == "udp" && m.Len() > udpSize {
					m = new(dns.Msg).SetReply(m)
					m.Truncated = true
				}
				return m
			})
			key := map[string]string{"dqs": dqsKey, "httpbl": honeyPotKey}[tc.list]
			report, err := check(t, open(t, tc.list, r.addr), visitor, key)
			if got := reputation.ResultOf(err); got != tc.want || !strings.Contains(err.Error(), tc.cure) {
				t.Errorf("got %s %+v: %v\nwant %s with %q", got, report, err, tc.want, tc.cure)
			}
			if key == "" && strings.Contains(err.Error(), "the service refused the key") {
				t.Errorf("the list takes no key: %v", err)
			}
		})
	}
}

// How long an answer holds is what the list says, within bounds.
func TestTTL(t *testing.T) {
	for _, tc := range []struct {
		name   string
		answer func(m *dns.Msg) *dns.Msg
		want   time.Duration
	}{
		{"the shortest of a listing", func(m *dns.Msg) *dns.Msg {
			return addresses(addresses(m, 3600, "127.0.0.2"), 2100, "127.0.0.4")
		}, 35 * time.Minute},
		{"too short", func(m *dns.Msg) *dns.Msg { return addresses(m, 1, "127.0.0.2") }, minTTL},
		{"too long", func(m *dns.Msg) *dns.Msg { return addresses(m, 1<<31, "127.0.0.2") }, maxTTL},
		{"the SOA's own", func(m *dns.Msg) *dns.Msg { return absent(m, "spamhaus.org.", 600, 3600) }, 10 * time.Minute},
		{"the SOA's minimum", func(m *dns.Msg) *dns.Msg { return absent(m, "spamhaus.org.", 3600, 660) }, 11 * time.Minute},
		{"a short minimum", func(m *dns.Msg) *dns.Msg { return absent(m, "spamhaus.org.", 3600, 10) }, minTTL},
		{"no SOA", func(m *dns.Msg) *dns.Msg { m.Rcode = dns.RcodeNameError; return m }, minTTL},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := serve(t, func(_ string, m *dns.Msg) *dns.Msg { return tc.answer(m) })
			if got, err := check(t, open(t, "zen", r.addr), visitor, ""); err != nil || got.TTL != tc.want {
				t.Errorf("the TTL is %s, want %s (%v)", got.TTL, tc.want, err)
			}
		})
	}
}

// A key is sent as a label, so a wrong one never leaves, and none is in an error.
func TestKeys(t *testing.T) {
	r := serve(t, func(_ string, m *dns.Msg) *dns.Msg { m.Rcode = dns.RcodeServerFailure; return m })
	for _, tc := range []struct {
		list, key string
		asked     bool
	}{
		{"dqs", dqsKey, true},
		{"dqs", "", false},
		{"dqs", dqsKey + "\n", false},
		{"dqs", "evil.example.org.abcdefghi", false},
		{"dqs", strings.ToUpper(dqsKey), false},
		{"httpbl", honeyPotKey, true},
		{"httpbl", "abcdefghijk1", false},
		{"{key}.bl.example.org", "secret0", true},
		{"{key}.bl.example.org", "secret.0", false},
		{"{key}.bl.example.org", strings.Repeat("x", 64), false},
	} {
		before := len(r.questions())
		_, err := check(t, open(t, tc.list, r.addr), visitor, tc.key)
		if asked := len(r.questions()) > before; asked != tc.asked || !asked && !errors.Is(err, reputation.ErrRefused) {
			t.Errorf("%s: asked: %t, want %t: %v", tc.list, asked, tc.asked, err)
		}
		if strings.Contains(err.Error(), strings.TrimSpace(tc.key)) && tc.key != "" {
			t.Errorf("%s: the key is in the error: %v", tc.list, err)
		}
	}
}

// A list without IPv6 says nothing of it, and is not asked.
func TestIPv6IsAskedOnlyWhereThereIsAny(t *testing.T) {
	r := serve(t, func(_ string, m *dns.Msg) *dns.Msg { return addresses(m, 60, "127.0.0.2") })
	for _, list := range []string{"httpbl", "spamcop", "barracuda", "bl.example.org"} {
		d := open(t, list, r.addr)
		if _, err := check(t, d, netip.MustParseAddr("2001:db8::1"), honeyPotKey); !errors.Is(err, reputation.ErrUnsupported) {
			t.Errorf("%s: %v", list, err)
		}
		if d.Profile().Covers != reputation.IPv4 {
			t.Errorf("%s covers %v", list, d.Profile().Covers)
		}
	}
	if n := len(r.questions()); n > 0 {
		t.Errorf("%d questions were asked", n)
	}
}

func TestNothingIsAskedAfterTheCallIsCancelled(t *testing.T) {
	r := serve(t, func(_ string, m *dns.Msg) *dns.Msg { return addresses(m, 60, "127.0.0.2") })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := open(t, "zen", r.addr).Check(ctx, reputation.Query{Addr: visitor})
	if !errors.Is(err, context.Canceled) || len(r.questions()) > 0 {
		t.Errorf("%v, %d questions", err, len(r.questions()))
	}
}
