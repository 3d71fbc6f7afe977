package crowdsec

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestEntry(t *testing.T) {
	received := time.Unix(1_700_000_000, 0)
	base := decision{id: 7, origin: "CAPI", scenario: "http:scan", scope: "Ip", kind: "ban", value: "203.0.113.7", duration: time.Hour}
	good := feed.Entry{
		ID: 7, Part: partOf(4, Ban, reputation.Scanner), Prefix: netip.MustParsePrefix("203.0.113.7/32"), Until: received.Add(time.Hour),
	}
	for name, tc := range map[string]struct {
		change func(*decision)
		want   func(*feed.Entry)
		err    error
	}{
		"as it is": {},
		"a range with the scope of an address": {
			change: func(x *decision) { x.value = "203.0.113.0/25" },
			want:   func(e *feed.Entry) { e.Prefix = netip.MustParsePrefix("203.0.113.0/25") },
		},
		"an address with the scope of a range": {change: func(x *decision) { x.scope = "Range" }},
		"in capitals":                          {change: func(x *decision) { x.scope, x.kind = "IP", "Ban" }},
		"IPv6": {
			change: func(x *decision) { x.value = "2001:db8::/48" },
			want:   func(e *feed.Entry) { e.Prefix = netip.MustParsePrefix("2001:db8::/48") },
		},
		"another type": {
			change: func(x *decision) { x.kind = "captcha" },
			want:   func(e *feed.Entry) { e.Part = partOf(4, Captcha, reputation.Scanner) },
		},
		"an autonomous system": {
			change: func(x *decision) { x.scope, x.value = "AS", "64500" },
			want:   func(e *feed.Entry) { e.Prefix, e.ASN = netip.Prefix{}, 64500 },
		},
		"an autonomous system with its letters": {
			change: func(x *decision) { x.scope, x.value = "as", "as64500" },
			want:   func(e *feed.Entry) { e.Prefix, e.ASN = netip.Prefix{}, 64500 },
		},
		"a country": {
			change: func(x *decision) { x.scope, x.value = "Country", "fr" },
			want:   func(e *feed.Entry) { e.Prefix, e.Country = netip.Prefix{}, [2]byte{'F', 'R'} },
		},
		"for ever": {
			change: func(x *decision) { x.duration = 1 << 62 },
			want:   func(e *feed.Entry) { e.Until = received.Add(maxDuration) },
		},
		"ended":                   {change: func(x *decision) { x.duration = -time.Second }, err: errNotWanted},
		"without duration":        {change: func(x *decision) { x.duration = 0 }, err: errNotWanted},
		"simulated":               {change: func(x *decision) { x.simulated = true }, err: errNotWanted},
		"a type that allows":      {change: func(x *decision) { x.kind = "whitelist" }, err: feed.ErrLeftOut},
		"no type":                 {change: func(x *decision) { x.kind = "" }, err: feed.ErrLeftOut},
		"another scope":           {change: func(x *decision) { x.scope = "username" }, err: feed.ErrLeftOut},
		"no address":              {change: func(x *decision) { x.value = "example.org" }, err: feed.ErrLeftOut},
		"a zone":                  {change: func(x *decision) { x.value = "fe80::1%eth0" }, err: feed.ErrLeftOut},
		"no range":                {change: func(x *decision) { x.value = "203.0.113.0/33" }, err: feed.ErrLeftOut},
		"no autonomous system":    {change: func(x *decision) { x.scope, x.value = "AS", "AS" }, err: feed.ErrLeftOut},
		"the autonomous system 0": {change: func(x *decision) { x.scope, x.value = "AS", "0" }, err: feed.ErrLeftOut},
		"a letter that shrinks":   {change: func(x *decision) { x.scope, x.value = "Country", "ı" }, err: feed.ErrLeftOut},
		"no country":              {change: func(x *decision) { x.scope, x.value = "Country", "France" }, err: feed.ErrLeftOut},
		"not understood":          {change: func(x *decision) { x.wrong = errors.New("it has no ID") }, err: feed.ErrLeftOut},
	} {
		t.Run(name, func(t *testing.T) {
			x, want := base, good
			if tc.change != nil {
				tc.change(&x)
			}
			if tc.want != nil {
				tc.want(&want)
			}
			got, err := newReader(Filter{}).entry(&x, received)
			if !errors.Is(err, tc.err) || tc.err == nil && got != want {
				t.Errorf("%+v, %v; want %+v, %v", got, err, want, tc.err)
			}
		})
	}
}

func TestFilter(t *testing.T) {
	for i, tc := range []struct {
		filter           Filter
		origin, scenario string
		want             bool
	}{
		{Filter{}, "CAPI", "http:scan", true},
		{Filter{Scenarios: []string{"SSH-bf", "http"}}, "CAPI", "crowdsecurity/HTTP-probing", true},
		{Filter{Scenarios: []string{"ssh"}}, "CAPI", "http:scan", false},
		{Filter{NotScenarios: []string{"ssh"}}, "CAPI", "http:scan", true},
		{Filter{Scenarios: []string{"http"}, NotScenarios: []string{"crawl"}}, "crowdsec", "crowdsecurity/http-crawl-non_statics", false},
		{Filter{Origins: []string{"capi"}}, "CAPI", "http:scan", true},
		{Filter{Origins: []string{"crowdsec", "cscli"}}, "CAPI", "http:scan", false},
		{Filter{Origins: []string{"cscli"}}, "cscli-import", "manual", true},
		{Filter{Origins: []string{"cscli-import"}}, "cscli", "manual", false},
		{Filter{Origins: []string{"other"}}, "appsec", "http:scan", true},
		{Filter{Origins: []string{"lists"}}, "lists", "firehol", true},
		{Filter{Origins: []string{"lists:FireHOL"}}, "lists", "firehol", true},
		{Filter{Origins: []string{"lists:firehol"}}, "lists", "tor", false},
	} {
		x := decision{id: 1, origin: tc.origin, scenario: tc.scenario, scope: "Ip", kind: "ban", value: "203.0.113.7", duration: time.Hour}
		r := newReader(tc.filter)
		for range 2 { // the second time, what the first has found is used
			if _, err := r.entry(&x, time.Now()); (err == nil) != tc.want || err != nil && !errors.Is(err, errNotWanted) {
				t.Errorf("%d: %v, want %t", i, err, tc.want)
			}
		}
	}
	r := newReader(Filter{})
	for i := range 2 * maxKinds {
		x := decision{id: 1, scenario: fmt.Sprint(i), scope: "Ip", kind: "ban", value: "203.0.113.7", duration: time.Hour}
		if _, err := r.entry(&x, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.kinds) > maxKinds {
		t.Errorf("%d kinds are held", len(r.kinds))
	}
}
