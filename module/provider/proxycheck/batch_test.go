package proxycheck

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/providertest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// batch3 and batch2 are about several addresses in one request.
func batch3() *providertest.Batch {
	const member = `%[1]q:{"detections":{"risk":%[2]d},"attack_history":{"login_attempt":3}}`
	return batchOf(func(addr string, risk int) (string, reputation.Report) {
		r := reputation.Report{Severity: float64(risk) / 100, Confidence: sure,
			Categories: reputation.CategoriesOf(reputation.Abuse)}
		return fmt.Sprintf(member, addr, risk), r
	})
}

func batch2() *providertest.Batch {
	return batchOf(func(addr string, risk int) (string, reputation.Report) {
		r := reputation.Report{Severity: float64(risk) / 100, Confidence: sure,
			Categories: reputation.CategoriesOf(reputation.Abuse),
			Facts:      reputation.Facts{Nature: providertest.Nature(nil, kinds{tor, vpn, proxy})}}
		return fmt.Sprintf(`%q:{"proxy":"no","risk":%d}`, addr, risk), r
	})
}

func batchOf(answer func(addr string, risk int) (string, reputation.Report)) *providertest.Batch {
	b := &providertest.Batch{Before: "{", After: "}"}
	for i, addr := range []string{"203.0.113.10", "2001:db8::10", "198.51.100.7"} {
		e := providertest.Entry{Addr: netip.MustParseAddr(addr)}
		e.Body, e.Report = answer(addr, 20+i)
		b.Entries = append(b.Entries, e)
	}
	b.Entries = append(b.Entries, providertest.Entry{Addr: netip.MustParseAddr("198.51.100.8"),
		Body: `"198.51.100.8":{"error":"made up"}`, Result: reputation.ResultBadAnswer})
	for _, c := range refusals() {
		if strings.HasPrefix(c.Name, "denied") || c.Name == "error" {
			b.Cases = append(b.Cases, c)
		}
	}
	return b
}

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
		{`{}`, "v3_several", "POST /v3/?key=k&tag=0 ips=203.0.113.10,198.51.100.7,2001:db8::10,203.0.113.11,203.0.113.12",
			[]float64{-1, .6, -1, 0, 0}, "ok ok ok bad_answer bad_answer"},
		{`{"api":"v2"}`, "v2_several",
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
