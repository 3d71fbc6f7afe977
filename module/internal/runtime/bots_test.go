package runtime

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/bots"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/conduct"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/request"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// TestRangesAreCurrent: a miss on ranges means something only while they are new.
func TestRangesAreCurrent(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for name, tc := range map[string]struct {
		confirmed, published time.Time
		want                 bool
	}{
		"never fetched":              {want: false},
		"confirmed":                  {confirmed: now.Add(-day), want: true},
		"confirmed long ago":         {confirmed: now.Add(-4 * day), want: false},
		"with a date":                {confirmed: now, published: now.Add(-MaxRangesAge), want: true},
		"old, and confirmed all day": {confirmed: now, published: now.Add(-MaxRangesAge - 1), want: false},
	} {
		s := feed.Status{LastSuccess: tc.confirmed, Published: tc.published, Patience: 3 * day}
		if got := areCurrent(&s, now); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// TestClaim: what an outcome means for the verdict.
func TestClaim(t *testing.T) {
	verified := append(bots.Named("googlebot"), bots.Named("chatgpt-user")...)
	b := &Bots{Verified: verified, Exempt: []bool{true, false}}
	for _, tc := range []struct {
		position int
		outcome  bots.Outcome
		want     lookup.Claim
	}{
		{0, bots.Verified, lookup.Claim{Bot: "googlebot", Exempt: true, Trusted: true}},
		{1, bots.Verified, lookup.Claim{Bot: "chatgpt-user"}}, // anybody can make it send requests
		{0, bots.Fake, lookup.Claim{Fake: true}},
		{0, bots.Unverifiable, lookup.Claim{}},
		{0, bots.Indeterminate, lookup.Claim{}},
	} {
		if got := b.claim(tc.position, tc.outcome); got != tc.want {
			t.Errorf("%s of %s: %+v", tc.outcome, verified[tc.position].Name, got)
		}
	}
}

// TestEvidenceOfBots: rules on what no bot can ever be are known to hold never.
func TestEvidenceOfBots(t *testing.T) {
	of := func(exempt bool, words ...string) *Bots {
		b := new(Bots)
		for _, word := range words {
			for _, bot := range bots.Named(word) {
				b.Verified, b.Exempt = append(b.Verified, bot), append(b.Exempt, exempt)
			}
		}
		return b
	}
	for name, tc := range map[string]struct {
		bots          *Bots
		trusted, fake bool
	}{
		"none":                                {},
		"judged":                              {of(false, "google"), true, true},
		"exempt, so they have no reasons":     {of(true, "google"), false, true},
		"a miss proves nothing":               {of(false, "bingbot"), true, false},
		"driven by anybody":                   {of(false, "chatgpt-user"), false, true},
		"driven, and a miss proves nothing":   {of(false, "claude-user"), false, false},
		"one of them cannot be verified":      {of(false, "slackbot"), false, false},
		"a webhook that others' servers send": {of(true, "github"), false, false},
	} {
		if trusted, fake := tc.bots.evidence(); trusted != tc.trusted || fake != tc.fake {
			t.Errorf("%s: trusted %t, fake %t", name, trusted, fake)
		}
		rt := &Runtime{Bots: tc.bots}
		sources := rt.reach().Sources
		if slices.Contains(sources, reputation.SourceVerifiedBots) != tc.trusted ||
			slices.Contains(sources, reputation.SourceFakeBot) != tc.fake {
			t.Errorf("%s: the sources are %v", name, sources)
		}
	}
}

// holdsAll are ranges that hold every address, and exempting is what exempts one.
type (
	holdsAll  struct{}
	exempting netip.Addr
)

func (holdsAll) Holds(int, netip.Addr) bool { return true }
func (holdsAll) Current(int) bool           { return true }

func (e exempting) Lookup(addr netip.Addr) (banned, exempt bool) { return false, addr == netip.Addr(e) }

// slowNames is a resolver that does not answer.
type slowNames struct{}

func (slowNames) LookupAddr(ctx context.Context, _ string) ([]string, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (slowNames) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestMayBeBot: while it is being found out whether a client is a bot, a trap that a page of anybody's can send it into
// does not ban it. That it claims to be one helps no longer than that.
func TestMayBeBot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := &Runtime{Logger: slog.New(slog.DiscardHandler)}
		rt.Conduct.Bans = conduct.BanTerms{First: time.Hour, Most: time.Hour, Burst: .1}
		var err error
		if rt.Overrides, err = ban.Open("", ban.Options{}); err != nil {
			t.Fatal(err)
		}
		rt.Leases.Add(rt.Overrides.Close)
		openConduct(t, rt, []violation.Terms{{Name: "trap", Points: 60, HalfLife: time.Hour, Most: 60, Ban: time.Hour}}, nil)
		if rt.Engine, err = lookup.New(lookup.Config{Logger: rt.Logger}); err != nil {
			t.Fatal(err)
		}
		rt.Conduct.Engine = rt.Engine
		countViolations(t, rt)
		rt.attach()
		defer rt.detach()
		for range 100 {
			rt.Conduct.SawClient(netip.MustParseAddr("192.0.2.1"))
		}
		reverse := bots.NewReverse(slowNames{}, slog.New(slog.DiscardHandler))
		defer reverse.Close()
		b := &Bots{Verified: bots.Named("yandexbot"), Exempt: []bool{false}}
		b.verifier = bots.NewVerifier(b.Verified, holdsAll{}, reverse)
		rt.Bots = b
		const agent = "Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)"
		client := netip.MustParseAddr("203.0.113.1")
		trap := func() (banned bool) {
			o := conduct.Offence{Violation: "trap", Client: client, Share: 1, Enforce: true, MayBeBot: rt.MayBeBot(client, agent)}
			if got := rt.Conduct.Violate(t.Context(), o); !got.Counted {
				t.Errorf("%+v", got)
			}
			time.Sleep(200 * time.Millisecond)
			_, banned = rt.Overrides.BanOf(client)
			return banned
		}
		b.verifier.Verify(t.Context(), b.verifier.Claim(agent), client, 0)
		if rt.MayBeBot(client, "curl/8") || !rt.MayBeBot(client, agent) || trap() {
			t.Error("it is banned before it is known who it is")
		}
		time.Sleep(4 * time.Second) // the look-up gives up
		if rt.MayBeBot(client, agent) || !trap() {
			t.Error("it is not banned although it is no bot")
		}
	})
}

