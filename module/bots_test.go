package module

import (
	"testing"
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
			VerifiedBots{Exempt: []string{"all"}}, map[string]bool{"googlebot": true, "claude-user": false, "slackbot": true}, nil,
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
