package conduct

import (
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/request"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// TestBotsAreNoVisitors: a site that hardly anybody but verified bots visits is not told that its visitors are exempt, nor
// that they are one client.
func TestBotsAreNoVisitors(t *testing.T) {
	for bot, suspect := range map[string]bool{"": true, "googlebot": false} {
		var s Suspects
		r := httptest.NewRequest("GET", "/", nil)
		v := reputation.Verdict{Status: reputation.Exempt, Facts: reputation.Facts{Bot: bot}}
		for range 10_000 {
			s.Sample(r, request.Vars{}, netip.MustParseAddr("192.0.2.1"), &v, slog.New(slog.DiscardHandler))
		}
		if f := s.Finding(time.Now()); f.Any() != suspect {
			t.Errorf("bot %q: %+v", bot, f)
		}
	}
}
