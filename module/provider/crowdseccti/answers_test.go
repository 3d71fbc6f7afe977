package crowdseccti

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/providertest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// TestCheckAll: one question about several addresses. Whom the answer leaves out is unknown only if
// the service says that it has not found so many.
func TestCheckAll(t *testing.T) {
	const (
		known   = `{"ip":"203.0.113.10","reputation":"known"}`
		another = `{"ip":"203.0.113.99","reputation":"malicious"}`
		broken  = `{"ip":"2001:db8::5","reputation":"evil"}`
		absent  = `{"message":"IP address information not found"}`
	)
	addrs := []netip.Addr{
		netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8::5"),
	}
	for _, tc := range []struct {
		name   string
		status int
		body   string
		want   string // the results, or that of the whole question
	}{
		{"one found", 200, `{"total":1,"not_found":2,"items":[` + known + `]}`, "ok not_found not_found"},
		{"none found", 200, `{"total":0,"not_found":3,"items":[]}`, "not_found not_found not_found"},
		{"none found, 404", 404, absent, "not_found not_found not_found"},
		{"one entry is wrong", 200, `{"not_found":1,"items":[` + known + `,` + broken + `]}`, "ok not_found bad_answer"},
		{"another number is not found", 200, `{"not_found":1,"items":[` + known + `]}`, "ok bad_answer bad_answer"},
		{"no number is not found", 200, `{"items":[` + known + `]}`, "ok bad_answer bad_answer"},
		{"one that nobody asked about", 200, `{"not_found":2,"items":[` + known + `,` + another + `]}`,
			"ok bad_answer bad_answer"},
		{"one twice", 200, `{"not_found":2,"items":[` + known + `,` + known + `]}`, "bad_answer bad_answer bad_answer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var asked string
			service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked = r.Method + " " + r.URL.Path + " " + r.URL.Query().Get("ips") + " " + r.Header.Get("X-Api-Key")
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(tc.status)
				_, _ = fmt.Fprint(w, tc.body)
			}))
			t.Cleanup(service.Close)
			answers, err := providertest.Load(t, "crowdsec_cti", service.URL).(*CrowdSecCTI).CheckAll(t.Context(), "k3y-of-tests", addrs)
			got := []string{reputation.ResultOf(err).String()}
			if err == nil {
				got = nil
				for _, a := range answers {
					got = append(got, reputation.ResultOf(a.Err).String())
				}
			}
			if diff := cmp.Diff(tc.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("the results differ (-want +got):\n%s%v", diff, err)
			}
			if want := "GET /smoke 203.0.113.10,198.51.100.7,2001:db8::5 k3y-of-tests"; asked != want {
				t.Errorf("asked %s, want %s", asked, want)
			}
		})
	}
}

// FuzzAnswers: whatever comes, an address has a report only if the service has an entry about it,
// and it is unknown only if the service has none.
func FuzzAnswers(f *testing.F) {
	sample, err := os.ReadFile(filepath.Join("testdata", "known.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"not_found":1,"items":[` + string(sample) + `]}`))
	f.Add([]byte(`{"not_found":1,"items":[{"ip":"2001:DB8:0::5","reputation":"safe"},` +
		`{"ip":"203.0.113.10","reputation":1}]}`))
	addrs := []netip.Addr{netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("2001:db8::5")}
	f.Fuzz(func(t *testing.T, body []byte) {
		var all answers
		if rest.Decode(body, &all) != nil {
			return
		}
		all.report(addrs, func(addr string, r reputation.Report, err error) {
			entries := 0
			for _, item := range all.Items {
				if parsed, err := netip.ParseAddr(addr); err == nil && rest.SameAddr(item.Value.IP, parsed.Unmap()) {
					entries++
				}
			}
			switch {
			case err == nil && entries == 0:
				t.Errorf("a report about %s, which has no entry: %+v", addr, r)
			case errors.Is(err, reputation.ErrUnknown) && (entries > 0 || *all.NotFound < 1):
				t.Errorf("%s is unknown, and has %d entries", addr, entries)
			}
		})
	})
}
