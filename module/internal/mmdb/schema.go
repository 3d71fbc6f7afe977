package mmdb

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Path says where in the records of a file a fact is.
type Path struct {
	// Fact is `country`, `asn`, `as_name`, or a nature such as `tor`.
	Fact string

	// Field is the name of the field. Names of nested fields are joined with dots. An element of an
	// array has its number, from 0, as its name.
	Field string

	// Values are the values that stand for yes, for a nature only. Without any, it is true.
	Values []string
}

// The facts that are not natures.
const (
	factCountry = "country"
	factASN     = "asn"
	factASName  = "as_name"
)

const maxFields = 8 // of a path

// Check reports what is wrong with a path.
func (p Path) Check() error {
	switch p.Fact {
	case factCountry, factASN, factASName:
		if len(p.Values) > 0 {
			return fmt.Errorf("path %s: values are for natures, such as hosting: remove %s", p.Fact, strings.Join(p.Values, " "))
		}
	default:
		if _, err := reputation.ParseKind(p.Fact); err != nil {
			return fmt.Errorf("path: unknown fact %q: use country, asn, as_name, tor, vpn, proxy, relay, hosting or mobile", p.Fact)
		}
	}
	fields := strings.Split(p.Field, ".")
	if slices.Contains(fields, "") || len(fields) > maxFields {
		return fmt.Errorf("path %s: %q is not the path of a field: write the names of at most %d nested fields, joined with dots, "+
			"such as country.iso_code; `caddy ip-reputation mmdb <file> <address>` shows a record", p.Fact, p.Field, maxFields)
	}
	return nil
}

// present is a value of a Path whose field is a yes whatever it says.
const present = "*"

// known are the fields of the databases that are in use, the best for each fact first: those of
// MaxMind, DB-IP, IPinfo, IPLocate, ip-location-db and CIRCL. A file is known by its fields, not by
// its name: a name says little, and different publishers use the same.
var known = []Path{
	{Fact: factASN, Field: "autonomous_system_number"},
	{Fact: factASN, Field: "traits.autonomous_system_number"},
	{Fact: factASN, Field: "asn"},
	{Fact: factASN, Field: "country.AutonomousSystemNumber"},

	{Fact: factASName, Field: "autonomous_system_organization"},
	{Fact: factASName, Field: "traits.autonomous_system_organization"},
	{Fact: factASName, Field: "as_name"},
	{Fact: factASName, Field: "name"},
	{Fact: factASName, Field: "org"},
	{Fact: factASName, Field: "country.AutonomousSystemOrganization"},

	{Fact: factCountry, Field: "country.iso_code"},
	{Fact: factCountry, Field: "country_code"},
	{Fact: factCountry, Field: "country"},
	{Fact: factCountry, Field: "registered_country.iso_code"}, // of anycast networks, which have no other

	{Fact: "tor", Field: "is_tor_exit_node"},
	{Fact: "tor", Field: "traits.is_tor_exit_node"},
	{Fact: "tor", Field: "is_tor"},
	{Fact: "tor", Field: "tor"},

	{Fact: "vpn", Field: "is_anonymous_vpn"},
	{Fact: "vpn", Field: "traits.is_anonymous_vpn"},
	{Fact: "vpn", Field: "is_vpn"},
	{Fact: "vpn", Field: "vpn"},

	{Fact: "proxy", Field: "is_public_proxy"},
	{Fact: "proxy", Field: "traits.is_public_proxy"},
	{Fact: "proxy", Field: "is_residential_proxy"},
	{Fact: "proxy", Field: "traits.is_residential_proxy"},
	{Fact: "proxy", Field: "is_anonymous_proxy"},
	{Fact: "proxy", Field: "traits.is_anonymous_proxy"},
	{Fact: "proxy", Field: "is_proxy"},
	{Fact: "proxy", Field: "proxy"},

	{Fact: "relay", Field: "is_relay"},
	{Fact: "relay", Field: "relay"},
	{Fact: "relay", Field: "user_type", Values: []string{"consumer_privacy_network"}},
	{Fact: "relay", Field: "traits.user_type", Values: []string{"consumer_privacy_network"}},

	{Fact: "hosting", Field: "is_hosting_provider"},
	{Fact: "hosting", Field: "traits.is_hosting_provider"},
	{Fact: "hosting", Field: "is_hosting"},
	{Fact: "hosting", Field: "hosting"},
	{Fact: "hosting", Field: "user_type", Values: []string{"hosting"}},
	{Fact: "hosting", Field: "traits.user_type", Values: []string{"hosting"}},
	{Fact: "hosting", Field: "as_type", Values: []string{"hosting"}},
	{Fact: "hosting", Field: "type", Values: []string{"hosting"}},

	{Fact: "mobile", Field: "is_mobile"},
	{Fact: "mobile", Field: "connection_type", Values: []string{"Cellular"}},
	{Fact: "mobile", Field: "traits.connection_type", Values: []string{"Cellular"}},
	{Fact: "mobile", Field: "user_type", Values: []string{"cellular"}},
	{Fact: "mobile", Field: "traits.user_type", Values: []string{"cellular"}},
}

// residential are the fields of databases of residential proxies, which have no flag: an address
// that is in one is a proxy.
var residential = []Path{
	{Fact: "proxy", Field: "percent_days_seen", Values: []string{present}},
	{Fact: "proxy", Field: "network_last_seen", Values: []string{present}},
}

// field is a field that is looked for in records, and the fields within it.
type field struct {
	within map[string]*field
	rules  []rule
}

// rule is a Path as records are read by it.
type rule struct {
	Path
	rank int // of two fields with the same fact, the one of the lower rank counts
	kind reputation.Kind
}

// newSchema returns the fields to look for in a file. A fact that the operator has given paths for is
// looked for only there.
func newSchema(databaseType string, own []Path) *field {
	root := new(field)
	add := func(p Path, rank int) {
		f := root
		for _, name := range strings.Split(p.Field, ".") {
			if f.within == nil {
				f.within = make(map[string]*field)
			}
			if f.within[name] == nil {
				f.within[name] = new(field)
			}
			f = f.within[name]
		}
		kind, _ := reputation.ParseKind(p.Fact)
		f.rules = append(f.rules, rule{p, rank, kind})
	}
	for i, p := range own {
		add(p, i)
	}
	all := known
	if t := strings.ToLower(databaseType); strings.Contains(t, "residential") && strings.Contains(t, "proxy") {
		all = append(slices.Clone(known), residential...)
	}
	for i, p := range all {
		if !slices.ContainsFunc(own, func(o Path) bool { return o.Fact == p.Fact }) {
			add(p, i)
		}
	}
	return root
}
