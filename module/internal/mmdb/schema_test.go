package mmdb

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

type m = map[string]any

var inside = netip.MustParseAddr("203.0.113.7")

// factsIn returns the facts that a file with one record gives.
func factsIn(t *testing.T, kind string, record any, own ...Path) (reputation.Facts, error) {
	t.Helper()
	data := testenv.MMDB{Type: kind, Networks: []testenv.Network{{Prefix: "203.0.113.0/24", Record: record}}}.Bytes(t)
	c, err := parse(context.Background(), data, own)
	if err != nil {
		return reputation.Facts{}, err
	}
	return Set{fixed(c)}.Facts(inside), nil
}

// fixed is a database with some contents.
func fixed(c *contents) *Database {
	d := New(Spec{})
	d.current.Store(c)
	return d
}

func natures(yes string, no string) (n reputation.Nature) {
	for _, words := range []struct {
		list string
		is   bool
	}{{yes, true}, {no, false}} {
		for _, word := range strings.Fields(words.list) {
			kind, err := reputation.ParseKind(word)
			if err != nil {
				panic(err)
			}
			n = n.With(kind, words.is)
		}
	}
	return n
}

// The forms of records that are in use, as their publishers write them.
func TestSchemas(t *testing.T) {
	network := reputation.Facts{ASN: 64500, ASName: "Example Net"}
	germany := reputation.Facts{Country: "DE"}
	for _, tc := range []struct {
		kind   string
		record any
		want   reputation.Facts
	}{
		{"GeoLite2-ASN", m{"autonomous_system_number": uint(64500), "autonomous_system_organization": "Example Net"}, network},
		{"GeoLite2-Country", m{
			"continent": m{"code": "EU", "names": m{"en": "Europe"}}, "country": m{"iso_code": "DE", "geoname_id": uint(1), "names": m{"en": "Germany"}},
			"registered_country": m{"iso_code": "NL"},
		}, germany},
		{"GeoLite2-City", m{
			"city": m{"names": m{"en": "Berlin"}}, "country": m{"iso_code": "DE"}, "location": m{"latitude": 52.5, "time_zone": "Europe/Berlin"},
			"subdivisions": []any{m{"iso_code": "BE"}},
		}, germany},
		{"GeoLite2-Country", m{"registered_country": m{"iso_code": "DE"}, "traits": m{"is_anycast": true}}, germany},
		{"GeoIP2-Country", m{"country": m{"iso_code": "DE"}, "traits": m{"is_anonymous_proxy": true}}, reputation.Facts{
			Country: "DE", Nature: natures("proxy", ""),
		}},
		{"GeoIP2-ISP", m{
			"autonomous_system_number": uint(64500), "autonomous_system_organization": "Example Net", "isp": "Example",
			"organization": "Example", "mobile_country_code": "262",
		}, network},
		{"GeoIP2-Enterprise", m{
			"country": m{"iso_code": "DE", "confidence": uint(99)},
			"traits": m{
				"autonomous_system_number": uint(64500), "autonomous_system_organization": "Example Net", "connection_type": "Cellular",
				"user_type": "cellular", "static_ip_score": 1.5,
			},
		}, reputation.Facts{Country: "DE", ASN: 64500, ASName: "Example Net", Nature: natures("mobile", "")}},
		{"GeoIP2-Anonymous-IP", m{"is_anonymous": true, "is_anonymous_vpn": true}, reputation.Facts{Nature: natures("vpn", "")}},
		{"GeoIP2-Anonymous-IP", m{"is_anonymous": true, "is_tor_exit_node": true, "is_hosting_provider": true}, reputation.Facts{
			Nature: natures("tor hosting", ""),
		}},
		{"GeoIP-Anonymous-Plus", m{
			"anonymizer_confidence": uint(30), "is_anonymous": true, "is_anonymous_vpn": true, "network_last_seen": "2026-11-01",
			"provider_name": "example",
		}, reputation.Facts{Nature: natures("vpn", "")}},
		{"GeoIP-Residential-Proxy", m{
			"provider_name": "example", "anonymizer_confidence": uint(95), "network_last_seen": "2026-11-01",
		}, reputation.Facts{Nature: natures("proxy", "")}},
		{"GeoIP2-Connection-Type", m{"connection_type": "Cellular"}, reputation.Facts{Nature: natures("mobile", "")}},
		{"DBIP-ISP", m{"traits": m{
			"autonomous_system_number": uint(64500), "autonomous_system_organization": "Example Net", "user_type": "hosting",
		}}, reputation.Facts{ASN: 64500, ASName: "Example Net", Nature: natures("hosting", "")}},
		{"ipinfo bundle_location_lite.mmdb", m{
			"asn": "AS64500", "as_name": "Example Net", "as_domain": "example.net", "country": "Germany", "country_code": "DE",
			"continent": "Europe", "continent_code": "EU",
		}, reputation.Facts{Country: "DE", ASN: 64500, ASName: "Example Net"}},
		{"ipinfo generic_country_free_country_asn.mmdb", m{
			"asn": "AS64500", "as_name": "Example Net", "country": "DE", "country_name": "Germany", "continent": "EU",
		}, reputation.Facts{Country: "DE", ASN: 64500, ASName: "Example Net"}},
		{"ipinfo standard_asn_new.mmdb", m{"asn": "AS64500", "name": "Example Net", "domain": "example.net", "type": "hosting"}, reputation.Facts{
			ASN: 64500, ASName: "Example Net", Nature: natures("hosting", ""),
		}},
		{"ipinfo standard_privacy.mmdb", m{"hosting": "true", "proxy": "", "relay": "", "tor": "", "vpn": "true", "service": "Example"}, reputation.Facts{
			Nature: natures("hosting vpn", ""),
		}},
		{"ipinfo extended_privacy.mmdb", m{"hosting": "true", "proxy": "false", "relay": "false", "tor": "false", "vpn": "false"}, reputation.Facts{
			Nature: natures("hosting", "proxy relay tor vpn"),
		}},
		{"ipinfo extended_privacy_new.mmdb", m{"hosting": false, "proxy": false, "relay": true, "tor": false, "vpn": false, "confidence": 2.0}, reputation.Facts{
			Nature: natures("relay", "hosting proxy tor vpn"),
		}},
		{"ipinfo generic_privacy_proxy_residential_30d.mmdb", m{"service": "example", "last_seen": "2026-11-01", "percent_days_seen": int(3)}, reputation.Facts{
			Nature: natures("proxy", ""),
		}},
		{"ipinfo bundle_location_plus.mmdb", m{
			"asn": "AS64500", "as_name": "Example Net", "as_type": "isp", "country_code": "DE", "is_anonymous": true, "is_mobile": true, "is_vpn": true,
			"is_hosting": false,
		}, reputation.Facts{Country: "DE", ASN: 64500, ASName: "Example Net", Nature: natures("mobile vpn", "hosting")}},
		{"IPLocate", m{"asn": uint(64500), "country_code": "DE", "name": "Example Net", "org": "Example", "domain": "example.net"}, reputation.Facts{
			Country: "DE", ASN: 64500, ASName: "Example Net",
		}},
		{"IPLocate", m{"asn": "64500", "org": "Example Net"}, network},
		{"country ipv4", m{"country_code": "DE"}, germany},
		{"city", m{"country_code": "DE", "latitude": "52.5", "longitude": "13.4"}, germany},
		{"GeoOpen-Country-ASN", m{"country": m{
			"iso_code": "DE", "AutonomousSystemNumber": "64500", "AutonomousSystemOrganization": "Example Net",
		}}, reputation.Facts{Country: "DE", ASN: 64500, ASName: "Example Net"}},
	} {
		got, err := factsIn(t, tc.kind, tc.record)
		if err != nil || got != tc.want {
			t.Errorf("%s %v: got %+v, %v; want %+v", tc.kind, tc.record, got, err, tc.want)
		}
	}
}