// TestExplainClaim: a claim is explained as requests are judged. It changes nothing for an address that is exempt.
func TestExplainClaim(t *testing.T) {
	exempt, judged := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	engine, err := lookup.New(lookup.Config{Overrides: exempting(exempt), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	b := &Bots{Verified: bots.Named("gptbot"), Exempt: []bool{true}}
	b.verifier = bots.NewVerifier(b.Verified, holdsAll{}, nil)
	rt := &Runtime{Bots: b, Engine: engine}
	for addr, want := range map[netip.Addr]lookup.Claim{
		judged: {Bot: "gptbot", Exempt: true, Trusted: true}, exempt: {},
	} {
		x, claim := rt.ExplainClaim(t.Context(), addr, "GPTBot/1.2", true)
		if claim != want || x.Outcome != bots.Verified {
			t.Errorf("%s: %+v means %+v, want %+v", addr, x, claim, want)
		}
	}
}

// TestBotsBehindAProxy: where a proxy is taken for all visitors, a bot that comes through it is no fake.
func TestBotsBehindAProxy(t *testing.T) {
	for forwarded, want := range map[string]bots.Outcome{"": bots.Fake, "198.51.100.1": bots.Indeterminate} {
		rt := new(Runtime)
		r := httptest.NewRequest("GET", "/", nil)
		if forwarded != "" {
			r.Header.Set("X-Forwarded-For", forwarded)
		}
		for range 10_000 {
			rt.Conduct.Suspects.Sample(r, request.Vars{}, netip.MustParseAddr("192.0.2.1"), &reputation.Verdict{}, slog.New(slog.DiscardHandler))
		}
		if got := rt.believed(bots.Fake, time.Now()); got != want {
			t.Errorf("forwarded for %q: %s, want %s", forwarded, got, want)
		}
		if got := rt.believed(bots.Verified, time.Now()); got != bots.Verified {
			t.Errorf("forwarded for %q: a verified bot is %s", forwarded, got)
		}
	}
}
