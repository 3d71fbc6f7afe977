package worth

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// Who matters more is worth more: the table, from the last to the first.
func TestWorth(t *testing.T) {
	last := -1.
	for _, tt := range []struct {
		name string
		Client
		want float64
	}{
		{"a relay, once", Client{Visits: 1, Explained: true}, .05},
		{"anybody, once", Client{Visits: 1}, .10},
		{"a host that comes often", Client{Visits: 200, Explained: true}, .175},
		{"anybody, three times", Client{Visits: 3}, .15},
		{"anybody, four times", Client{Visits: 4}, .25},
		{"whose first page is missing", Client{Visits: 1, Seen: true}, .25},
		{"anybody, often", Client{Visits: 100}, .35},
		{"on a list that does not decide", Client{Visits: 1, Percent: 4}, .40},
		{"a log-in", Client{Visits: 1, Important: true}, .50},
		{"on lists that nearly decide", Client{Visits: 1, Percent: 40}, .60},
		{"a fake bot", Client{Visits: 1, Fake: true}, .60},
		{"a log-in by somebody on a list", Client{Visits: 1, Percent: 4, Important: true}, .80},
		{"the same, often", Client{Visits: 8, Percent: 20, Important: true}, 1},
	} {
		if got := tt.Worth(); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
		if tt.want < last-.03 {
			t.Errorf("%s: the table is not in order", tt.name)
		}
		last = tt.want
	}
}

// One more reason to ask never makes a client worth less, and evidence outweighs any number of requests.
func TestWorthOfAnyClient(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Client{
			Visits: rapid.IntRange(1, 255).Draw(t, "visits"), Percent: rapid.Float64Range(.1, 100).Draw(t, "percent"),
			Seen: rapid.Bool().Draw(t, "seen"), Fake: rapid.Bool().Draw(t, "fake"),
			Explained: rapid.Bool().Draw(t, "explained"), Important: rapid.Bool().Draw(t, "important"),
		}
		before := c.Worth()
		if before <= 0 || before > 1 {
			t.Fatalf("%v", before)
		}
		for name, more := range map[string]func(*Client){
			"visits": func(c *Client) { c.Visits *= 2 }, "percent": func(c *Client) { c.Percent *= 3 },
			"seen": func(c *Client) { c.Seen = true }, "fake": func(c *Client) { c.Fake = true },
			"not explained": func(c *Client) { c.Explained = false }, "important": func(c *Client) { c.Important = true },
		} {
			other := c
			if more(&other); other.Worth() < before {
				t.Fatalf("%s: %v after %v", name, other.Worth(), before)
			}
		}
	})
	busy, listed := Client{Visits: 255}, Client{Visits: 1, Percent: evidencePercent}
	if busy.Worth() >= listed.Worth() {
		t.Errorf("a busy client is worth %v, a listed one %v", busy.Worth(), listed.Worth())
	}
}
