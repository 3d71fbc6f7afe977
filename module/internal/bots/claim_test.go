package bots

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// chrome is an ordinary user agent.
const chrome = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 " +
	"Safari/537.36 Edg/141.0.3537.71 Extra/1.2.3 Words/4.5.6"

func everyBot() []*Bot { return Named(All) }

// claimOf returns the name of the bot that a user agent claims to be, by the whole table.
func claimOf(userAgent string) string {
	list := everyBot()
	if i := newClaims(list).find(userAgent); i >= 0 {
		return list[i].Name
	}
	return ""
}

func TestClaims(t *testing.T) {
	for ua, want := range map[string]string{
		"":                    "",
		"x":                   "",
		chrome:                "",
		"curl/8.14.1":         "",
		"Googlebot":           "googlebot",
		"GOOGLEBOT/2.1":       "googlebot",
		"Googlebot-Image/1.0": "googlebot",
		"NotGooglebot/1.0":    "",
		"Googlebots/1.0":      "",
		"google bot":          "",
		"Googlebo":            "",
		"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)":                              "googlebot",
		"Mozilla/5.0 (compatible;Googlebot/2.1)":                                                                "googlebot",
		"Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ClaudeBot/1.0; +claudebot@example.com)": "claudebot",
		"Claude-SearchBot/1.0":                            "claudebot",
		"Claude-User (claude-code/2.1; +https://x)":       "claude-user",
		"facebookexternalhit/1.1 Facebot Twitterbot/1.0":  "facebookexternalhit",
		"Twitterbot/1.0":                                  "twitterbot",
		"Mozilla/5.0 (compatible; YandexImages/3.0)":      "yandexbot",
		"Mozilla/5.0 (iPhone) [Pinterest/iOS]":            "",
		"Pinterest/0.2 (+https://www.pinterest.com/)":     "pinterestbot",
		"Stripe/1.0 (+https://stripe.com/docs)":           "stripe-webhook",
		"AdsBot-Google-Mobile":                            "google-special",
		"Mozilla/5.0 (compatible; Yahoo! Slurp; x)":       "slurp",
		"PetalBot;+https://example.com Googlebot/2.1":     "googlebot", // the longest token counts
		"G\u0000ooglebot":                                 "",
		"Ｇooglebot":                                       "",
		"éGooglebot":                                      "googlebot",
		strings.Repeat("x ", maxUserAgent) + "Googlebot":  "",
		strings.Repeat(" ", maxUserAgent-9) + "Googlebot": "googlebot",
		strings.Repeat(" ", maxUserAgent-8) + "Googlebot": "",
	} {
		if got := claimOf(ua); got != want {
			t.Errorf("%.80q claims %q, want %q", ua, got, want)
		}
	}
}

// TestEveryToken holds that each token of the table claims its own bot.
func TestEveryToken(t *testing.T) {
	for _, b := range everyBot() {
		for _, token := range b.Tokens {
			if len(strings.TrimSuffix(token, "*")) < minToken {
				t.Errorf("token %s is shorter than %d bytes, and would not be found everywhere", token, minToken)
			}
			ua := "Mozilla/5.0 (compatible; " + strings.ReplaceAll(token, "*", "Xyz1") + "/1.0)"
			if got := claimOf(strings.ToUpper(ua)); got != b.Name {
				t.Errorf("%s claims %q, want %q", ua, got, b.Name)
			}
		}
	}
}

// slowFind is find, token by token: the longest first, of equally long ones the one that comes first.
func slowFind(tokens []token, userAgent string) int {
	ua := userAgent[:min(len(userAgent), maxUserAgent)]
	found, length, at := -1, 0, 0
	for i := range tokens {
		t := &tokens[i]
		if len(t.text) < length {
			break
		}
		for start := range len(ua) {
			if t.at(ua, start) && (found < 0 || start < at) {
				found, length, at = t.bot, len(t.text), start
			}
		}
	}
	return found
}

// TestClaimsAgainstTwin compares with the slow search, for some bots and all of them.
func TestClaimsAgainstTwin(t *testing.T) {
	all := everyBot()
	var words []string
	for _, b := range all {
		for _, token := range b.Tokens {
			words = append(words, strings.TrimSuffix(token, "*"))
		}
	}
	few := []*Bot{all[0], Named("yeti")[0], Named("stripe-webhook")[0], Named("yandexbot")[0]}
	every, some := newClaims(all), newClaims(few)
	allTokens, fewTokens := tokensOf(all), tokensOf(few)
	rapid.Check(t, func(t *rapid.T) {
		piece := rapid.OneOf(
			rapid.SampledFrom(words), rapid.SampledFrom([]string{" ", "/", "; ", "-", "1.0", "x", "é"}),
			rapid.StringMatching(`[A-Za-z -]{0,6}`),
			rapid.Custom(func(t *rapid.T) string {
				word := rapid.SampledFrom(words).Draw(t, "word")
				return strings.ToUpper(word[:rapid.IntRange(0, len(word)).Draw(t, "length")])
			}),
		)
		ua := strings.Join(rapid.SliceOfN(piece, 0, 8).Draw(t, "pieces"), "")
		if got, want := every.find(ua), slowFind(allTokens, ua); got != want {
			t.Fatalf("%q claims %d of all, want %d", ua, got, want)
		}
		if got, want := some.find(ua), slowFind(fewTokens, ua); got != want {
			t.Fatalf("%q claims %d of some, want %d", ua, got, want)
		}
	})
}

func FuzzClaims(f *testing.F) {
	for _, ua := range []string{"", chrome, "Googlebot/2.1", "yeti/1 yeti/1", "Stripe/", "\xff\xfe", "Yandex"} {
		f.Add(ua)
	}
	all := everyBot()
	c, allTokens := newClaims(all), tokensOf(all)
	f.Fuzz(func(t *testing.T, ua string) {
		if len(ua) > 200 {
			ua = ua[:200] // the twin is slow
		}
		if got, want := c.find(ua), slowFind(allTokens, ua); got != want {
			t.Fatalf("%q claims %d, want %d", ua, got, want)
		}
	})
}

func TestClaimsDoNotAllocate(t *testing.T) {
	if testenv.Race {
		t.Skip("the race detector allocates")
	}
	c := newClaims(everyBot())
	for _, ua := range []string{chrome, "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"} {
		if n := testing.AllocsPerRun(100, func() { c.find(ua) }); n != 0 {
			t.Errorf("%v allocations for %q", n, ua)
		}
	}
}

func BenchmarkClaims(b *testing.B) {
	list := everyBot()
	c := newClaims(list)
	for name, ua := range map[string]string{
		"unclaimed": chrome[:150],
		"claimed":   "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
		"long":      strings.Repeat("bot ", maxUserAgent),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.find(ua)
			}
		})
	}
	tokens := tokensOf(list)
	b.Run("twin", func(b *testing.B) {
		for b.Loop() {
			slowFind(tokens, chrome[:150])
		}
	})
}
