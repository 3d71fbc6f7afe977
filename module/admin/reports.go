package admin

import (
	"net/http"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/report"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
)

// serveReports answers GET reports.
func serveReports(rt *runtime.Runtime, r *http.Request, _ string) (any, error) {
	answer := adminapi.Reports{Waiting: []report.Report{}, Recent: []report.Report{}}
	if rt.Conduct.Reports == nil {
		answer.Note = "no violation says `report` and no provider says `report yes`: docs/reports.md"
		return answer, nil
	}
	answer.Waiting = append(answer.Waiting, rt.Conduct.Reports.Waiting()...)
	if r.URL.Query().Has("dry-run") {
		answer.Recent = append(answer.Recent, rt.Conduct.Reports.Shown()...)
	} else {
		answer.Recent = append(answer.Recent, rt.Conduct.Reports.Recent()...)
	}
	return answer, nil
}

// reportStatus returns the state of the reports to a provider, nil if it is sent none.
func reportStatus(rt *runtime.Runtime, p *runtime.Provider, now time.Time) *adminapi.ReportStatus {
	if p.Reports == nil {
		return nil
	}
	guard := p.Reports.Guard.Status()
	return adminapi.ReportStatusOf(rt.Conduct.Reports.Totals(p.Name), guard, health.Problem(guard, nil, now))
}
