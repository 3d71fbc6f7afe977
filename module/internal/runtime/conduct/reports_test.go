package conduct

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/report"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// exempting exempts one address.
type exempting netip.Addr

func (e exempting) Lookup(addr netip.Addr) (banned, exempt bool) { return false, addr == netip.Addr(e) }

// reporting returns what has a queue of reports, and for which one address is exempt.
func reporting(t *testing.T, exempt netip.Addr) *Conduct {
	t.Helper()
	c := &Conduct{Logger: slog.New(slog.DiscardHandler)}
	var err error
	if c.Engine, err = lookup.New(lookup.Config{Overrides: exempting(exempt), Logger: c.Logger}); err != nil {
		t.Fatal(err)
	}
	c.Reports = report.New()
	return c
}

// TestWhatIsReported: only what a client in no good standing has done here, on a site that enforces, over a connection of
// its own, and has cost points.
func TestWhatIsReported(t *testing.T) {
	exempt := netip.MustParseAddr("203.0.113.99")
	for _, tc := range []struct {
		name   string
		change func(*Offence, *violation.Terms, *violation.Result, *Conduct)
		want   int
	}{
		{name: "a violation", want: 1},
		{name: "without `report`", change: func(_ *Offence, terms *violation.Terms, _ *violation.Result, _ *Conduct) { terms.Report = false }},
		{name: "that is free", change: func(_ *Offence, _ *violation.Terms, now *violation.Result, _ *Conduct) { now.Free = true }},
		{name: "that was counted before", change: func(_ *Offence, _ *violation.Terms, now *violation.Result, _ *Conduct) { now.Counted = false }},
		{name: "of a client in good standing", change: func(o *Offence, _ *violation.Terms, _ *violation.Result, _ *Conduct) { o.Share = .25 }},
		{name: "that the look-up API was told", change: func(o *Offence, _ *violation.Terms, _ *violation.Result, _ *Conduct) { o.Token = "api/shop" }},
		{name: "without a request", change: func(o *Offence, _ *violation.Terms, _ *violation.Result, _ *Conduct) { o.Method = "" }},
		{name: "exempt", change: func(o *Offence, _ *violation.Terms, _ *violation.Result, _ *Conduct) { o.Client = exempt }},
		{name: "private", change: func(o *Offence, _ *violation.Terms, _ *violation.Result, _ *Conduct) {
			o.Client = netip.MustParseAddr("192.168.1.7")
		}},
		{name: "loopback", change: func(o *Offence, _ *violation.Terms, _ *violation.Result, _ *Conduct) {
			o.Client = netip.MustParseAddr("::1")
		}},
		{name: "without an address", change: func(o *Offence, _ *violation.Terms, _ *violation.Result, _ *Conduct) { o.Client = netip.Addr{} }},
		{name: "where visitors can choose their address", change: func(_ *Offence, _ *violation.Terms, _ *violation.Result, c *Conduct) {
			c.Suspects.warnUnstrict("srv0", c.Logger)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := reporting(t, exempt)
			o := Offence{
				Violation: "trap", Client: netip.MustParseAddr("203.0.113.7"), At: time.Now(), Method: "GET", Path: "/.env",
				RequestID: "r1", Enforce: true, Share: 1,
			}
			terms := violation.Terms{Name: "trap", Points: 60, Category: reputation.Scanner, Report: true}
			now := violation.Result{Counted: true, Points: 60}
			if tc.change != nil {
				tc.change(&o, &terms, &now, c)
			}
			c.report(&o, &terms, now)
			waiting := c.Reports.Waiting()
			if len(waiting) != tc.want {
				t.Fatalf("%d reports wait, want %d", len(waiting), tc.want)
			}
			if tc.want == 1 && (waiting[0].RequestID != "r1" || waiting[0].Address != o.Client ||
				waiting[0].Comment != "caddy: 1 request (vulnerability scan), e.g. /.env") {
				t.Errorf("it is %+v", waiting[0])
			}
		})
	}
}

// TestWaitingReportsFollowTheConfiguration: what waits is not sent for a violation that says `report` no more, nor about an
// address that is exempt by now.
func TestWaitingReportsFollowTheConfiguration(t *testing.T) {
	c := reporting(t, netip.MustParseAddr("203.0.113.99"))
	c.terms = []violation.Terms{{Name: "trap", Report: true}, {Name: "spam"}}
	for _, tc := range []struct {
		addr       string
		violations []string
		want       string
	}{
		{"203.0.113.7", []string{"trap"}, ""},
		{"203.0.113.7", []string{"spam", "trap"}, ""},
		{"203.0.113.7", []string{"spam", "gone"}, "do not say `report`"},
		{"203.0.113.99", []string{"trap"}, "exempt"},
	} {
		why := c.mustNotReportFor(netip.MustParseAddr(tc.addr), tc.violations)
		if (why == "") != (tc.want == "") || !strings.Contains(why, tc.want) {
			t.Errorf("%s for %v: %q, want %q", tc.addr, tc.violations, why, tc.want)
		}
	}
}

// TestReportsWithoutEffectAreLogged: a configuration that asks for reports and never sends one says so.
func TestReportsWithoutEffectAreLogged(t *testing.T) {
	takes := reputation.CategoriesOf(reputation.Scanner)
	terms := func(c reputation.Category, report bool) []violation.Terms {
		return []violation.Terms{{Name: "one", Category: c, Report: report}}
	}
	for _, tc := range []struct {
		name     string
		services []service
		terms    []violation.Terms
		want     string
	}{
		{name: "both", services: []service{{"a", &ReportsTo{Takes: takes}}}, terms: terms(reputation.Scanner, true)},
		{name: "no violation", services: []service{{"a", &ReportsTo{Takes: takes}}},
			terms: terms(reputation.Scanner, false), want: "nothing is reported"},
		{name: "a category that nobody takes", services: []service{{"a", &ReportsTo{Takes: takes}}},
			terms: terms(reputation.Hosting, true), want: "a violation is never reported"},
		{name: "no provider", terms: terms(reputation.Hosting, true)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			c := &Conduct{
				Logger: slog.New(slog.NewTextHandler(&out, nil)), services: tc.services, terms: tc.terms, Reports: report.New(),
			}
			c.warnUnreported()
			if got := out.String(); (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("logged %q, want %q", got, tc.want)
			}
		})
	}
}
