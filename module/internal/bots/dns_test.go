package bots

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// published are lists for tests.
type published struct {
	holds map[int]string // by position
	old   map[int]bool
}

func (p published) Holds(list int, addr netip.Addr) bool {
	return p.holds[list] != "" && netip.MustParsePrefix(p.holds[list]).Contains(addr)
}
func (p published) Current(list int) bool { return !p.old[list] }

// verify returns the outcome of a claim by the whole table.
func verify(t *testing.T, v *Verifier, userAgent, addr string) Outcome {
	t.Helper()
	claim := v.Claim(userAgent)
	if claim < 0 {
		return Unclaimed
	}
	return v.Verify(context.Background(), claim, netip.MustParseAddr(addr), 20*time.Second)
}

// TestReverseDNS asks a DNS server.
func TestReverseDNS(t *testing.T) {
	z := testenv.ServeDNS(t)
	many := map[string][]string{"crawl-many.googlebot.com": {"192.0.2.13"}}
	for i := range 60 { // more than a UDP answer holds
		many[strings.Repeat("x", 20)+string(rune('a'+i%26))+string(rune('a'+i/26))+".example.net"] = nil
	}
	z.Name("192.0.2.13", many)
	z.Name("192.0.2.1", map[string][]string{"crawl-192-0-2-1.googlebot.com": {"192.0.2.200", "192.0.2.1"}})
	z.Name("192.0.2.2", map[string][]string{"crawl-192-0-2-2.googlebot.com": {"192.0.2.99"}})
	z.Name("192.0.2.3", map[string][]string{"evilgooglebot.com": {"192.0.2.3"}})
	z.Name("192.0.2.4", map[string][]string{"crawl.googlebot.com.evil.example": {"192.0.2.4"}})
	z.Name("192.0.2.5", map[string][]string{"crawl-a.googlebot.com": nil, "own.example.net": {"192.0.2.5"}})
	z.Name("192.0.2.6", map[string][]string{"CRAWL-6.GoogleBot.com": {"192.0.2.6"}})
	z.Name("192.0.2.7", map[string][]string{"googlebot.com": {"192.0.2.7"}})
	z.Name("192.0.2.9", map[string][]string{"crawl-9.googlebot.com": nil})
	z.Fail("crawl-9.googlebot.com.", dns.RcodeServerFailure)
	z.Fail("10.2.0.192.in-addr.arpa.", dns.RcodeServerFailure)
	z.Fail("11.2.0.192.in-addr.arpa.", dns.RcodeRefused)
	z.Records["12.2.0.192.in-addr.arpa. PTR"] = []string{ // a delegation by RFC 2317
		"12.2.0.192.in-addr.arpa. 60 IN CNAME 12.0-31.2.0.192.in-addr.arpa.",
		"12.0-31.2.0.192.in-addr.arpa. 60 IN PTR crawl-12.googlebot.com.",
	}
	z.Records["crawl-12.googlebot.com. A"] = []string{
		"crawl-12.googlebot.com. 60 IN CNAME pool.googlebot.com.", "pool.googlebot.com. 60 IN A 192.0.2.12",
	}
	z.Name("2001:db8::1", map[string][]string{"crawl-v6.googlebot.com": {"2001:db8::1", "192.0.2.66"}})
	z.Name("192.0.2.14", map[string][]string{"vm.bc.googleusercontent.com": {"192.0.2.14"}})
	z.Name("192.0.2.15", map[string][]string{"google-proxy-1.google.com": {"192.0.2.15"}})
	z.Name("192.0.2.16", map[string][]string{"staff.corp.google.com": {"192.0.2.16"}})
	z.Name("192.0.2.17", map[string][]string{"msnbot-1.search.msn.com": {"192.0.2.17"}})

	r := NewReverse(NewResolver([]string{z.Addr}), discard)
	defer r.Close()
	v := NewVerifier(everyBot(), published{}, r)
	for _, c := range []struct {
		ua, addr string
		want     Outcome
		why      string
	}{
		{"Googlebot/2.1", "192.0.2.1", Verified, "one of several addresses of the name"},
		{"Googlebot/2.1", "192.0.2.2", Fake, "the name leads elsewhere"},
		{"Googlebot/2.1", "192.0.2.3", Fake, "no dot before the suffix"},
		{"Googlebot/2.1", "192.0.2.4", Fake, "the suffix in the middle"},
		{"Googlebot/2.1", "192.0.2.5", Fake, "another name than the one that matches leads back"},
		{"Googlebot/2.1", "192.0.2.6", Verified, "capitals"},
		{"Googlebot/2.1", "192.0.2.7", Fake, "the suffix alone is no host of it"},
		{"Googlebot/2.1", "192.0.2.8", Fake, "NXDOMAIN"},
		{"Googlebot/2.1", "192.0.2.9", Indeterminate, "SERVFAIL on the way back"},
		{"Googlebot/2.1", "192.0.2.10", Indeterminate, "SERVFAIL"},
		{"Googlebot/2.1", "192.0.2.11", Indeterminate, "REFUSED"},
		{"Googlebot/2.1", "192.0.2.12", Verified, "aliases on both ways"},
		{"Googlebot/2.1", "192.0.2.13", Verified, "many names, by TCP"},
		{"Googlebot/2.1", "2001:db8::1", Verified, "IPv6"},
		{"Googlebot/2.1", "192.0.2.14", Fake, "a customer's machine"},
		{"Google-Agent", "192.0.2.14", Indeterminate, "a customer's machine"},
		{"Google-Agent", "192.0.2.15", Verified, "a mask"},
		{"Google-Agent", "192.0.2.16", Indeterminate, "not of the mask"},
		{"Googlebot/2.1", "192.0.2.15", Fake, "another bot's name"},
		{"bingbot/2.0", "192.0.2.17", Verified, ""},
		{"bingbot/2.0", "192.0.2.1", Indeterminate, "a miss proves nothing"},
		{"CCBot/2.0", "2001:db8::1", Fake, "it has names in IPv4 only"},
		{"Slackbot", "192.0.2.1", Unverifiable, ""},
		{chrome, "192.0.2.1", Unclaimed, ""},
	} {
		if got := verify(t, v, c.ua, c.addr); got != c.want {
			t.Errorf("%s from %s is %s, want %s: %s", c.ua, c.addr, got, c.want, c.why)
		}
	}
	before := z.Count("")
	if got := verify(t, v, "Googlebot/2.1", "192.0.2.1"); got != Verified || z.Count("") != before {
		t.Errorf("%s, after %d questions more", got, z.Count("")-before)
	}
	if n := z.Count("1.2.0.192.in-addr.arpa. PTR"); n != 2 { // as Googlebot and as Bing's
		t.Errorf("reverse DNS was asked %d times", n)
	}
	for _, never := range []string{"vm.bc.googleusercontent.com", "own.example.net", "evilgooglebot.com"} {
		if z.Count(never) > 0 {
			t.Errorf("%s was asked for, which is no name of a bot", never)
		}
	}
}

