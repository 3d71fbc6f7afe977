package command

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"

	"github.com/spf13/cobra"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
)

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
	const ttl = "How long it lasts, such as 30m, 1h or 7d (default: until it is removed)"
	cmd.Flags().StringVar(&wanted.TTL, "ttl", "", ttl)
	cmd.Flags().StringVar(&wanted.Reason, "reason", "", "A note for your colleagues, one line")
}

func (c *console) unbanCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "unban <ip|cidr>",
		Short: "Ends the ban of an address or a range",
		Long: `
Ends a ban, which is named as it was made: the ban of a range does not end for a
part of it. Use 'exempt' to let one address of a banned range through. If a rule
or a violation made it, the client's violations are forgotten, and its next ban
is as short as the first: so it is if you end one that is over and remembered.
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

func (c *console) bansCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "bans [--json]",
		Short: "Lists the bans and exemptions",
		Long: `
Lists what is banned and what is exempt at run time, with reasons and ends: by
operators, by rules and by violations. What the configuration denies or exempts
is not among it; 'check' names that too.
`,
		Example: `  $ caddy ip-reputation bans`,
		Args:    exactly(noArguments, ""),
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.listBans(cmd) },
	}
}

// add sends a new ban or exemption.
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

// allOverrides holds both lists. The admin API has a route for each.
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

// entry writes a ban or an exemption in one line.
func (p *page) entry(e ban.Entry) string {
	text := e.Prefix.String() + " " + p.end(e)
	if why := e.Why(); why != "" {
		text += ": " + why
	}
	return text
}

func (p *page) end(e ban.Entry) string {
	if e.Expires.IsZero() {
		return "forever"
	}
	return fmt.Sprintf("until %s (%s left)", health.FormatTime(e.Expires), span(e.Expires.Sub(p.now)))
}

func (p *page) added(a adminapi.OverrideAnswer) {
	p.row(adminapi.StateOf(a.Kind) + ": " + p.entry(a.Entry))
	p.remarks(a)
}

func (p *page) removed(a adminapi.OverrideAnswer) {
	p.row(fmt.Sprintf("the %s of %s has ended", a.Kind, a.Prefix))
	p.remarks(a)
}

func (p *page) remarks(a adminapi.OverrideAnswer) {
	if a.Note != "" {
		p.row("note: " + a.Note)
	}
	p.warning(a.Warning)
}

func (p *page) overrides(all allOverrides) {
	if len(all.Bans)+len(all.Exemptions) == 0 {
		p.row("nothing is banned or exempt at run time")
		return
	}
	for _, e := range slices.Concat(all.Exemptions, all.Bans) {
		p.row(e.Kind.String(), e.Prefix.String(), p.end(e), e.Why())
	}
}
