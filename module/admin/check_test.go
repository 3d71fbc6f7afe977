package admin

import (
	"strings"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// TestNextStepsOfABot: a verified bot that is judged causes no call, so none is announced. Nor is one that runs already.
func TestNextStepsOfABot(t *testing.T) {
	never := []adminapi.ProviderAnswer{{Name: "abuseipdb"}}
	bot := adminapi.Check{Providers: never, Reasons: []adminapi.Reason{{Source: reputation.SourceVerifiedBots, Points: -60}}}
	for _, tc := range []struct {
		check adminapi.Check
		x     lookup.Explanation
		want  string
	}{
		{bot, lookup.Explanation{}, "no provider is asked about the bot"},
		{adminapi.Check{Providers: never}, lookup.Explanation{}, "abuseipdb was not asked yet"},
		{adminapi.Check{Providers: never}, lookup.Explanation{Running: true}, "abuseipdb has not answered yet: providers are being asked"},
	} {
		if got := strings.Join(nextSteps(&tc.check, &tc.x, time.Now()), "; "); !strings.HasPrefix(got, tc.want) {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
}
