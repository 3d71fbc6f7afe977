package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestTheRecipeForPulsedive proves that a service from the Caddyfile counts in a verdict, that an answer that does not fit
// counts for nothing and is explained, and that the key, which is in the URL, shows nowhere.
func TestTheRecipeForPulsedive(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		addr := r.FormValue("indicator")
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.FormValue("key") != keyText:
			w.WriteHeader(http.StatusForbidden)
		case addr == "203.0.113.10":
			fmt.Fprintf(w, `{"indicator":%q,"risk":"critical","retired":0,"properties":{"geo":{"countrycode":"NL"}}}`, addr)
		case addr == "203.0.113.11": // it repeats what it was asked, where a word is expected
			fmt.Fprintf(w, `{"indicator":%q,"risk":%q}`, addr, r.RequestURI)
		default:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"error":"Indicator not found."}`)
		}
	}))
	t.Cleanup(service.Close)
	r := startOwnRecipe(t, "Pulsedive", "app.example.com", "\trespond \"{http.ip_reputation.reasons} {http.ip_reputation.country}\"\n",
		"https://pulsedive.com", service.URL, "{file./run/secrets/pulsedive}", "{env."+keyName+"}", "\t\tfeed spamhaus_drop\n", "",
		"exempt private_ranges\n", "exempt private_ranges\n\t\twait 5s\n")

	for client, want := range map[string]string{
		"203.0.113.10": "pulsedive;points=9.5 NL", "203.0.113.11": " ", "203.0.113.12": " ",
	} {
		if got := r.visit(t, client); got.status != http.StatusOK || !strings.HasPrefix(got.body, want) {
			t.Errorf("%s is answered with %d, %q", client, got.status, got.body)
		}
	}
	if logged := r.logs(t); !strings.Contains(logged, "severity: a key is missing, in the answer or in a map of the expression") {
		t.Errorf("the log does not say which expression does not fit: %s", logged)
	}
	if out := r.run(t, "sources", "pulsedive"); !strings.Contains(out, "non-commercial use only on the free plan") {
		t.Errorf("the sources do not show the terms: %s", out)
	}
	r.keepsSecrets(t)
}
