package runtime

import (
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/bots"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
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
