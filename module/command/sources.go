package command

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
)

func (c *console) sourcesCommand() *cobra.Command {
	var probe bool
	cmd := &cobra.Command{
		Use:   "sources [<source>] [--probe] [--json]",
		Short: "Lists what is known of addresses from where, and tries it",
		Long: `
Lists all lists, services and databases: what they are, the state of their keys,
when they last answered, when their publishers last changed them, how many calls
are left or how many entries they have, and their terms of use.

With --probe each is asked once, or the one that is named: a service something
harmless, about no visitor, which counts as a call or two of its quota; a list
with a URL or a file is fetched, not more often than once a minute. Databases
are looked at every few seconds anyway. The exit code is 1 if one of them does
not work.
`,
		Example: `  $ caddy ip-reputation sources
  $ caddy ip-reputation sources abuseipdb --probe`,
		Args: cobra.MaximumNArgs(1),
	}
	cmd.Flags().BoolVar(&probe, "probe", false, "Ask each source once, and show whether it works")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name := strings.Join(args, "")
		all, err := c.sources(name, probe)
		if err != nil {
			return err
		}
		if err := c.print(cmd, all, func(p *page) { p.sources(all) }); err != nil {
			return err
		}
		return broken(all)
	}
	return cmd
}

// sources returns the state of all sources, or of the one with the given name.
func (c *console) sources(name string, probe bool) ([]adminapi.Source, error) {
	if !probe {
		all, err := get[[]adminapi.Source](c, "sources")
		if err != nil || name == "" {
			return all, err
		}
		var names []string
		for _, s := range all {
			if s.Name == name {
				return []adminapi.Source{s}, nil
			}
			names = append(names, s.Name)
		}
		return nil, fmt.Errorf("no source is named %q: there are %s", name, cmp.Or(strings.Join(names, ", "), "none"))
	}
	path := "sources/probe"
	if name != "" {
		path += "?source=" + url.QueryEscape(name)
	}
	raw, err := c.call(http.MethodPost, path, nil)
	if err != nil {
		return nil, err
	}
	return decode[[]adminapi.Source](raw)
}

// broken returns an error if a probe has found that a source does not work.
func broken(all []adminapi.Source) error {
	var names []string
	for _, s := range all {
		if s.Probe != nil && !s.Probe.Works {
			names = append(names, s.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("%s: no usable answer", strings.Join(names, ", "))
}

func (p *page) sources(all []adminapi.Source) {
	if len(all) == 0 {
		p.row("there are no lists and no providers: name them in the global ip_reputation options")
		return
	}
	p.row("SOURCE", "KIND", "STATE", "ANSWERED", "PUBLISHED", "HAS", "KEY", "TERMS")
	for _, s := range all {
		p.row(s.Name, sourceKind(s), sourceState(s), p.ago(s.Answered), p.ago(s.Published), sourceHas(s), sourceKey(s),
			cmp.Or(s.Terms, "none stated"))
	}
	for _, s := range all {
		switch {
		case s.Probe != nil && s.Probe.Error != "":
			p.warning(s.Name + ": " + s.Probe.Error)
		case s.Problem != "":
			p.warning(s.Name + ": " + s.Problem)
		}
	}
}

func sourceKind(s adminapi.Source) string {
	if s.Role == "provider" {
		return "service " + s.Kind
	}
	return s.Role + " " + s.Kind
}

func sourceState(s adminapi.Source) string {
	switch {
	case s.Probe != nil && s.Probe.Works:
		return fmt.Sprintf("works, %.0f ms", s.Probe.Seconds*1000)
	case s.Probe != nil && strings.HasPrefix(s.Probe.Result, "skipped_"):
		return "not asked"
	case s.Probe != nil:
		return strings.ReplaceAll(cmp.Or(s.Probe.Result, "no answer"), "_", " ")
	case s.NotAsked:
		return "not asked yet"
	case s.Problem != "":
		return "problem"
	}
	return "ok"
}

func (p *page) ago(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return span(p.now.Sub(at)) + " ago"
}

// sourceHas says how many entries a list has, or how many calls of a service are left.
func sourceHas(s adminapi.Source) string {
	if s.Entries != nil {
		return entries(*s.Entries)
	}
	var left []string
	for _, w := range s.Quota {
		left = append(left, fmt.Sprintf("%d of %s", w.Remaining(), w.Window))
	}
	if s.Price > 0 {
		left = append(left, fmt.Sprintf("price %.2f", s.Price))
	}
	return cmp.Or(strings.Join(left, ", "), "no quota")
}

func sourceKey(s adminapi.Source) string {
	switch s.Key {
	case "":
		return "-"
	case health.KeyInUse:
		if s.NotAsked {
			return "not tried"
		}
		return "in use"
	}
	return strings.ReplaceAll(string(s.Key), "_", " ")
}
