package runtime

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup/listing"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/policy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/lists"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

var someTerms = []violation.Terms{
	{Name: "trap", Points: 60, HalfLife: 7 * 24 * time.Hour, Most: 60, Category: reputation.Scanner},
	{Name: "not_found", Points: .5, HalfLife: 10 * time.Minute, Free: 20, Most: 10, Category: reputation.Scanner},
}

// openConduct lets rt count violations of these terms as soon as a site does, in a folder of its own.
func openConduct(t *testing.T, rt *Runtime, terms []violation.Terms, nearby *violation.NearbySettings) {
	t.Helper()
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Cleanup(func() { release(t, rt) })
	if err := rt.OpenFolder(); err != nil {
		t.Fatal(err)
	}
	if err := rt.OpenConduct(terms, nearby); err != nil {
		t.Fatal(err)
	}
}

// countViolations is what a site does that counts them.
func countViolations(t *testing.T, rt *Runtime) *violation.Store {
	t.Helper()
	if err := rt.Conduct.UseViolations(); err != nil {
		t.Fatal(err)
	}
	return rt.Conduct.Store()
}

// TestLookupsKnowWhatWasSeen: an act counts from the next request on, against its client and later against its neighbours.
func TestLookupsKnowWhatWasSeen(t *testing.T) {
	engine, err := lookup.New(lookup.Config{Observer: observer{}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	rt := &Runtime{Engine: engine}
	openConduct(t, rt, someTerms, &violation.NearbySettings{From: 3, Points: 10})
	rt.Conduct.Engine = engine
	store := countViolations(t, rt)
	rt.Conduct.Start(rt.asnOf)
	t.Cleanup(rt.Conduct.Stop)
	client, neighbour := netip.MustParseAddr("203.0.113.5"), netip.MustParseAddr("203.0.113.200")
	if v := rt.Engine.Lookup(t.Context(), client, 0); v.Scored {
		t.Errorf("before: %+v", v)
	}
	for range 3 {
		store.Add(&someTerms[0], violation.Act{Client: client, Share: 1})
		client = client.Next()
	}
	v := rt.Engine.Lookup(t.Context(), client.Prev(), 0)
	if v.Score != 100 || v.Status != reputation.Fresh || len(v.Reasons) != 1 || v.Reasons[0].Source != "own.trap" {
		t.Errorf("the client: %+v", v)
	}
	v = rt.Engine.Lookup(t.Context(), neighbour, 0)
	if v.Score != 2 || len(v.Reasons) != 1 || v.Reasons[0].Source != reputation.SourceNeighbourhood || v.Categories != 0 {
		t.Errorf("a neighbour: %+v", v)
	}
}

// TestRulesOnViolations: whether they can hold is known once all sites are provisioned, since any of them may count.
func TestRulesOnViolations(t *testing.T) {
	for _, tc := range []struct {
		name          string
		rule          policy.Config
		holds         bool // where a site counts violations
		withoutAnyway bool // where none does
	}{
		{"all of them", policy.Config{Source: []string{"own"}}, true, false},
		{"one", policy.Config{Source: []string{"own.trap"}}, true, false},
		{"neighbours", policy.Config{Source: []string{"neighbourhood"}}, true, false},
		{"a category", policy.Config{Category: []string{"scanner"}}, true, false},
		{"another category", policy.Config{Category: []string{"spam"}}, false, false},
		{"a score", policy.Config{Score: "97"}, true, false},
		{"a ban", policy.Config{Source: []string{"ban"}}, true, true},
		{"a country", policy.Config{Country: []string{"AT"}}, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, counts := range []string{"none", "an earlier site", "a later site"} {
				log := new(logtest.Log)
				rt := &Runtime{
					Logger: log.Logger(),
					// a source of few points, so that scores are known
					Lists: lists.Lists{Names: []string{"tor_exits"}, Meanings: []listing.List{{Confidence: 1}}},
				}
				openConduct(t, rt, someTerms, &violation.NearbySettings{From: 3, Points: 10})
				if counts == "an earlier site" {
					countViolations(t, rt)
				}
				rt.CheckRule("rule 1", tc.rule)
				if counts == "a later site" {
					countViolations(t, rt)
				}
				rt.checkLaterRules()
				want := tc.holds
				if counts == "none" {
					want = tc.withoutAnyway
				}
				if got := log.String(); (got == "") != want || strings.Count(got, "\n") > 1 || len(rt.rules) > 1 {
					t.Errorf("%s counts: logged %q", counts, got)
				}
				if got := log.String(); got != "" && strings.Contains(got, "violations default") != tc.holds {
					t.Errorf("the cure is another one: %q", got)
				}
			}
		})
	}
}

func TestNamesOfViolations(t *testing.T) {
	rt := new(Runtime)
	openConduct(t, rt, someTerms, nil)
	if got, want := strings.Join(rt.SourceNames(), " "), "deny ban own own.not_found own.trap neighbourhood"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestRulesOfAConfigurationThatIsOnlyValidated: it is never started, and is told all the same.
func TestRulesOfAConfigurationThatIsOnlyValidated(t *testing.T) {
	log := new(logtest.Log)
	rt := &Runtime{Logger: log.Logger()}
	openConduct(t, rt, someTerms, nil)
	rt.CheckRule("rule 1", policy.Config{Source: []string{"own"}})
	if log.String() != "" {
		t.Errorf("logged before all sites are known: %q", log)
	}
	if err := rt.Close(); err != nil || !strings.Contains(log.String(), "a rule can never hold") {
		t.Errorf("%v, logged %q", err, log)
	}
}
