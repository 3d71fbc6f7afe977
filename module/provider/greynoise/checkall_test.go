package greynoise

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/providertest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// TestCheckAll: what the suite does not know of answers about several addresses.
func TestCheckAll(t *testing.T) {
	const (
		known = `{"ip":"203.0.113.207","internet_scanner_intelligence":{"found":true,"classification":"suspicious"}}`
		cut   = `{"ip":"198.51.100.7","business_service_intelligence":{"found":false}}`
	)
	multi, err := os.ReadFile(sample("v3_multi"))
	if err != nil {
		t.Fatal(err)
	}
	addrs := []netip.Addr{addr("203.0.113.207"), addr("198.51.100.7")}
	for _, tc := range []struct {
		name   string
		status int
		body   string
		want   string // the results, or that of the whole question
	}{
		{"sample", 200, string(multi), "ok not_found"},
		{"one twice", 200, `{"data":[` + known + `],"request_metadata":{"ips_not_found":["203.0.113.207","198.51.100.7"]}}`,
			"bad_answer not_found"},
		{"the plan leaves out one", 206, `{"data":[` + known + `,` + cut + `]}`, "ok refused"},
		{"no data", 200, `{"message":"ok"}`, "bad_answer bad_answer"},
		{"404", 404, `{"message":"not observed"}`, "error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var asked string
			service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				asked = r.Method + " " + r.URL.Path + " " + string(body) + " " + r.Header.Get("Key")
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(tc.status)
				_, _ = fmt.Fprint(w, tc.body)
			}))
			t.Cleanup(service.Close)
			answers, err := providertest.Load(t, "greynoise", service.URL, `{"api": "v3"}`).(*GreyNoise).CheckAll(t.Context(), "k3y-of-tests", addrs)
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
			if want := `POST /v3/ip {"ips":["203.0.113.207","198.51.100.7"]} k3y-of-tests`; asked != want {
				t.Errorf("asked %s, want %s", asked, want)
			}
		})
	}
}

// TestCommunityHasNoBatch: it is asked about one address at a time.
func TestCommunityHasNoBatch(t *testing.T) {
	if n, m := new(GreyNoise).Profile().Batch, (&GreyNoise{API: v3}).Profile().Batch; n != 0 || m != maxBatch {
		t.Errorf("a question is about %d addresses in community and %d in v3", n, m)
	}
}
