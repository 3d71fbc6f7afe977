package proxycheck

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Several addresses are one request, and each has an answer of its own.
func TestCheckAll(t *testing.T) {
	addrs := []netip.Addr{
		asked, netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8::10"),
		netip.MustParseAddr("203.0.113.11"), netip.MustParseAddr("203.0.113.12"),
	}
	for _, tc := range []struct {
		settings, file, request string
		severities              []float64
		results                 string
	}{
		{``, "v3_several", "POST /v3/?key=k&tag=0 ips=203.0.113.10,198.51.100.7,2001:db8::10,203.0.113.11,203.0.113.12",
			[]float64{-1, .6, -1, 0, 0}, "ok ok ok bad_answer bad_answer"},
		{`,"api":"v2"`, "v2_several",
			"POST /v2/?asn=1&key=k&risk=1&tag=0&vpn=1 ips=203.0.113.10,198.51.100.7,2001:db8::10,203.0.113.11,203.0.113.12",
			[]float64{-1, 0, 0, 0, 0}, "ok ok bad_answer bad_answer bad_answer"},
	} {
		p, request := serve(t, tc.settings, tc.file)
		answers, err := p.CheckAll(t.Context(), "k", addrs)
		if err != nil || request() != tc.request {
			t.Errorf("the request is %s (%v), want %s", request(), err, tc.request)
		}
		var severities []float64
		var results []string
		for _, a := range answers {
			severities = append(severities, a.Report.Severity)
			results = append(results, reputation.ResultOf(a.Err).String())
			if err := p.Profile().Capabilities.Check(a.Report); err != nil {
				t.Error(err)
			}
		}
		if diff := cmp.Diff(tc.severities, severities); diff != "" || strings.Join(results, " ") != tc.results {
			t.Errorf("%s: the results are %s, the severities (-want +got):\n%s", tc.file, results, diff)
		}
	}
}

// An answer without any address is about all of them.
func TestCheckAllIsRefused(t *testing.T) {
	for file, want := range map[string]reputation.Result{
		"denied_day": reputation.ResultThrottled, "denied_proxy": reputation.ResultRefused,
		"error_address": reputation.ResultBadAnswer,
	} {
		p, _ := serve(t, ``, file)
		answers, err := p.CheckAll(t.Context(), "k", []netip.Addr{asked, netip.MustParseAddr("198.51.100.7")})
		if len(answers) != 0 || reputation.ResultOf(err) != want {
			t.Errorf("%s: %d answers, %v, want %s", file, len(answers), err, want)
		}
	}
}
