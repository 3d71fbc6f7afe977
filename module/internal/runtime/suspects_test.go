package runtime

import (
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/bots"
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

// TestBotsBehindAProxy: where a proxy is taken for all visitors, a bot that comes through it is no fake.
func TestBotsBehindAProxy(t *testing.T) {
	for forwarded, want := range map[string]bots.Outcome{"": bots.Fake, "198.51.100.1": bots.Indeterminate} {
		rt := new(Runtime)
		r := httptest.NewRequest("GET", "/", nil)
		if forwarded != "" {
			r.Header.Set("X-Forwarded-For", forwarded)
		}
		for range 10_000 {
			rt.Suspects.Sample(r, request.Vars{}, netip.MustParseAddr("192.0.2.1"), &reputation.Verdict{}, slog.New(slog.DiscardHandler))
		}
		if got := rt.believed(bots.Fake, time.Now()); got != want {
			t.Errorf("forwarded for %q: %s, want %s", forwarded, got, want)
		}
		if got := rt.believed(bots.Verified, time.Now()); got != bots.Verified {
			t.Errorf("forwarded for %q: a verified bot is %s", forwarded, got)
		}
	}
}