// What is no fact is none: unknown countries, texts that look like one, numbers out of range.
func TestNotFacts(t *testing.T) {
	for _, record := range []any{
		m{"country_code": "Germany"}, m{"country_code": "D1"}, m{"country_code": "-"}, m{"country_code": "ZZ"}, m{"country_code": "ÄÖ"}, m{"country_code": "ı"}, m{"country_code": "ſa"},
		m{"country": m{"iso_code": uint(49)}}, m{"country": []any{"DE"}}, m{"country_code": 49.0},
		m{"asn": "Example"}, m{"asn": ""}, m{"asn": "AS"}, m{"asn": "AS0"}, m{"asn": -5}, m{"asn": "AS4294967296"}, m{"asn": 64500.0}, m{"asn": true},
		m{"as_name": "Example Net"}, m{"name": "no number beside it"},
		m{"tor": ""}, m{"tor": "yes"}, m{"tor": uint(1)}, m{"tor": m{"tor": true}}, m{"connection_type": "Cable/DSL"}, m{"type": "isp"},
		m{}, "DE", []any{"DE"}, true,
	} {
		if got, err := factsIn(t, "Test", record); err == nil || !strings.Contains(err.Error(), "nothing in it is known to be") {
			t.Errorf("%v: got %+v, %v", record, got, err)
		}
	}
}

func TestFactsAreWritten(t *testing.T) {
	for _, tc := range []struct {
		record any
		want   reputation.Facts
	}{
		{m{"country_code": "de", "asn": "as64500 Example"}, reputation.Facts{Country: "DE", ASN: 64500}},
		{m{"asn": uint(64500), "as_name": " Example\x1b[31m\n\tNet\xff "}, reputation.Facts{ASN: 64500, ASName: "Example [31m Net"}},
		{m{"asn": uint(64500), "as_name": strings.Repeat("ü", 500)}, reputation.Facts{ASN: 64500, ASName: strings.Repeat("ü", maxName/2)}},
		{m{"asn": uint(64500), "as_name": strings.Repeat("x", maxTextRead+1)}, reputation.Facts{ASN: 64500}},
	} {
		if got, err := factsIn(t, "Test", tc.record); err != nil || got != tc.want {
			t.Errorf("%v: got %+v, %v; want %+v", tc.record, got, err, tc.want)
		}
	}
}

