package providertest

import (
	"errors"
	"math"
	"net/netip"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func init() {
	caddy.RegisterModule(blocks{name: "quiet"})
	caddy.RegisterModule(blocks{name: "nameless"})
}

// blocks is a module that reads blocks badly: as quiet, it takes anything; as nameless, its errors have no line.
type blocks struct {
	reputation.Provider `json:"-"`

	name string
}

func (b blocks) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID: caddy.ModuleID(namespace + b.name), New: func() caddy.Module { return &blocks{name: b.name} },
	}
}

func (b *blocks) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	for d.Next() {
	}
	if b.name == "quiet" {
		return nil
	}
	return errors.New("nameless: the url and unheard_of, or a block")
}

func (*blocks) Provision(caddy.Context) error { return errors.New("there is no such plan") }

func TestBlocksAreChecked(t *testing.T) {
	for name, want := range map[string]int{"quiet": 10, "nameless": 10} {
		if faults := checkUsual(name); len(faults) != want {
			t.Errorf("%s: %d of %d faults were found: %v", name, len(faults), want, errors.Join(faults...))
		}
	}
	for want, found := range map[string]bool{"of another": true, "a block": false, `{}`: true, `{`: true} {
		if err := checkBlock("nameless", "nameless", want); (err != nil) != found {
			t.Errorf("wanting %q: %v", want, err)
		}
	}
	if err := checkBlock("quiet", "quiet", "{ }"); err != nil {
		t.Error(err)
	}
}

func TestSettingsAreLoaded(t *testing.T) {
	if _, err := load(t, "quiet", []byte(`{}`)); err == nil || !strings.Contains(err.Error(), "no such plan") {
		t.Errorf("the error of Provision is %v", err)
	}
}

// TestReadersAreChecked proves that a good reader passes, and that each mistake is found.
func TestReadersAreChecked(t *testing.T) {
	scanner := reputation.CategoriesOf(reputation.Scanner)
	good := reputation.Report{Severity: .5, Confidence: .5, Categories: scanner}
	addr := netip.MustParseAddr(usualAddr)
	for name, tc := range map[string]struct {
		report func(r *reputation.Report) error
		reader Reader
		fails  bool
	}{
		"good":             {func(*reputation.Report) error { return nil }, Reader{}, false},
		"bad answer":       {func(*reputation.Report) error { return reputation.ErrBadAnswer }, Reader{}, false},
		"unknown":          {func(*reputation.Report) error { return reputation.ErrUnknown }, Reader{}, true},
		"unknown, and may": {func(*reputation.Report) error { return reputation.ErrUnknown }, Reader{Unknown: true}, false},
		"any error":        {func(*reputation.Report) error { return errors.New("oops") }, Reader{Unknown: true}, true},
		"severity":         {func(r *reputation.Report) error { r.Severity = .9; return nil }, Reader{}, true},
		"confidence":       {func(r *reputation.Report) error { r.Confidence = .9; return nil }, Reader{}, true},
		"NaN":              {func(r *reputation.Report) error { r.Severity = math.NaN(); return nil }, Reader{}, true},
		"no category":      {func(r *reputation.Report) error { r.Categories = 0; return nil }, Reader{}, true},
		"no severity":      {func(r *reputation.Report) error { r.Severity = 0; return nil }, Reader{}, true},
		"only described": {
			func(r *reputation.Report) error { r.Severity = 0; return nil },
			Reader{Accusations: reputation.CategoriesOf(reputation.Abuse)}, false,
		},
		"undeclared": {
			func(r *reputation.Report) error { r.Categories |= reputation.CategoriesOf(reputation.Spam); return nil },
			Reader{}, true,
		},
		"country": {func(r *reputation.Report) error { r.Facts.Country = "nl"; return nil }, Reader{}, true},
		"network": {
			func(r *reputation.Report) error {
				r.Facts.Network = netip.MustParsePrefix("198.51.100.0/24")
				return nil
			},
			Reader{}, true,
		},
		"its own": {
			func(*reputation.Report) error { return nil },
			Reader{Check: func(reputation.Report) error { return errors.New("never a half") }}, true,
		},
	} {
		r := tc.reader
		r.Severity, r.Confidence = Range{-.7, .7}, Range{0, .7}
		r.Capabilities = reputation.Capabilities{Categories: scanner, Country: true, Network: true}
		r.Read = func([]byte, netip.Addr) (reputation.Report, error) {
			report := good
			err := tc.report(&report)
			return report, err
		}
		if err := r.check(nil, addr); (err != nil) != tc.fails {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSeeds(t *testing.T) {
	got := addressesIn([]byte(`{"ip": "203.0.113.10","v":"1.2","net":"198.51.100.0/24","six":"2001:DB8:0::1","t":"10:20:30"}`))
	if want := "203.0.113.10 198.51.100.0 2001:db8::1"; strings.Join(got, " ") != want {
		t.Errorf("the addresses are %q", got)
	}
}
