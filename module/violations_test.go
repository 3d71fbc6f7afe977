package module

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func violationsOf(tb testing.TB, text string) *App {
	tb.Helper()
	a := new(App)
	if err := json.Unmarshal([]byte(`{"violations": `+text+`}`), a); err != nil {
		tb.Fatal(err)
	}
	return a
}

// TestViolationTerms holds what is left out of a violation.
func TestViolationTerms(t *testing.T) {
	const hour = time.Hour
	for name, tc := range map[string]struct {
		text string
		want violation.Terms
	}{
		"a new one":           {`[{"name":"rude","points":2}]`, violation.Terms{Points: 2, HalfLife: hour, Most: 40, Category: reputation.Abuse}},
		"many points":         {`[{"name":"rude","points":50}]`, violation.Terms{Points: 50, HalfLife: hour, Most: 60, Category: reputation.Abuse}},
		"all":                 {`[{"name":"rude","points":2,"half_life":7200000000000,"free":3,"most":8,"category":"spam","ban":60000000000,"report":true}]`, violation.Terms{Points: 2, HalfLife: 2 * hour, Free: 3, Most: 8, Category: reputation.Spam, Ban: time.Minute, Report: true}},
		"a trap without bans": {`[{"name":"trap","ban":0}]`, violation.Terms{Points: 60, HalfLife: 7 * day, Most: 60, Category: reputation.Scanner}},
		"no free log-ins":     {`[{"name":"login_failed","free":0}]`, violation.Terms{Points: 3, HalfLife: hour, Most: 60, Category: reputation.BruteForce}},
		"other points":        {`[{"name":"not_found","points":1}]`, violation.Terms{Points: 1, HalfLife: 10 * time.Minute, Free: 20, Most: 20, Category: reputation.Scanner}},
	} {
		a := violationsOf(t, tc.text)
		all, err := a.violations()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		tc.want.Name = a.Violations[0].Name
		for _, got := range all {
			if diff := cmp.Diff(tc.want, got); got.Name == tc.want.Name && diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
	}
}

// TestBuiltInViolations holds what the built-in ones lead to, by the score that their points alone give.
func TestBuiltInViolations(t *testing.T) {
	score := func(points float64) float64 { return 100 / (1 + math.Pow(10, 2-points/10)) }
	cost := func(t *violation.Terms, count int) float64 {
		return min(float64(max(count-t.Free, 0))*t.Points, t.Most)
	}
	all, err := new(App).violations()
	if err != nil {
		t.Fatal(err)
	}
	terms := map[string]*violation.Terms{}
	for i := range all {
		terms[all[i].Name] = &all[i]
	}
	for _, tc := range []struct {
		name        string
		count       int
		least, most float64 // of the score
	}{
		{"trap", 1, 95, 100}, {"login_failed", 3, 0, 2}, {"login_failed", 10, 30, 50}, {"login_failed", 20, 97, 100},
		{"not_found", 6, 0, 2}, {"not_found", 100_000, 0, 10}, {"probe", 1, 0, 2}, {"probe", 4, 95, 100}, {"spam", 1, 10, 50},
	} {
		if got := score(cost(terms[tc.name], tc.count)); got < tc.least || got > tc.most {
			t.Errorf("%d of %s: a score of %.1f; want %v to %v", tc.count, tc.name, got, tc.least, tc.most)
		}
	}
}

// TestViolationsThatCannotBe holds what JSON can say that a Caddyfile cannot.
func TestViolationsThatCannotBe(t *testing.T) {
	many := make([]string, 0, maxViolations)
	for i := range maxViolations {
		many = append(many, `{"name":"v`+strings.Repeat("x", i)+`","points":1}`)
	}
	for text, want := range map[string]string{
		`[{"name":"rude"}]`:                                       "rude has no points",
		`[{"name":"rude","points":-1}]`:                           "points -1 is out of range",
		`[{"name":"rude","points":0.0004}]`:                       "points 0.0004 is out of range: use 0.01 to 60",
		`[{"name":"rude","points":3,"half_life":0}]`:              "half_life 0s is out of range",
		`[{"name":"rude","points":3,"half_life":-1}]`:             "half_life -1ns is out of range",
		`[{"name":"rude","points":3,"free":-1}]`:                  "free -1 is out of range",
		`[{"name":"rude","points":3,"free":901}]`:                 "free 901 is out of range",
		`[{"name":"rude","points":3,"most":70}]`:                  "most 70 is out of range",
		`[{"name":"rude","points":3,"ban":5}]`:                    "ban 5ns is out of range",
		`[{"points":3}]`:                                          `violation "": a name has`,
		`[{"name":"rude","points":1},{"name":"rude","points":2}]`: "defined twice",
		`[` + strings.Join(many, ",") + `]`:                       "use at most 64",
	} {
		err := violationsOf(t, text).CheckViolations()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: got %v; want %q", text, err, want)
		}
	}
}