// TestHijackedDNS: a resolver that answers for names that do not exist proves nothing, neither for nor against.
func TestHijackedDNS(t *testing.T) {
	z := testenv.ServeDNS(t)
	z.Hijack = "192.0.2.50"
	z.Name("192.0.2.50", map[string][]string{"crawl-x.googlebot.com": nil}) // its own machine; the name does not exist
	z.Name("192.0.2.1", map[string][]string{"dsl.example.net": {"192.0.2.1"}})
	r := NewReverse(NewResolver([]string{z.Addr}), discard)
	defer r.Close()
	v := NewVerifier(everyBot(), published{holds: map[int]string{0: "198.51.100.0/24"}}, r)
	for addr, want := range map[string]Outcome{
		"192.0.2.50": Indeterminate, "192.0.2.1": Indeterminate, "192.0.2.2": Indeterminate, "198.51.100.1": Verified,
	} {
		if got := verify(t, v, "Googlebot/2.1", addr); got != want {
			t.Errorf("%s is %s, want %s", addr, got, want)
		}
	}
	if !v.Hijacked() {
		t.Error("it is not said that the resolver is hijacked")
	}
}

// TestRanges: published ranges need no DNS, and a miss proves something only while they are current.
func TestRanges(t *testing.T) {
	z := testenv.ServeDNS(t)
	r := NewReverse(NewResolver([]string{z.Addr}), discard)
	defer r.Close()
	list := everyBot()
	at := func(name string) int { return positionOf(RangesOf(list), Named(name)[0].Ranges) }
	held := func(old ...string) *Verifier {
		p := published{
			holds: map[int]string{}, old: map[int]bool{},
		}
		for _, name := range []string{"googlebot", "gptbot", "claudebot"} {
			p.holds[at(name)] = "192.0.2.0/25"
		}
		for _, name := range old {
			p.old[at(name)] = true
		}
		return NewVerifier(list, p, r)
	}
	v := held()
	for _, c := range []struct {
		v        *Verifier
		ua, addr string
		want     Outcome
	}{
		{v, "Googlebot/2.1", "192.0.2.1", Verified},
		{v, chrome, "192.0.2.1", Unclaimed},
		{v, "ClaudeBot/1.0", "192.0.2.1", Verified},
		{v, "ClaudeBot/1.0", "192.0.2.201", Fake},
		{v, "Claude-User (claude-code/1.0)", "192.0.2.201", Indeterminate},
		{v, "GPTBot/1.3", "192.0.2.201", Indeterminate},
		{v, "Googlebot/2.1", "192.0.2.202", Fake},
		{v, "facebookexternalhit/1.1 Facebot Twitterbot/1.0", "192.0.2.203", Indeterminate},
		{v, "Googlebot/2.1", "10.0.0.1", Indeterminate},
		{v, "ClaudeBot/1.0", "10.0.0.1", Indeterminate},
		{held("claudebot"), "ClaudeBot/1.0", "192.0.2.201", Indeterminate},
		{held("googlebot"), "Googlebot/2.1", "192.0.2.202", Indeterminate},
	} {
		if got := verify(t, c.v, c.ua, c.addr); got != c.want {
			t.Errorf("%s from %s is %s, want %s", c.ua, c.addr, got, c.want)
		}
	}
	if n := z.Count("1.2.0.192.in-addr.arpa.") + z.Count("1.0.0.10.in-addr.arpa."); n > 0 {
		t.Errorf("DNS was asked %d times about an address in the ranges, or a private one", n)
	}
}

