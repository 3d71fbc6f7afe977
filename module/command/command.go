// Package command is `caddy ip-reputation …`: it asks the admin API of the running Caddy, and shows what it answers.
package command

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/postgres"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "ip-reputation",
		Usage: "<command> [--address <interface>] [--config <path> [--adapter <name>]] [--json]",
		Short: "Shows and changes what the running Caddy knows of IP addresses",
		Long: `
Asks the running Caddy, through its admin API, what it knows of an IP address
and how the address's score is made; bans and exempts addresses while it runs.

The address of the admin API is taken from --address if specified; otherwise
from the given config file; otherwise the default is assumed, as in 'caddy
reload'. With --json, the answer of the admin API is printed as it is.
`,
		CobraFunc: func(parent *cobra.Command) { (&console{migrateTables: postgres.Migrate}).addTo(parent) },
	})
}

// addTo makes the subcommands.
func (c *console) addTo(parent *cobra.Command) {
	flags := parent.PersistentFlags()
	flags.StringVar(&c.address, "address", "", "The address to use to reach the admin API endpoint, if not the default")
	flags.StringVarP(&c.config, "config", "c", "", "Configuration file to use to find the admin address, if --address is not used")
	flags.StringVarP(&c.adapter, "adapter", "a", "", "Name of config adapter to apply (when --config is used)")
	flags.BoolVar(&c.json, "json", false, "Print the answer as JSON")
	parent.Example = `  $ caddy ip-reputation check 203.0.113.5
  $ caddy ip-reputation ban 203.0.113.5 --ttl 1h --reason "password guessing"`
	parent.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("unknown command %q: see 'caddy ip-reputation --help'", args[0])
		}
		return cmd.Help()
	}
	parent.AddCommand(
		c.checkCommand(), c.banCommand(), c.unbanCommand(), c.exemptCommand(), c.forgetCommand(),
		c.bansCommand(), c.statusCommand(), c.keysCommand(), c.refreshCommand(),
		c.historyCommand(), c.migrateCommand(),
	)
	parent.AddCommand(c.healthCommand())
}

// noArguments is the argument of commands that take none.
const noArguments = ""

// exactly accepts the one argument that is described, or none.
func exactly(argument, example string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case argument == noArguments && len(args) > 0:
			return fmt.Errorf("%s takes no argument: leave out %q", cmd.Name(), args[0])
		case argument != noArguments && (len(args) != 1 || args[0] == ""):
			return fmt.Errorf("%s takes exactly one %s, such as: %s", cmd.Name(), argument, example)
		}
		return nil
	}
}

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

func (c *console) banCommand() *cobra.Command {
	var wanted adminapi.Override
	cmd := &cobra.Command{
		Use:   "ban <ip|cidr> [--ttl <duration>] [--reason <text>]",
		Short: "Bans an address or a range",
		Long: `
Bans an IP address or a CIDR range, from the next request on, for a time or
until 'unban'. Enforcing sites block what is banned, unless one of their rules
says otherwise. The ban survives reloads and restarts. Banning again replaces
the ban. What is exempt is not banned.
`,
		Example: `  $ caddy ip-reputation ban 203.0.113.5 --ttl 1h --reason "password guessing"
  $ caddy ip-reputation ban 2001:db8:1:2::/64`,
		Args: exactly("address or range", "caddy ip-reputation ban 203.0.113.5"),
		RunE: func(cmd *cobra.Command, args []string) error { return c.add(cmd, "bans", args[0], wanted) },
	}
	entryFlags(cmd, &wanted)
	return cmd
}

func entryFlags(cmd *cobra.Command, wanted *adminapi.Override) {
	cmd.Flags().StringVar(&wanted.TTL, "ttl", "", "How long it lasts, such as 30m, 1h or 7d (default: until it is removed)")
	cmd.Flags().StringVar(&wanted.Reason, "reason", "", "A note for your colleagues, one line")
}

