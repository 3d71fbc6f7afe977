package lookup

import (
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// An answer is used as long as the operator allows, unless the service allows less.
func TestTTLIsTheShorterOne(t *testing.T) {
	p := provider{Provider: Provider{ListedTTL: time.Hour, CleanTTL: 15 * time.Minute}}
	for _, tc := range []struct {
		severity  float64
		ttl, want time.Duration
	}{
		{1, 0, time.Hour},
		{1, 10 * time.Minute, 10 * time.Minute},
		{1, 30 * 24 * time.Hour, time.Hour},
		{0, 0, 15 * time.Minute},
		{-1, 10 * time.Minute, 10 * time.Minute},
		{-1, time.Hour, 15 * time.Minute},
		{1, time.Second, leastTTL},
		{0, 1, leastTTL},
	} {
		if got := p.ttl(reputation.Report{Severity: tc.severity, TTL: tc.ttl}); got != tc.want {
			t.Errorf("severity %v with a TTL of %s is used for %s, want %s", tc.severity, tc.ttl, got, tc.want)
		}
	}
	p.ListedTTL = time.Minute // what the operator says holds
	if got := p.ttl(reputation.Report{Severity: 1, TTL: time.Second}); got != time.Minute {
		t.Errorf("a report is used for %s, want the operator's 1m", got)
	}
}
