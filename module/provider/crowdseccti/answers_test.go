package crowdseccti

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// TestCheckAll: one question about several addresses. Whom the answer leaves out is unknown only if the service says that
// it has not found so many.
func TestCheckAll(t *testing.T) {
	const (
		known   = `{"ip":"203.0.113.10","reputation":"known"}`
		another = `{"ip":"203.0.113.99","reputation":"malicious"}`
		broken  = `{"ip":"2001:db8::5","reputation":"evil"}`
		typed   = `{"ip":"2001:db8::5","reputation":7}`
		absent  = `{"message":"IP address information not found"}`
	)
	addrs := []netip.Addr{netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8::5")}
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
		{"one entry is of another type", 200, `{"not_found":1,"items":[` + known + `,` + typed + `]}`, "ok not_found bad_answer"},
		{"another number is not found", 200, `{"not_found":1,"items":[` + known + `]}`, "ok bad_answer bad_answer"},
		{"no number is not found", 200, `{"items":[` + known + `]}`, "ok bad_answer bad_answer"},
		{"one that nobody asked about", 200, `{"not_found":2,"items":[` + known + `,` + another + `]}`, "ok bad_answer bad_answer"},
		{"one twice", 200, `{"not_found":2,"items":[` + known + `,` + known + `]}`, "bad_answer bad_answer bad_answer"},
		{"404 of a gateway", 404, `{"message":"Not Found"}`, "bad_answer"},
		{"wrong key", 403, `{"message":"Forbidden"}`, "refused"},
		{"quota", 429, `{"message":"Limit Exceeded"}`, "throttled"},
		{"not an answer", 200, `{"items":{}}`, "bad_answer"},
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
			answers, err := provision(t, service.URL).CheckAll(t.Context(), "k3y-of-tests", addrs)
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

// FuzzAnswers: whatever comes, no address gets an answer that accuses it without words of the service about it.
func FuzzAnswers(f *testing.F) {
	sample, err := os.ReadFile(filepath.Join("testdata", "known.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"not_found":1,"items":[`+string(sample)+`]}`), http.StatusOK)
	f.Add([]byte(`{"message":"IP address information not found"}`), http.StatusNotFound)
	addrs := []netip.Addr{netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("2001:db8::5")}
	var body []byte
	status := http.StatusOK
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write(body)
	}))
	f.Cleanup(service.Close)
	c := provision(f, service.URL)
	f.Fuzz(func(t *testing.T, text []byte, code int) {
		body, status = text, http.StatusOK
		if code == http.StatusNotFound {
			status = code
		}
		all, err := c.CheckAll(t.Context(), "k3y-of-tests", addrs)
		if err != nil {
			return
		}
		for i, a := range all {
			if a.Err != nil {
				continue
			}
			var read struct{ Items []rest.Entry[answer] }
			if err := rest.Decode(text, &read); err != nil {
				t.Fatalf("a report out of %v", err)
			}
			about := 0
			for _, item := range read.Items {
				if rest.SameAddr(item.Value.IP, addrs[i]) {
					about++
				}
			}
			if about != 1 {
				t.Errorf("a report about an address that has %d entries", about)
			}
		}
	})
}
