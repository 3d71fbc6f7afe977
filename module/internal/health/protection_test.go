package health

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/clients"
)

// TestProtectionOff holds the set of reasons, and that each is shown exactly when a warning says the same.
func TestProtectionOff(t *testing.T) {
	want := map[string][]Reason{
		"no_source":   {NothingConfigured},
		"no_site":     {NoSite},
		"no_address":  {ClientsMissing},
		"one_address": {ClientsOneProxy, ClientsOneAddress},
		"exempt":      {ClientsExempt},
		"rule":        {RuleNeverHolds},
		"ban_burst":   {BansStopped},
	}
	for name, tc := range judgements {
		s := well()
		tc.change(&s)
		known := map[string]bool{}
		s.ProtectionOff(func(reason string, off bool) {
			known[reason] = true
			warned := slices.ContainsFunc(tc.want, func(r Reason) bool { return slices.Contains(want[reason], r) })
			if warned && !off || off && !slices.ContainsFunc(tc.want, protects) {
				t.Errorf("%s: %s is %t, and the warnings are %v", name, reason, off, tc.want)
			}
		})
		if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(known))); diff != "" {
			t.Fatal(diff)
		}
	}
}

// protects reports whether a warning is about protection that is off.
func protects(r Reason) bool {
	return slices.Contains([]Reason{
		NothingConfigured, NoSite, ClientsMissing, ClientsOneProxy, ClientsOneAddress, ClientsExempt, RuleNeverHolds,
		BansStopped,
	}, r)
}

// TestWarningsOfClients holds that the address and the cure are for operators, and that strangers see no address.
func TestWarningsOfClients(t *testing.T) {
	for name, tc := range map[string]struct {
		finding clients.Finding
		detail  []string
	}{
		"Docker": {
			clients.Finding{Exempt: true, OneAddress: true, Client: netip.MustParsePrefix("172.17.0.1/32"), Count: 64},
			[]string{"64 of 64 sampled requests come from 172.17.0.1:", "`trusted_proxies`", "`userland-proxy`"},
		},
		"a public address that is exempt": {
			clients.Finding{Exempt: true, Client: netip.MustParsePrefix("203.0.113.9/32"), Count: 40},
			[]string{"40 of 64 sampled requests come from 203.0.113.9:", "out of `exempt`"},
		},
		"an inside network": {
			clients.Finding{Exempt: true, Client: netip.MustParsePrefix("10.3.83.7/32"), Count: 1},
			[]string{"such as those from 10.3.83.7:", "your visitors are inside"},
		},
		"a load balancer": {
			clients.Finding{OneAddress: true, Client: netip.MustParsePrefix("2001:db8::/64"), Count: 61},
			[]string{"61 of 64 sampled requests come from 2001:db8::/64:", "PROXY protocol"},
		},
	} {
		s := well()
		s.Clients.Finding = tc.finding
		warnings := Judge(s, now).Warnings
		if len(warnings) != 1 {
			t.Fatalf("%s: %+v", name, warnings)
		}
		for _, want := range tc.detail {
			if !strings.Contains(warnings[0].Detail, want) {
				t.Errorf("%s: the detail %q lacks %q", name, warnings[0].Detail, want)
			}
		}
		if strings.Contains(warnings[0].Text, tc.finding.Client.Addr().String()) {
			t.Errorf("%s: strangers see %q", name, warnings[0].Text)
		}
	}
}
