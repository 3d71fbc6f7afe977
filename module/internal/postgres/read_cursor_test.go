package postgres

import (
	"net/netip"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"pgregory.net/rapid"
)

func anyCursor(t *rapid.T) cursor {
	micros := rapid.Int64Range(0, 253402300799999999) // the end of the year 9999
	texts := rapid.StringMatching(`[^\x00]{0,20}`)
	prefixes := rapid.SampledFrom([]string{"", "0.0.0.0/0", "192.0.2.1/32", "203.0.113.0/24", "::/0", "2001:db8::/64", "2001:db8::1/128"})
	c := cursor{
		Of: texts.Draw(t, "of"), From: micros.Draw(t, "from"), To: micros.Draw(t, "to"),
		Minute: micros.Draw(t, "minute"), At: micros.Draw(t, "at"), Verdict: rapid.Bool().Draw(t, "verdict"), ID: rapid.Int64().Draw(t, "id"),
		Refused: rapid.Int64().Draw(t, "refused"), Requests: rapid.Int64().Draw(t, "requests"),
		Host: texts.Draw(t, "host"), Rule: texts.Draw(t, "rule"), Action: texts.Draw(t, "action"), Mode: texts.Draw(t, "mode"),
	}
	if text := prefixes.Draw(t, "prefix"); text != "" {
		c.Prefix = netip.MustParsePrefix(text)
	}
	return c
}

func TestCursor(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := anyCursor(t)
		text := c.String()
		if url.QueryEscape(text) != text {
			t.Fatalf("%q needs quoting", text)
		}
		got, err := parseCursor(text)
		if diff := cmp.Diff(c, got, cmpopts.EquateComparable(netip.Prefix{})); err != nil || diff != "" {
			t.Fatal(err, diff)
		}
	})
}

func FuzzCursor(f *testing.F) {
	f.Add("")
	f.Add("1")
	f.Add("1e30")
	f.Add(cursor{Of: kindTimeline, Prefix: someNetwork, To: 1, Verdict: true}.String())
	f.Add(cursor{Of: kindRules, Host: "example.com", Rule: "block score 85"}.String())
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseCursor(text)
		if err != nil {
			return
		}
		again, err := parseCursor(c.String())
		if err != nil || again != c {
			t.Errorf("%q is %+v, then %+v, %v", text, c, again, err)
		}
	})
}
