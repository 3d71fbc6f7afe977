package runtime

import (
	"slices"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/bots"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
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
