package command

import (
	"net/http"
	"net/url"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
)

func (c *console) checkCommand() *cobra.Command {
	var fresh bool
	var userAgent string
	cmd := &cobra.Command{
		Use:   "check <ip|request id> [--fresh] [--user-agent <text>] [--json]",
		Short: "Explains the score of an address, or why a request was refused",
		Long: `
Shows what is known of an IP address: its score and how it adds up, the lists
that hold it, what each provider said of it and when, bans and exemptions, and
what happens next. Nobody is asked, unless --fresh is given: then all providers
are asked anew, as far as their quotas allow.

With --user-agent it shows whether a client of the address is the bot that the
text claims, and why. With --fresh, reverse DNS is asked, too.

With the ID of a request, such as a visitor reads on the page of a refusal, it
shows what was decided and why: of the latest requests that this instance
refused or limited, else from the history of the last day.
`,
		Example: `  $ caddy ip-reputation check 203.0.113.5
  $ caddy ip-reputation check 0af7651916cd43dd8448eb211c80319c
  $ caddy ip-reputation check 203.0.113.5 --user-agent Googlebot --fresh
  $ caddy ip-reputation check 2001:db8::5 --fresh --json`,
		Args: exactly("address", "caddy ip-reputation check 203.0.113.5"),
		RunE: func(cmd *cobra.Command, args []string) error {
			addr, err := address.ParseAddr(args[0])
			if err != nil && requestID.MatchString(args[0]) && !fresh && userAgent == "" {
				return c.showRequest(cmd, args[0], url.Values{})
			}
			if err != nil {
				return err
			}
			path, query := "check/"+addr.String(), url.Values{}
			if userAgent != "" {
				query.Set("user_agent", userAgent)
			}
			if fresh {
				query.Set("fresh", "")
			}
			if len(query) > 0 {
				path += "?" + query.Encode()
			}
			return show(c, cmd, http.MethodGet, path, nil, (*page).check)
		},
	}
	cmd.Flags().BoolVar(&fresh, "fresh", false, "Ask all providers anew first, within their quotas")
	cmd.Flags().StringVar(&userAgent, "user-agent", "", "The user agent of a client, which may claim to be a bot")
	return cmd
}

// requestID is what the ID of a request looks like where it cannot be meant as an address. Other IDs, which a proxy in
// front may make, are for `history --request`.
var requestID = regexp.MustCompile(`^[A-Za-z0-9_=+@~-]{8,128}$`)

// showRequest shows what was decided about a request.
func (c *console) showRequest(cmd *cobra.Command, id string, query url.Values) error {
	path := "requests/" + url.PathEscape(id)
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return show(c, cmd, http.MethodGet, path, nil, (*page).request)
}

func (c *console) forgetCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "forget <ip>",
		Short: "Forgets what an address did, and what providers said of it",
		Long: `
Forgets the violations of an IP address, of IPv6 of its /64 network, and what
providers said of it: they are asked again at its next request. Lists, bans and
exemptions stay: 'unban' ends a ban.
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
