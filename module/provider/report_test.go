package provider

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
	refresh "github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/secret"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/throttle"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// taker is a service that takes reports with the key `good`, and remembers with which keys it got some.
type taker struct {
	prober
	keys *[]string
}

func (t taker) Report(_ context.Context, key string, _ reputation.Incident) error {
	*t.keys = append(*t.keys, key)
	if key != "good" {
		return reputation.ErrRefused
	}
	return nil
}

// TestReportsGoOnWithTheNextKey: a refused key is set aside for reports, and stays in use for calls that ask.
func TestReportsGoOnWithTheNextKey(t *testing.T) {
	logger := slog.New(slog.DiscardHandler)
	counts, keys := ledger.OpenLocal("", logger), refresh.NewRing(fixed(t, "bad"), fixed(t, "good"))
	var used []string
	open := func(account string) keyed {
		return keyed{
			Guard: quota.New(account, taker{keys: &used}, quota.Terms{}, quota.NewBudget(), counts, quota.Options{Logger: logger}),
			keys:  keys, logger: logger, logged: new(throttle.Causes[string]), notifiedUntil: new(atomic.Int64),
			notify: func([]string, time.Time) {},
		}
	}
	asks, reports := open("some"), open("some/report")
	for range 2 {
		if err := reports.report(t.Context(), reputation.Incident{Addr: netip.MustParseAddr("203.0.113.7")}); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"bad", "good", "good"}; !slices.Equal(used, want) {
		t.Errorf("reported with %v, want %v", used, want)
	}
	if reports.RefusedUntil("bad").IsZero() || !asks.RefusedUntil("bad").IsZero() {
		t.Error("the key is not set aside for reports alone")
	}
}

func TestReportTerms(t *testing.T) {
	profile := reputation.Profile{Reports: reputation.Reports{Quota: []string{"900/day"}}}
	for _, tc := range []struct {
		quota []string
		want  []ledger.Window
		wrong string
	}{
		{want: []ledger.Window{{Limit: 900, Period: ledger.Day}}},
		{quota: []string{"50/hour", "200/day"}, want: []ledger.Window{{Limit: 50, Period: ledger.Hour}, {Limit: 200, Period: ledger.Day}}},
		{quota: []string{"many/day"}, wrong: `report_quota "many/day": the number`},
	} {
		terms, err := (&Provider{Report: true, ReportQuota: tc.quota}).reportTerms(profile)
		switch {
		case tc.wrong != "" && (err == nil || !strings.HasPrefix(err.Error(), tc.wrong)):
			t.Errorf("%v: the error is %v", tc.quota, err)
		case tc.wrong == "" && (err != nil || !slices.Equal(terms.Windows, tc.want)):
			t.Errorf("%v: %v, %v", tc.quota, terms.Windows, err)
		}
	}
	_, err := (&Provider{}).reportTerms(reputation.Profile{Reports: reputation.Reports{Quota: []string{"x"}}})
	if err == nil || errors.Unwrap(err) == nil {
		t.Errorf("a quota of the profile that is none: %v", err)
	}
}

// TestReportsAreRefused: settings that contradict each other, or the service, in JSON as in a Caddyfile.
func TestReportsAreRefused(t *testing.T) {
	for _, tc := range []struct {
		name    string
		p       Provider
		service reputation.Provider
		want    string
	}{
		{"fits", Provider{Report: true, ReportQuota: []string{"1/day"}}, taker{}, ""},
		{"not asked for", Provider{}, prober{}, ""},
		{"a service that takes none", Provider{Report: true}, prober{}, "the service takes no reports"},
		{"a quota alone", Provider{ReportQuota: []string{"1/day"}}, taker{}, "of no use without `report yes`"},
	} {
		err := tc.p.checkReport(tc.service)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}
