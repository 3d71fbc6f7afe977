package module

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/listformat"
)

// TestSelectedBots: who is verified, and who of them is exempt.
func TestSelectedBots(t *testing.T) {
	for name, tc := range map[string]struct {
		settings VerifiedBots
		want     map[string]bool // whether it is exempt, of these bots
		not      []string
	}{
		"an operator": {
			VerifiedBots{Exempt: []string{"google"}},
			map[string]bool{"googlebot": true, "google-special": true, "google-user": false}, []string{"bingbot"},
		},
		"a bot that anybody can drive, by its own name": {
			VerifiedBots{Exempt: []string{"openai", "chatgpt-user"}}, map[string]bool{"gptbot": true, "chatgpt-user": true}, nil,
		},
		"all of them": {
			VerifiedBots{Exempt: []string{"all"}},
			map[string]bool{"googlebot": true, "claude-user": false, "slackbot": true}, nil,
		},
		"verified, and some exempt": {
			VerifiedBots{Bots: []string{"google", "bing"}, Exempt: []string{"bing"}},
			map[string]bool{"googlebot": false, "bingbot": true}, []string{"applebot"},
		},
	} {
		verified, exempt := tc.settings.selected()
		got := map[string]bool{}
		for i, b := range verified {
			got[b.Name] = exempt[i]
		}
		for bot, want := range tc.want {
			if is, found := got[bot]; !found || is != want {
				t.Errorf("%s: %s is exempt: %t, verified: %t", name, bot, is, found)
			}
		}
		for _, bot := range tc.not {
			if _, found := got[bot]; found {
				t.Errorf("%s: %s is verified", name, bot)
			}
		}
	}
}

// TestBotLists: only the ranges of the bots that are named are lists, each once.
func TestBotLists(t *testing.T) {
	settings := VerifiedBots{Bots: []string{"claudebot", "claude-user", "yandex"}}
	lists, err := settings.lists()
	if err != nil || len(lists) != 1 || lists[0].spec.Name != "bot_anthropic" {
		t.Errorf("%+v, %v", lists, err)
	}
	everything := VerifiedBots{Bots: []string{"all"}}
	if err := everything.Check(); err != nil {
		t.Error(err)
	}
}

// TestRangesAreRead reads each form in which operators publish addresses.
func TestRangesAreRead(t *testing.T) {
	for name, tc := range map[string]struct{ body, want string }{
		"googlebot": {
			`{"creationTime": "2026-11-29T15:00:00.000000", "prefixes": [` +
				`{"ipv6Prefix": "2001:db8:10::/64"}, {"ipv4Prefix": "192.0.2.0/27"}]}`,
			"2001:db8:10::/64 192.0.2.0/27",
		},
		"ccbot": {
			`{"synctoken":"20260811134000","creationTime":"2026-08-11T13:40:00Z","notes":"x",` +
				`"prefixes":[{"ipv4Prefix":"192.0.2.8"}]}`,
			"192.0.2.8/32",
		},
		"facebookexternalhit": {
			`{"status":"ok","data":{"prefixes":[` +
				`{"prefix":"192.0.2.0/24","timelines":[{"starttime":"2026-11-01T00:00:00"}]}],"resource":"64500"}}`,
			"192.0.2.0/24",
		},
		"stripe-webhook": {`{"WEBHOOKS":["192.0.2.63","192.0.2.231"]}`, "192.0.2.63/32 192.0.2.231/32"},
		"github-hookshot": {
			`{"verifiable_password_authentication":false,"hooks":["192.0.2.0/24"],` +
				`"actions":["198.51.100.0/24"],"domains":{"website":["*.example.com"]}}`,
			"192.0.2.0/24",
		},
		"statuscake": {
			`{"1":{"guid":"g1","ip":"192.0.2.10","ipv6":"","status":"Up"},` +
				`"7":{"guid":"g7","ip":"192.0.2.11","ipv6":"2001:db8::11"}}`,
			"192.0.2.10/32 192.0.2.11/32",
		},
		"telegrambot": {"192.0.2.0/24\n2001:db8:f23d::/48\n", "192.0.2.0/24 2001:db8:f23d::/48"},
	} {
		settings := VerifiedBots{Bots: []string{name}}
		lists, err := settings.lists()
		if err != nil {
			t.Fatal(err)
		}
		format, got := lists[0].spec.Format, []string{}
		if err := format.Complete(); err != nil {
			t.Fatal(err)
		}
		list := listformat.List{Add: func(p netip.Prefix) error {
			got = append(got, p.String())
			return nil
		}}
		err = list.Read(strings.NewReader(tc.body), format, listformat.Options{})
		if err != nil || strings.Join(got, " ") != tc.want {
			t.Errorf("%s: %q, %v, want %s", name, got, err, tc.want)
		}
		if list.Wrong > 0 {
			t.Errorf("%s: %d wrong entries, the first %v", name, list.Wrong, list.FirstWrong)
		}
	}
}
