package command

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/mmdb"
)

func (c *console) mmdbCommand() *cobra.Command {
	var paths []string
	cmd := &cobra.Command{
		Use:   "mmdb <file> <address> [--path \"<fact> <field> [<value>...]\"] [--json]",
		Short: "Shows what a database says of an address",
		Long: `
Reads a file in the MaxMind DB format, and shows what it is, its record of an
address, and which facts the plugin takes from which field. It needs no running
Caddy. Names are shown in English only.

With --path, facts are taken from fields that you name, as with 'path' in the
configuration: a fact, the field, and for a nature the values that mean yes.

The exit code is 1 if the plugin cannot use the file.
`,
		Example: `  $ caddy ip-reputation mmdb /var/lib/GeoIP/GeoLite2-ASN.mmdb 192.0.2.1
  $ caddy ip-reputation mmdb geo.mmdb 192.0.2.1 --path "country geo.code" --path "hosting usage DCH"`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return errors.New("mmdb takes a file and an address, such as: mmdb /var/lib/GeoIP/GeoLite2-ASN.mmdb 192.0.2.1")
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&paths, "path", nil, "Where a fact is, for a file whose fields are not known")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		addr, err := netip.ParseAddr(args[1])
		if err != nil {
			return fmt.Errorf("%q is no address: write one such as 192.0.2.1", args[1])
		}
		own, err := pathsOf(paths)
		if err != nil {
			return err
		}
		shown, err := mmdb.Show(cmd.Context(), args[0], own, addr.Unmap().WithZone(""))
		if err != nil {
			return fmt.Errorf("reading %s: %w", args[0], err)
		}
		if err := c.print(cmd, shown, func(p *page) { p.database(shown) }); err != nil {
			return err
		}
		if shown.Problem != "" {
			return errors.New("the plugin cannot use this file")
		}
		return nil
	}
	return cmd
}

// pathsOf reads the values of --path.
func pathsOf(lines []string) ([]mmdb.Path, error) {
	var paths []mmdb.Path
	for _, line := range lines {
		words := strings.Fields(line)
		if len(words) < 2 {
			return nil, fmt.Errorf("--path %q: write a fact and a field, such as \"country geo.code\"", line)
		}
		p := mmdb.Path{Fact: words[0], Field: words[1], Values: words[2:]}
		if err := p.Check(); err != nil {
			return nil, fmt.Errorf("--%w", err)
		}
		paths = append(paths, p)
	}
	return paths, nil
}

func (p *page) database(s mmdb.Shown) {
	p.row("type", s.Type)
	if !s.Built.IsZero() {
		p.row("made", fmt.Sprintf("%s, %s ago", s.Built.UTC().Format(time.DateOnly), span(p.now.Sub(s.Built))))
	}
	if s.Problem == "" {
		p.row("networks", fmt.Sprint(s.Networks))
		p.row("says", strings.Join(s.Says, " "))
	}
	if s.IPVersion == 4 {
		p.row("addresses", "IPv4 only")
	}
	if s.Network == nil {
		p.row("record", fmt.Sprintf("none of %s", s.Address))
	} else {
		p.row("network", s.Network.String())
		p.gap()
		p.tree("", s.Record)
	}
	p.gap()
	for i, f := range s.Facts {
		p.row(label("facts", i), fmt.Sprintf("%s %v", f.Fact, f.Value), "from "+f.Field)
	}
	if len(s.Facts) == 0 && s.Network != nil {
		p.row("facts", "none")
	}
	p.warning(s.Problem)
}

// maxRows is how many rows of a record are shown. The largest in use have about fifty.
const maxRows = 500

// tree writes a record, a row for each field.
func (p *page) tree(indent string, v any) {
	if len(p.rows) >= maxRows {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			p.field(indent, name, v[name])
		}
	case []any:
		for i, element := range v {
			p.field(indent, fmt.Sprint(i), element)
		}
	default:
		p.row(indent + fmt.Sprint(v))
	}
}

func (p *page) field(indent, name string, v any) {
	switch v.(type) {
	case map[string]any, []any:
		p.row(indent + name)
		p.tree(indent+"  ", v)
	default:
		p.row(indent+name, fmt.Sprint(v))
	}
}
