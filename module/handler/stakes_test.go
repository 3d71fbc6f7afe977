package handler

import (
	"net/netip"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/policy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// TestStakes holds what is open for a site against its options, for a client with the score 50 that may get others.
func TestStakes(t *testing.T) {
	block := []Rule{{Action: "block", Conditions: Conditions{Score: "85"}}}
	except := append([]Rule{{Action: "pass", RequestConditions: RequestConditions{Path: []string{"/health"}}}}, block...)
	limit := []Rule{{Action: "limit", Limit: "10/1m"}}
	byKey := []Rule{{Action: "limit", Limit: "10/1m", Key: "{http.ip_reputation.country}"}}
	for _, tc := range []struct {
		name      string
		h         *Handler
		matcher   string // score of a matcher
		low, high uint8
		want      bool
	}{
		{"the rules decide", &Handler{Mode: "enforce", Headers: "off", Rules: block}, "", 0, 84, false},
		{"and are open", &Handler{Mode: "enforce", Headers: "off", Rules: block}, "", 0, 85, true},
		{"a matcher is open", &Handler{Mode: "enforce", Headers: "off", Rules: block}, "40", 0, 84, true},
		{"a matcher is certain", &Handler{Mode: "enforce", Headers: "off", Rules: block}, "40", 0, 39, false},

		{"the application reads the score", &Handler{Mode: "enforce", Rules: block}, "", 0, 84, true},
		{"or the least of it", &Handler{Mode: "enforce", Headers: "minimal", Rules: block}, "", 0, 84, true},
		{"but not of whoever is refused", &Handler{Mode: "enforce", Rules: block}, "", 85, 100, false},
		{"anywhere but on some path", &Handler{Mode: "enforce", Rules: except}, "", 85, 100, false},
		{"whoever is limited passes", &Handler{Mode: "enforce", Rules: limit}, "", 0, 84, true},
		{"in observe mode everybody passes", &Handler{Rules: block}, "", 85, 100, true},
		{"which is to show what rules would do", &Handler{Headers: "off", Rules: block}, "", 0, 84, true},
		{"a score of 90 is enough to read", &Handler{Rules: block}, "", 90, 100, false},
		{"even without rules", &Handler{Headers: "off"}, "", 90, 100, false},
		{"without rules the score is all there is", &Handler{Mode: "enforce", Headers: "off"}, "", 0, 40, true},

		{"as the operator says", &Handler{Ask: "rules", Rules: block}, "", 0, 84, false},
		{"or otherwise", &Handler{Ask: "score", Mode: "enforce", Headers: "off", Rules: block}, "", 0, 84, true},
		{"unknown clients are blocked", &Handler{Ask: "rules", Unknown: "block"}, "", 0, 84, false},
		{"a limit by what is known", &Handler{Ask: "rules", Rules: byKey}, "", 0, 84, true},
		{"a limit by what is not", &Handler{Ask: "rules", Rules: limit}, "", 0, 84, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, rt := tc.h, new(runtime.Runtime)
			if tc.matcher != "" {
				c, err := policy.Config{Score: tc.matcher}.Compile(nil)
				if err != nil {
					t.Fatal(err)
				}
				rt.AddMatcher(&c)
			}
			var err error
			h.enforce = h.Mode == "enforce"
			if h.detail, err = parseDetail(h.Headers); err != nil {
				t.Fatal(err)
			}
			if h.policy, err = compilePolicy(h.Rules, h.Unknown, nil, nil); err != nil {
				t.Fatal(err)
			}
			if err := h.provisionStakes(rt); err != nil {
				t.Fatal(err)
			}
			v := reputation.Verdict{Scored: true, Score: 50, Status: reputation.Fresh}
			prospect := &runtime.Prospect{Low: tc.low, High: tc.high}
			client := netip.MustParseAddr("203.0.113.10")
			if got := h.stakes.Open(client, &v, prospect); got != tc.want {
				t.Errorf("open: %t", got)
			}
			if got := rt.Stakes().Open(client, &v, prospect); got != tc.want {
				t.Errorf("open for any site: %t", got)
			}
		})
	}
}
