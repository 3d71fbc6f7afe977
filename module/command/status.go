package command

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
)

func (c *console) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status [--json]",
		Short: "Shows how providers, lists and memory are doing",
		Long: `
Shows which providers can be asked and what is left of their quotas, how old the
lists are, how full the memory is, and what is wrong. The exit code is 0 if the
running Caddy answers, whatever it says: scripts read 'health' of the JSON.
`,
		Example: `  $ caddy ip-reputation status`,
		Args:    exactly(noArguments, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(c, cmd, http.MethodGet, "status", nil, (*page).status)
		},
	}
}

func (c *console) refreshCommand() *cobra.Command {
	accept := false
	cmd := &cobra.Command{
		Use:   "refresh <list> [--accept]",
		Short: "Fetches a list now",
		Long: `
Fetches a feed, or another list that has a URL or a file, without waiting for
its time, and returns when it is in force. 'status' names the lists. Publishers
are not asked more often than once a minute.

With --accept, a list that lost more of its lines than 'max_shrink' allows is
believed.
`,
		Example: "  $ caddy ip-reputation refresh tor_exits\n  $ caddy ip-reputation refresh tor_exits --accept",
		Args:    exactly("list", "caddy ip-reputation refresh tor_exits"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "feeds/" + url.PathEscape(args[0]) + "/refresh"
			if accept {
				path += "?accept"
			}
			return show(c, cmd, http.MethodPost, path, nil, (*page).refreshed)
		},
	}
	cmd.Flags().BoolVar(&accept, "accept", false, "Believe the list even if it lost most of its lines")
	return cmd
}

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
