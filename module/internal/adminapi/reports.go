package adminapi

import (
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/report"
)

// Reports answers GET reports.
type Reports struct {
	// Waiting are those that gather violations, or wait for another try, the oldest first.
	Waiting []report.Report `json:"waiting"`

	// Recent are the last ones that do not wait any more, the newest first. With ?dry-run they are those that were not
	// sent, since their site only observes or no provider says `report yes`.
	Recent []report.Report `json:"recent"`

	// Note says why there is nothing.
	Note string `json:"note,omitempty"`
}

// ReportStatus is the state of the reports to a provider. The numbers are those since the process began.
type ReportStatus struct {
	Waiting    uint64 `json:"waiting"`
	Sent       uint64 `json:"sent"`
	Duplicates uint64 `json:"duplicates"` // that the service, or another instance, had already
	Failed     uint64 `json:"failed"`     // that the service did not get, or did not take

	Quota []quota.WindowStatus `json:"quota,omitempty"`

	// Problem says why no report can be sent now. It is empty if one can.
	Problem string `json:"problem,omitempty"`
}

// ReportStatusOf sums up what became of the reports to a provider.
func ReportStatusOf(totals report.Totals, guard quota.Status, problem string) *ReportStatus {
	return &ReportStatus{
		Waiting: totals[report.Queued], Sent: totals[report.Sent],
		Duplicates: totals[report.Duplicate] + totals[report.Elsewhere],
		Failed:     totals[report.Rejected] + totals[report.Failed] + totals[report.Expired],
		Quota:      guard.Windows, Problem: problem,
	}
}
