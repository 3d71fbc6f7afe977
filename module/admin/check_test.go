package admin

import (
	"strings"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// TestNextStepsOfABot: a verified bot that is judged causes no call, so none is announced.
func TestNextStepsOfABot(t *testing.T) {
	never := []adminapi.ProviderAnswer{{Name: "abuseipdb"}}
	bot := adminapi.Check{Providers: never, Reasons: []adminapi.Reason{{Source: reputation.SourceVerifiedBots, Points: -60}}}
	for _, tc := range []struct {
		check adminapi.Check
		want  string
	}{
		{bot, "no provider is asked about the bot"},
		{adminapi.Check{Providers: never}, "abuseipdb was not asked yet"},
	} {
		if got := strings.Join(nextSteps(&tc.check, new(lookup.Explanation), time.Now()), "; "); !strings.HasPrefix(got, tc.want) {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
}
