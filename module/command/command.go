// Package command adds `caddy ip-reputation …`, which calls the admin API of the running Caddy and shows its answers.
package command

import (
	"fmt"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

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

// addTo adds the flags and the subcommands.
func (c *console) addTo(parent *cobra.Command) {
	flags := parent.PersistentFlags()
	flags.StringVar(&c.address, "address", "", "The address to use to reach the admin API endpoint, if not the default")
	flags.StringVarP(&c.config, "config", "c", "",
		"Configuration file to use to find the admin address, if --address is not used")
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
		c.bansCommand(), c.statusCommand(), c.sourcesCommand(), c.keysCommand(), c.refreshCommand(),
		c.reportsCommand(), c.historyCommand(), c.migrateCommand(), c.mmdbCommand(),
	)
	parent.AddCommand(c.healthCommand())
}

// noArguments is given to exactly for a command without arguments.
const noArguments = ""

// exactly requires one argument, or none for noArguments. Its errors show the example.
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