func TestOwnPaths(t *testing.T) {
	record := m{
		"geo": m{"codes": []any{m{"iso": "FR"}, m{"iso": "DE"}}}, "country_code": "NL", "net": m{"n": "AS64500", "who": "Example Net"},
		"usage_type": "DCH", "anon": "y", "asn": uint(64999),
	}
	for _, tc := range []struct {
		own  []Path
		want reputation.Facts
	}{
		{nil, reputation.Facts{Country: "NL", ASN: 64999}},
		{[]Path{{Fact: "country", Field: "geo.codes.1.iso"}}, reputation.Facts{Country: "DE", ASN: 64999}},
		{[]Path{{Fact: "country", Field: "geo.codes.7.iso"}}, reputation.Facts{ASN: 64999}},
		{[]Path{{Fact: "asn", Field: "net.n"}, {Fact: "as_name", Field: "net.who"}}, reputation.Facts{Country: "NL", ASN: 64500, ASName: "Example Net"}},
		{[]Path{{Fact: "asn", Field: "nothing"}, {Fact: "asn", Field: "net.n"}}, reputation.Facts{Country: "NL", ASN: 64500}},
		{[]Path{{Fact: "hosting", Field: "usage_type", Values: []string{"CDN", "dch"}}, {Fact: "vpn", Field: "usage_type", Values: []string{"VPN"}}},
			reputation.Facts{Country: "NL", ASN: 64999, Nature: natures("hosting", "")}},
		{[]Path{{Fact: "proxy", Field: "anon", Values: []string{"*"}}}, reputation.Facts{Country: "NL", ASN: 64999, Nature: natures("proxy", "")}},
	} {
		if got, err := factsIn(t, "Test", record, tc.own...); err != nil || got != tc.want {
			t.Errorf("%v: got %+v, %v; want %+v", tc.own, got, err, tc.want)
		}
	}
}

// A file of which nothing is known says what it has, so that `path` can be written.
func TestUnknownFields(t *testing.T) {
	_, err := factsIn(t, "Vendor", m{"geo": m{"cc": "DE", "names": m{"en": "x", "de": "y"}}, "risk": 1.5, "list": []any{"a"}})
	const want = `its type is "Vendor", and a record has geo.cc, geo.names, list, risk: say where the facts are with ` + "`path`"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v; want %s", err, want)
	}
}

func TestSeveralDatabases(t *testing.T) {
	read := func(networks ...testenv.Network) *Database {
		c, err := parse(context.Background(), testenv.MMDB{Networks: networks}.Bytes(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		return fixed(c)
	}
	first := read(testenv.Network{Prefix: "203.0.113.0/24", Record: m{"country_code": "DE", "vpn": false, "tor": false}})
	second := read(testenv.Network{Prefix: "203.0.113.0/25", Record: m{"country_code": "NL", "asn": uint(64500), "vpn": true}})
	third := read(testenv.Network{Prefix: "203.0.0.0/16", Record: m{"asn": uint(64500), "name": "Example Net"}},
		testenv.Network{Prefix: "203.0.113.6/32", Record: m{"asn": uint(64999), "name": "Other Net"}})
	all := Set{first, New(Spec{}), second, third}
	for addr, want := range map[string]reputation.Facts{
		"203.0.113.7":   {Country: "DE", ASN: 64500, ASName: "Example Net", Nature: natures("vpn", "tor")},
		"203.0.113.6":   {Country: "DE", ASN: 64500, Nature: natures("vpn", "tor")}, // the name is that of another system
		"203.0.113.200": {Country: "DE", ASN: 64500, ASName: "Example Net", Nature: natures("", "vpn tor")},
		"203.0.1.1":     {ASN: 64500, ASName: "Example Net"},
		"198.51.100.1":  {},
		"2001:db8::1":   {},
	} {
		if got := all.Facts(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: got %+v; want %+v", addr, got, want)
		}
	}
	says, known := all.Says()
	if want := (reputation.Capabilities{
		Country: true, ASN: true, Natures: reputation.KindsOf(reputation.NatureVPN, reputation.NatureTor),
	}); known || says != want {
		t.Errorf("got %+v, %t; want %+v, and not everything is known", says, known, want)
	}
	if diff := cmp.Diff(0.0, testing.AllocsPerRun(100, func() { all.Facts(inside) })); diff != "" && !testenv.Race {
		t.Errorf("allocations (-want +got):\n%s", diff)
	}
}