func (c *console) unbanCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "unban <ip|cidr>",
		Short: "Ends the ban of an address or a range",
		Long: `
Ends a ban, which is named as it was made: the ban of a range does not end for a
part of it. Use 'exempt' to let one address of a banned range through.
`,
		Example: `  $ caddy ip-reputation unban 203.0.113.5`,
		Args:    exactly("address or range", "caddy ip-reputation unban 203.0.113.5"),
		RunE:    func(cmd *cobra.Command, args []string) error { return c.remove(cmd, "bans", args[0]) },
	}
}

func (c *console) exemptCommand() *cobra.Command {
	var wanted adminapi.Override
	var remove bool
	cmd := &cobra.Command{
		Use:   "exempt <ip|cidr> [--ttl <duration>] [--reason <text>] [--remove]",
		Short: "Exempts an address or a range from being judged",
		Long: `
Exempts an IP address or a CIDR range, from the next request on, for a time or
until it is removed: it is neither judged nor sent to any provider. Exempt beats
everything else, bans included. The exemption survives reloads and restarts.
`,
		Example: `  $ caddy ip-reputation exempt 203.0.113.5 --ttl 1d --reason "our scanner"
  $ caddy ip-reputation exempt 203.0.113.5 --remove`,
		Args: exactly("address or range", "caddy ip-reputation exempt 203.0.113.5"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if remove && wanted != (adminapi.Override{}) {
				return errors.New("an exemption is removed without --ttl and --reason: leave them out")
			}
			if remove {
				return c.remove(cmd, "exemptions", args[0])
			}
			return c.add(cmd, "exemptions", args[0], wanted)
		},
	}
	entryFlags(cmd, &wanted)
	cmd.Flags().BoolVar(&remove, "remove", false, "Remove the exemption")
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

func (c *console) bansCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "bans [--json]",
		Short: "Lists the bans and exemptions",
		Long: `
Lists what is banned and what is exempt at run time, with reasons and ends. What
the configuration denies or exempts is not among it; 'check' names that too.
`,
		Example: `  $ caddy ip-reputation bans`,
		Args:    exactly(noArguments, ""),
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.listBans(cmd) },
	}
}

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
	return &cobra.Command{
		Use:   "refresh <list>",
		Short: "Fetches a list now",
		Long: `
Fetches a feed, or another list that has a URL or a file, without waiting for
its time, and returns when it is in force. 'status' names the lists. Publishers
are not asked more often than once a minute.
`,
		Example: `  $ caddy ip-reputation refresh tor_exits`,
		Args:    exactly("list", "caddy ip-reputation refresh tor_exits"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return show(c, cmd, http.MethodPost, "feeds/"+url.PathEscape(args[0])+"/refresh", nil, (*page).refreshed)
		},
	}
}

// add bans or exempts.
func (c *console) add(cmd *cobra.Command, endpoint, argument string, wanted adminapi.Override) error {
	if _, err := address.ParsePrefix(argument); err != nil {
		return err
	}
	if cmd.Flags().Changed("ttl") && wanted.TTL == "" {
		return errors.New("the ttl is empty: write one such as 1h, or leave it out")
	}
	wanted.Prefix = argument
	return show(c, cmd, http.MethodPost, endpoint, wanted, (*page).added)
}

// remove ends a ban or an exemption.
func (c *console) remove(cmd *cobra.Command, endpoint, argument string) error {
	prefix, err := address.ParsePrefix(argument)
	if err != nil {
		return err
	}
	return show(c, cmd, http.MethodDelete, endpoint+"/"+escape(prefix), nil, (*page).removed)
}

func escape(prefix netip.Prefix) string { return url.PathEscape(prefix.String()) }

// allOverrides are both lists, which the admin API has in two places.
type allOverrides struct {
	Bans       []ban.Entry `json:"bans"`
	Exemptions []ban.Entry `json:"exemptions"`
}

func (c *console) listBans(cmd *cobra.Command) (err error) {
	var all allOverrides
	if all.Bans, err = get[[]ban.Entry](c, "bans"); err != nil {
		return err
	}
	if all.Exemptions, err = get[[]ban.Entry](c, "exemptions"); err != nil {
		return err
	}
	return c.print(cmd, all, func(p *page) { p.overrides(all) })
}
