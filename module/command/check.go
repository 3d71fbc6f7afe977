package command

import (
	"net/http"

	"github.com/spf13/cobra"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
)

func (c *console) checkCommand() *cobra.Command {
	var fresh bool
	cmd := &cobra.Command{
		Use:   "check <ip> [--fresh] [--json]",
		Short: "Explains the score of an address",
		Long: `
Shows what is known of an IP address: its score and how it adds up, the lists
that hold it, what each provider said of it and when, bans and exemptions, and
what happens next. Nobody is asked, unless --fresh is given: then all providers
are asked anew, as far as their quotas allow.
`,
		Example: `  $ caddy ip-reputation check 203.0.113.5
  $ caddy ip-reputation check 2001:db8::5 --fresh --json`,
		Args: exactly("address", "caddy ip-reputation check 203.0.113.5"),
		RunE: func(cmd *cobra.Command, args []string) error {
			addr, err := address.ParseAddr(args[0])
			if err != nil {
				return err
			}
			path := "check/" + addr.String()
			if fresh {
				path += "?fresh"
			}
			return show(c, cmd, http.MethodGet, path, nil, (*page).check)
		},
	}
	cmd.Flags().BoolVar(&fresh, "fresh", false, "Ask all providers anew first, within their quotas")
	return cmd
}

func (c *console) forgetCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "forget <ip>",
		Short: "Forgets what providers said of an address",
		Long: `
Forgets what providers said of an IP address, of IPv6 of its /64 network: they
are asked again at its next request. Lists, bans and exemptions stay.
`,
		Example: `  $ caddy ip-reputation forget 203.0.113.5`,
		Args:    exactly("address", "caddy ip-reputation forget 203.0.113.5"),
		RunE: func(cmd *cobra.Command, args []string) error {
			addr, err := address.ParseAddr(args[0])
			if err != nil {
				return err
			}
			return show(c, cmd, http.MethodDelete, "records/"+addr.String(), nil, (*page).forgotten)
		},
	}
}
