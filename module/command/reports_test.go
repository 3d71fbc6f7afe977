package command

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/report"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestReportsPage(t *testing.T) {
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	one := report.Report{
		Address: netip.MustParseAddr("203.0.113.7"), Service: "abuseipdb", At: at,
		Categories: reputation.CategoriesOf(reputation.Scanner), Comment: "caddy: 1 request (vulnerability scan), e.g. /.env",
	}
	retried, shown := one, one
	retried.Tries, retried.Why = 2, "no answer"
	shown.Service, shown.Outcome, shown.Why = "", report.Shown, "no provider says `report yes`"
	one.Outcome = report.Sent
	for _, tc := range []struct {
		all  adminapi.Reports
		want string
	}{
		{adminapi.Reports{}, "no reports\n"},
		{adminapi.Reports{Note: "no violation says `report`"}, "no reports\nnote: no violation says `report`\n"},
		{adminapi.Reports{Waiting: []report.Report{retried}, Recent: []report.Report{one, shown}}, `
203.0.113.7  abuseipdb  waits until 2026-11-30 12:00:00 UTC, 2 failed  scanner: caddy: 1 request (vulnerability scan), e.g. /.env [no answer]
203.0.113.7  abuseipdb  sent 2026-11-30 12:00:00 UTC                   scanner: caddy: 1 request (vulnerability scan), e.g. /.env
203.0.113.7  -          shown 2026-11-30 12:00:00 UTC                  scanner: caddy: 1 request (vulnerability scan), e.g. /.env [no provider says ` + "`report yes`]\n"},
	} {
		var out bytes.Buffer
		p := newPage(&out, 0)
		p.reports(tc.all)
		if err := p.flush(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.TrimPrefix(tc.want, "\n"), out.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestStatusShowsReports(t *testing.T) {
	totals := report.Totals{
		report.Queued: 2, report.Sent: 5, report.Duplicate: 3, report.Elsewhere: 1, report.Rejected: 1, report.Expired: 1, report.Spared: 7,
	}
	guard := quota.Status{Windows: []quota.WindowStatus{{
		Window: "900/day", Limit: 900, Used: 8, Reset: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC),
	}}}
	const want = "reports: 5 sent, 4 known already, 2 failed, 2 waiting, 892 of 900/day left until 2026-12-01 00:00:00 UTC; it failed"
	if got := reportsLine(adminapi.ReportStatusOf(totals, guard, "it failed")); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
