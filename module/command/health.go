package command

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
)

func (c *console) healthCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "health [--json]",
		Short: "Says whether Caddy answers, for health checks",
		Long: `
Prints one line: pass, or warn and how many things somebody should look at,
which 'status' names. The exit code is 0 if the running Caddy answers, with
warnings or without, since it serves all the same; it is 1 if Caddy does not
answer, or has no ip_reputation in its configuration. Made for containers
without a shell and curl.
`,
		Example: `  $ caddy ip-reputation health`,
		Args:    exactly(noArguments, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			status, err := get[adminapi.Status](c, "status")
			if err != nil {
				return err
			}
			// One line without names: container engines store what a health check prints.
			return c.print(cmd, status.Health, func(p *page) {
				line := string(status.Health.Status)
				if n := len(status.Health.Warnings); n > 0 {
					line += fmt.Sprintf(": %d to look at, see caddy ip-reputation status", n)
				}
				p.row(line)
			})
		},
	}
}