// TestExplain holds what an operator reads.
func TestExplain(t *testing.T) {
	z := testenv.ServeDNS(t)
	z.Name("192.0.2.130", map[string][]string{"crawl-130.googlebot.com": {"192.0.2.130"}})
	z.Name("192.0.2.131", map[string][]string{"dsl.example.net": nil})
	r := NewReverse(NewResolver([]string{z.Addr}), discard)
	defer r.Close()
	v := NewVerifier(everyBot(), published{holds: map[int]string{0: "192.0.2.0/25"}}, r)
	for _, c := range []struct {
		ua, addr string
		fresh    bool
		outcome  Outcome
		why      string
	}{
		{"Googlebot", "192.0.2.1", false, Verified, "the ranges of googlebot hold the address"},
		{"Googlebot", "192.0.2.130", false, Indeterminate, "reverse DNS, *.googlebot.com: not asked yet"},
		{"Googlebot", "192.0.2.130", true, Verified, "reverse DNS: crawl-130.googlebot.com, which leads back"},
		{"Googlebot", "192.0.2.130", false, Verified, "a name leads back to the address"},
		{"Googlebot", "192.0.2.131", true, Fake, "dsl.example.net; none of *.googlebot.com leads back"},
		{"Googlebot", "192.0.2.132", true, Fake, "no name; none of"},
		{"bingbot", "192.0.2.131", true, Indeterminate, "a miss proves nothing. The file has not changed"},
		{"Slackbot", "192.0.2.131", true, Unverifiable, "publishes neither addresses nor host names"},
		{"Googlebot", "10.0.0.1", true, Indeterminate, "private or reserved"},
	} {
		x := v.Explain(context.Background(), v.Claim(c.ua), netip.MustParseAddr(c.addr), c.fresh)
		if why := strings.Join(x.Why, "; "); x.Outcome != c.outcome || !strings.Contains(why, c.why) {
			t.Errorf("%s from %s: %s, %s; want %s, %s", c.ua, c.addr, x.Outcome, why, c.outcome, c.why)
		}
	}
}

// TestResolversInTurn: a server that refuses does not keep the next one from verifying.
func TestResolversInTurn(t *testing.T) {
	z := testenv.ServeDNS(t)
	z.Name("192.0.2.1", map[string][]string{"crawl-1.googlebot.com": {"192.0.2.1"}})
	refusing := testenv.ServeDNS(t)
	for _, name := range []string{"1.2.0.192.in-addr.arpa.", "2.2.0.192.in-addr.arpa.", "crawl-1.googlebot.com."} {
		refusing.Fail(name, dns.RcodeRefused)
	}
	r := NewReverse(NewResolver([]string{refusing.Addr, z.Addr}), discard)
	defer r.Close()
	for addr, want := range map[string]found{"192.0.2.1": confirmed, "192.0.2.2": missed} {
		if got := r.ask(t.Context(), Named("googlebot")[0], netip.MustParseAddr(addr)); got.found != want {
			t.Errorf("%s: %v (%v), want %v", addr, got.found, got.err, want)
		}
	}
}
