package command

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"

	"github.com/spf13/cobra"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/report"
)

func (c *console) reportsCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "reports [--dry-run] [--json]",
		Short: "Lists the reports about addresses to services",
		Long: `
Lists the addresses that are, or were, reported to services such as AbuseIPDB
for what they did on your sites: those that wait, and the last 200 with what
became of them. A provider must say 'report yes', and a violation 'report'.

With --dry-run it lists those that wait, and those that would have been sent if
their site enforced its rules and a provider said 'report yes'. Use it before
you turn reports on.
`,
		Example: `  $ caddy ip-reputation reports
  $ caddy ip-reputation reports --dry-run`,
		Args: exactly(noArguments, ""),
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "List what would be sent")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		endpoint := "reports"
		if dryRun {
			endpoint += "?dry-run"
		}
		return show(c, cmd, http.MethodGet, endpoint, nil, (*page).reports)
	}
	return cmd
}

func (p *page) reports(all adminapi.Reports) {
	if len(all.Waiting)+len(all.Recent) == 0 {
		p.row("no reports")
	}
	if all.Note != "" {
		p.row("note: " + all.Note)
	}
	for _, r := range slices.Concat(all.Waiting, all.Recent) {
		p.report(r)
	}
}

// report writes a report in one row.
func (p *page) report(r report.Report) {
	outcome := r.Outcome.String() + " " + health.FormatTime(r.At)
	if r.Outcome == report.Queued {
		outcome = "waits until " + health.FormatTime(r.At)
	}
	if r.Tries > 0 {
		outcome += fmt.Sprintf(", %d failed", r.Tries)
	}
	text := r.Categories.String() + ": " + r.Comment
	if r.Why != "" {
		text += " [" + r.Why + "]"
	}
	p.row(r.Address.String(), cmp.Or(r.Service, "-"), outcome, text)
}
