package listformat

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestOnionoo(t *testing.T) {
	relay := func(members string) string {
		return `{"version":"8.0","relays_published":"2026-11-30 03:00:00","relays":[{` + members + `}],"bridges":[]}`
	}
	const both = `"or_addresses":["192.0.2.1:443","[2001:db8::1]:443,9001"],"running":true`
	for _, test := range []struct {
		name, document string
		want           string
		wrong, skipped int
		refused        bool
	}{
		{name: "without a policy for IPv6", document: relay(both), want: "192.0.2.1/32"},
		{
			name: "seen elsewhere", document: relay(both + `,"exit_addresses":["192.0.2.1","198.51.100.9"]`),
			want: "192.0.2.1/32 198.51.100.9/32",
		},
		{
			name: "some ports", document: relay(`"exit_policy_v6_summary":{"accept":["80","443"]},` + both),
			want: "192.0.2.1/32 2001:db8::1/128",
		},
		{
			name: "all ports but some", document: relay(both + `,"exit_policy_v6_summary":{"reject":["25"]}`),
			want: "192.0.2.1/32 2001:db8::1/128",
		},
		{name: "no port", document: relay(both + `,"exit_policy_v6_summary":{"reject":["1-65535"]}`), want: "192.0.2.1/32"},
		{name: "no port is accepted", document: relay(both + `,"exit_policy_v6_summary":{"accept":[]}`), want: "192.0.2.1/32"},
		{name: "null", document: relay(both + `,"exit_policy_v6_summary":null,"exit_addresses":null`), want: "192.0.2.1/32"},
		{name: "does not run", document: relay(strings.Replace(both, "true", "false", 1)), skipped: 1},
		{name: "no port written", document: relay(`"or_addresses":["192.0.2.1"],"running":true`), wrong: 1},
		{name: "no brackets", document: relay(`"or_addresses":["2001:db8::1:443"],"running":true`), wrong: 1},
		{name: "a network", document: relay(`"or_addresses":["192.0.2.0/24:443"],"running":true`), wrong: 1},
		{name: "half an address", document: relay(both + `,"exit_addresses":["198.51.100"]`), wrong: 1},
		{name: "a number", document: relay(both + `,"exit_addresses":[7]`), wrong: 1},
		{
			name:     "far too many",
			document: relay(both + `,"exit_addresses":["192.0.2.9"` + strings.Repeat(`,"192.0.2.9"`, 300) + `]`), wrong: 1,
		},
		{name: "no relays", document: `{"relays_published":"2026-11-30 03:00:00"}`, refused: true},
		{name: "cut", document: relay(both)[:120], refused: true},
		{name: "an array", document: `[]`, refused: true},
		{name: "objects as addresses", document: relay(both + `,"exit_addresses":[{}]`), refused: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			list := List{Add: func(p netip.Prefix) error {
				if !slices.Contains(got, p.String()) {
					got = append(got, p.String())
				}
				return nil
			}}
			err := list.Read(strings.NewReader(test.document), Format{Encoding: Onionoo}, Options{})
			if errors.Is(err, ErrUnparsable) != test.refused || !test.refused && err != nil {
				t.Fatalf("got %v", err)
			}
			if strings.Join(got, " ") != test.want || list.Wrong != test.wrong || list.Skipped != test.skipped {
				t.Errorf("got %v, %d wrong, %d skipped; want %+v (%v)", got, list.Wrong, list.Skipped, test, list.FirstWrong)
			}
			if !test.refused && list.Published.Format("2006-01-02 15:04") != "2026-11-30 03:00" {
				t.Errorf("published at %s", list.Published)
			}
		})
	}
}

// TestOnionooIsFound: it is one of the two parts of a list whose other one is text.
func TestOnionooIsFound(t *testing.T) {
	list := List{Add: func(netip.Prefix) error { return nil }}
	document := `{"version":"8.0",` + "\n" + `"relays_published":"2026-11-30 03:00:00","relays":[]}`
	if err := list.Read(strings.NewReader(document), Format{}, Options{}); err != nil || list.Lines != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

func FuzzOnionoo(f *testing.F) { fuzzFormat(f, Format{Encoding: Onionoo}, "onionoo.json") }
