package ban

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
)

// TestReleasesWithoutCauses: such a release drops the cause of what it hears and offers the rest to the others, who
// keep the cause.
func TestReleasesWithoutCauses(t *testing.T) {
	c := newClock()
	s, _ := openAt(t, "", c.now)
	punish(t, s, offender)
	entry := s.Entries()[0]
	var old struct { // as that release has it
		Prefix  netip.Prefix `json:"prefix"`
		Kind    Kind         `json:"kind"`
		Reason  string       `json:"reason,omitempty"`
		Created time.Time    `json:"created"`
		Expires time.Time    `json:"expires,omitzero"`
		Version int64        `json:"version"`
		Removed bool         `json:"removed,omitempty"`
		Keep    time.Time    `json:"keep,omitzero"`
	}
	if err := json.Unmarshal(entry.Value, &old); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(old)
	if err != nil || old.Prefix != netip.PrefixFrom(offender, 32) || !old.Expires.Equal(c.now().Add(15*time.Minute)) {
		t.Fatalf("%s, %v", text, err)
	}
	theirs := replica.Entry{Name: entry.Name, Version: entry.Version, Value: text}
	if theirs.Newer(entry) || !entry.Newer(theirs) {
		t.Error("the one without the cause is the newer one")
	}
	merge(t, s, []replica.Entry{theirs})
	if got := s.List(Ban)[0].Cause.Rule; got != "ban score 97" {
		t.Errorf("the cause is %q", got)
	}
}

func TestForeignCauses(t *testing.T) {
	c := newClock()
	const good = `"by":"rule","rule":"ban score 97","times":1`
	for name, tc := range map[string]struct{ rest, why string }{
		"good":              {`"expires":"2026-01-01T13:00:00Z"`, good},
		"without an end":    {`"reason":""`, good},
		"with a reason":     {`"expires":"2026-01-01T13:00:00Z","reason":"test"`, good},
		"of an operator":    {`"expires":"2026-01-01T13:00:00Z"`, `"by":"operator","rule":"x","times":1`},
		"of an unknown":     {`"expires":"2026-01-01T13:00:00Z"`, `"by":"moon","rule":"x","times":1`},
		"of a number":       {`"expires":"2026-01-01T13:00:00Z"`, `"by":1,"rule":"x","times":1`},
		"a long rule":       {`"expires":"2026-01-01T13:00:00Z"`, `"by":"rule","rule":"` + strings.Repeat("x", 301) + `","times":1`},
		"a line feed":       {`"expires":"2026-01-01T13:00:00Z"`, `"by":"rule","rule":"x\ny","times":1`},
		"no times":          {`"expires":"2026-01-01T13:00:00Z"`, `"by":"rule","rule":"x"`},
		"times without end": {`"expires":"2026-01-01T13:00:00Z"`, `"by":"rule","rule":"x","times":2000000000`},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := openAt(t, "", c.now)
			foreign := change("ban "+prefix, 1, `"prefix":"203.0.113.0/24","kind":"ban",`+tc.rest+`,"why":{`+tc.why+`},"version":1`)
			if merge(t, s, []replica.Entry{foreign}); s.Len(Ban) != 0 != (name == "good") {
				t.Errorf("in force: %v", s.List(Ban))
			}
		})
	}
}

// TestCausesFit: whatever a visitor's request and a rule hold, the entry can be written and read.
func TestCausesFit(t *testing.T) {
	c := newClock()
	rapid.Check(t, func(t *rapid.T) {
		s, err := Open("", Options{now: c.now})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		text := rapid.OneOf(rapid.String(), rapid.StringOfN(rapid.SampledFrom([]rune{'"', '\\', 'é', '\n', '𝄞'}), 0, 400, -1), rapid.Just("\xff\x00"))
		one := sentence(offender)
		one.Cause = Cause{By: Violation, Rule: text.Draw(t, "rule"), Site: text.Draw(t, "site"), RequestID: text.Draw(t, "id")}
		done, err := s.Punish([]Sentence{one})
		if err != nil || done[0].Outcome != Banned {
			t.Fatalf("%v, %v", done, err)
		}
		if e, err := parseEntry(s.Entries()[0], c.now()); err != nil || e.Entry != done[0].Entry {
			t.Fatalf("%v, %v", e, err)
		}
	})
}

func TestWhy(t *testing.T) {
	for want, e := range map[string]Entry{
		"password guessing": {Reason: "password guessing"},
		`rule "ban score 97" of shop.example.com, request abc, for the 2nd time`: {
			Cause: Cause{By: Rule, Rule: "ban score 97", Site: "shop.example.com", RequestID: "abc", Times: 2},
		},
		"violation trap, for the 11th time": {Cause: Cause{By: Violation, Rule: "violation trap", Times: 11}},
	} {
		if got := e.Why(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
