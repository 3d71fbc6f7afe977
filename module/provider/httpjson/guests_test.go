package httpjson_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-cmp/cmp"

	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/iphub"
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/ipqualityscore"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// TestGuests: services with a module of their own, written as http_json. Both say the same of all samples of the
// module, and of what else a service may send.
func TestGuests(t *testing.T) {
	ipqs, err := os.ReadFile(filepath.Join("testdata", "ipqualityscore.caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	for service, tc := range map[string]struct{ lines, base string }{
		// the page says that both are the same
		"iphub":          {shown(t, "providers.md", "iphub_by_hand"), "https://v2.api.iphub.info"},
		"ipqualityscore": {string(ipqs), "https://www.ipqualityscore.com/api"},
	} {
		t.Run(service, func(t *testing.T) {
			s := startService(t, nil)
			byHand := settings(t, tc.lines, service+"_by_hand")
			path, ok := strings.CutPrefix(byHand.URL, tc.base)
			if !ok {
				t.Fatalf("the url is not that of %s", service)
			}
			byHand.URL = s.URL + path
			ours := load(t, byHand)
			ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
			t.Cleanup(cancel)
			module, err := ctx.LoadModuleByID("ip_reputation.providers."+service,
				json.RawMessage(fmt.Sprintf(`{"url": %q}`, s.URL)))
			if err != nil {
				t.Fatal(err)
			}
			guest := module.(reputation.Provider)
			for name, answer := range answersOf(t, service) {
				s.answer = answer
				want, wantErr := guest.Check(t.Context(), question)
				asked := s.request.RequestURI
				got, gotErr := ours.Check(t.Context(), question)
				want.Facts.ASName = "" // no record holds it: nobody sees it
				if got != want || reputation.ResultOf(gotErr) != reputation.ResultOf(wantErr) {
					t.Errorf("%s: got %+v, %v, the module says %+v, %v", name, got, gotErr, want, wantErr)
				}
				if s.request.RequestURI != asked {
					t.Errorf("asked %s, the module asks %s", s.request.RequestURI, asked)
				}
			}
			want := guest.Profile()
			have := ours.Profile()
			want.Name, want.Terms, want.Protocol = have.Name, have.Terms, have.Protocol
			want.Quota, want.ListedTTL, want.CleanTTL, want.Trust = nil, 0, 0, 0 // options of every provider
			want.Batch = 0                                                       // http_json asks one by one
			if diff := cmp.Diff(want.WithDefaults(), have.WithDefaults()); diff != "" {
				t.Errorf("the profiles differ (-module +ours):\n%s", diff)
			}
		})
	}
}

// answersOf are the samples of a module: as answers, and as errors.
func answersOf(t *testing.T, service string) map[string]http.HandlerFunc {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", service, "testdata", "*.json"))
	if err != nil || len(files) < 5 {
		t.Fatalf("%d samples of %s: %v", len(files), service, err)
	}
	answers := map[string]http.HandlerFunc{
		"nothing": says(200, `{}`), "null": says(200, `null`), "a list": says(200, `[]`), "a text": says(200, `"x"`),
		"half": says(200, `{"ip": "203.0.113.10", "success": tr`), "gateway": says(502, `<html>`), "pause": says(429, `{}`),
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, status := range []int{200, 400, 403, 404, 429} {
			answers[filepath.Base(file)+", status "+strconv.Itoa(status)] = says(status, string(body))
		}
	}
	return answers
}
